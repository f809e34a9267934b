"""What context encoding paints over images: boxes, drawn for a whole batch on its device."""

import torch
from torch import Tensor


def draw_boxes(
    image: Tensor, max_boxes: int, max_side: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draws squares (cubes in 3D) for a whole batch.

    Args:
        image: `(B, C, *S)`.
        max_boxes: the number an image is uniform in 0..max_boxes.
        max_side: the side is uniform in 0..max_side * min(S) pixels.
        generator: None for the global one.

    Returns:
        Corners `(B, max_boxes, 2, len(S))`, first and past the last, in pixels (equal when a box
        is not used), and values `(B, max_boxes)`, uniform between the batch's minimum and maximum.
    """
    batch, lengths = len(image), torch.tensor(image.shape[2:], device=image.device)
    number, extent, value = torch.rand(
        3, batch, max_boxes, generator=generator, device=image.device
    )
    place = torch.rand(batch, max_boxes, len(lengths), generator=generator, device=image.device)
    used = torch.arange(max_boxes, device=image.device) < (number[:, :1] * (max_boxes + 1)).floor()
    side = (extent * (max_side * min(image.shape[2:]) + 1)).floor() * used
    first = (place * (lengths - side[..., None] + 1)).floor()
    corners = torch.stack([first, first + side[..., None]], dim=2)
    low, high = image.amin(), image.amax()
    return corners, low + value * (high - low)


def paint_boxes(image: Tensor, corners: Tensor, values: Tensor) -> Tensor:
    """Fills drawn boxes of `image (B, C, *S)` with their values; later ones lie on top."""
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
