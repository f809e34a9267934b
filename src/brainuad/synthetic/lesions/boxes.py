"""Boxes that context encoding paints over images, drawn for a whole batch on its device."""

import torch
from torch import Tensor

RULES = ("own_side", "one_side", "last")


def draw_boxes(
    image: Tensor,
    max_boxes: int,
    max_side: float,
    generator: torch.Generator | None = None,
    rule: str = "own_side",
) -> tuple[Tensor, Tensor]:
    """Draw squares (cubes in 3D) for a whole batch.

    Rules:

    - `own_side`: the number is uniform in 0..max_boxes, each has a side of its own, uniform in
      0..max_side * min(S) pixels.
    - `one_side`: all boxes of an image have the same side, and the upper ends of the ranges of
      side and place are never drawn (StRegA, helpers.py:67, :98-99, :139).
    - `last`: as `one_side`, but the number is uniform in 0..max_boxes - 1, and of several only the
      last one is used. So StRegA's code does it: its range ends at max_boxes and is cut to whole
      numbers (helpers.py:56-68), and each box starts from an empty array (helpers.py:127-134).

    Args:
        image: `(B, C, *S)`.
        max_boxes: largest number, see the rules.
        max_side: longest side as a share of the shortest of S.
        generator: None for the global one.
        rule: one of RULES.

    Returns:
        Corners `(B, max_boxes, 2, len(S))`, first and past the last, in pixels (equal when a box
        is not used), and values `(B, max_boxes)`, uniform between the batch's minimum and maximum.

    Raises:
        ValueError: unknown `rule`.
    """
    if rule not in RULES:
        raise ValueError(f"rule is '{rule}'; use one of {', '.join(RULES)}")
    batch, lengths = len(image), torch.tensor(image.shape[2:], device=image.device)
    number, extent, value = torch.rand(
        3, batch, max_boxes, generator=generator, device=image.device
    )
    place = torch.rand(batch, max_boxes, len(lengths), generator=generator, device=image.device)
    index, ends = torch.arange(max_boxes, device=image.device), int(rule == "own_side")
    drawn = (number[:, :1] * (max_boxes + (rule != "last"))).floor()
    used = index == drawn - 1 if rule == "last" else index < drawn
    extent = extent if rule == "own_side" else extent[:, :1]
    side = (extent * (max_side * min(image.shape[2:]) + ends)).floor() * used
    first = (place * (lengths - side[..., None] + ends)).floor()
    corners = torch.stack([first, first + side[..., None]], dim=2)
    low, high = image.amin(), image.amax()
    return corners, low + value * (high - low)


def paint_boxes(image: Tensor, corners: Tensor, values: Tensor) -> Tensor:
    """Fill drawn boxes of `image (B, C, *S)` with their values; later ones lie on top."""
    batch, dims = len(image), image.ndim - 2
    for box, value in zip(corners.unbind(1), values.unbind(1), strict=True):
        inside = torch.ones(batch, *[1] * dims, dtype=torch.bool, device=image.device)
        for axis, length in enumerate(image.shape[2:]):
            shape = [1] * (dims + 1)
            shape[axis + 1] = length
            index = torch.arange(length, device=image.device).reshape(shape)
            first, past = (box[:, end, axis].reshape(batch, *[1] * dims) for end in (0, 1))
            inside = inside & (index >= first) & (index < past)
        fill = value.to(image.dtype).reshape(batch, *[1] * (dims + 1))
        image = torch.where(inside[:, None], fill, image)
    return image
