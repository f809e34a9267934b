"""Grids of pixels: coordinates, sampling, smoothing, and draws that follow a generator."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

Spacing = float | Sequence[float] | None


def drawn(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """`torch.rand` or `randn` on the generator's device, if there is one, moved to `like`'s."""
    here = like.device if generator is None else generator.device
    return draw(*shape, generator=generator, device=here).to(like.device)


def pixel_size(
    size: Sequence[int], spacing_mm: Spacing, device: torch.device | None = None
) -> Tensor:
    """Return a pixel's edge lengths, `(len(S),)`, in mm or in shorter sides of `S`."""
    if spacing_mm is None:
        return torch.full((len(size),), 1 / min(size), device=device)
    lengths = torch.as_tensor(spacing_mm, dtype=torch.float32, device=device)
    return lengths.expand(len(size))


def smoothed(image: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return sums weighted by a Gaussian of height one that ends at four standard deviations.

    Args:
        image: `(B, C, *S)` float.
        sigmas: standard deviations in pixels, an axis each.
    """
    # As products of matrices: on a CPU convolutions of one channel take several times as long.
    for axis, sigma in enumerate(sigmas, start=2):
        index = torch.arange(image.shape[axis], device=image.device)
        away = (index - index[:, None]).abs()
        weight = torch.exp(-0.5 * (away / sigma).square()) * (away <= 4 * sigma)
        with torch.autocast(image.device.type, enabled=False):
            image = (image.movedim(axis, -1) @ weight).movedim(-1, axis)
    return image


def blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Smooth each sample by a Gaussian of its own, as `scipy.ndimage.gaussian_filter` does.

    The weights sum to one and end at four standard deviations; the image is mirrored at its
    borders.

    Args:
        image: `(B, C, *S)` float.
        sigma: `(B,)` standard deviations in pixels; 0 leaves the sample as it is.
    """
    sigma = sigma.float().clamp_min(1e-3)[:, None, None]
    reach = (4 * sigma + 0.5).floor()
    for axis in range(2, image.ndim):
        length = image.shape[axis]
        index = torch.arange(length, device=image.device)
        total = index + index[:, None]
        # Each pixel, and its mirror images beyond either border.
        gaps = torch.stack([index - index[:, None], total + 1, 2 * length - 1 - total])[:, None]
        weight = (torch.exp(-0.5 * (gaps / sigma).square()) * (gaps.abs() <= reach)).sum(0)
        weight = weight / weight.sum(2, keepdim=True)
        rows = image.movedim(axis, -1)
        with torch.autocast(image.device.type, enabled=False):
            image = (rows.flatten(1, -2) @ weight.mT).reshape(rows.shape).movedim(-1, axis)
    return image


def draw_corners(brain_mask: Tensor, size: Sequence[int], uniform: Tensor) -> Tensor:
    """First pixels of random windows within the box around each sample's brain.

    Along an axis where the box is not larger than the window, the window is centred on it and may
    reach over the image. Without a brain the box is the image. As `random_crop` of batchgenerators
    behind DISYRE's `CropForeground` (snavalm/disyre, preprocessing/utils.py:39).

    Args:
        brain_mask: `(B, 1, *S)` bool.
        size: size of the window in pixels, one number per axis.
        uniform: `(B, len(S))` in [0, 1).

    Returns:
        `(B, len(S))` float32, whole numbers.
    """
    mask = brain_mask | ~brain_mask.flatten(1).any(1).reshape(-1, *[1] * (brain_mask.ndim - 1))
    corners = []
    for axis, (side, draw) in enumerate(zip(size, uniform.unbind(1), strict=True), start=2):
        there = mask.movedim(axis, 1).flatten(2).any(2).int()
        first = there.argmax(1)
        room = there.shape[1] - there.flip(1).argmax(1) - first - side
        drawn_start = (draw * room).floor().long()
        corners.append(
            first + torch.where(room > 0, drawn_start, room.div(2, rounding_mode="floor"))
        )
    return torch.stack(corners, dim=1).float()


def draw_places(brain_mask: Tensor, uniform: Tensor) -> Tensor:
    """Draw pixels of the brain with equal chance.

    Args:
        brain_mask: `(B, 1, *S)` bool.
        uniform: `(B, N)` in [0, 1).

    Returns:
        `(B, N, len(S))` float32 coordinates in pixels; of no use where there is no brain.
    """
    cumulative = brain_mask.flatten(1).cumsum(1)
    wanted = (uniform * cumulative[:, -1:]).floor().long() + 1
    index = torch.searchsorted(cumulative, wanted).clamp_max(cumulative.shape[1] - 1)
    return torch.stack(torch.unravel_index(index, brain_mask.shape[2:]), dim=-1).float()


def place_coordinates(size: torch.Size, centres: Tensor, turns: Tensor) -> Tensor:
    """Every pixel as seen from shapes that were moved and turned.

    Args:
        size: `S`.
        centres: `(B, N, len(S))` in pixels.
        turns: `(B, N, len(S), len(S))` orthogonal.

    Returns:
        `(B, N, len(S), prod(S))` in pixels.
    """
    axes = [torch.arange(n, device=centres.device, dtype=torch.float32) for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    # In bf16, pixels past 256 would fall together.
    with torch.autocast(centres.device.type, enabled=False):
        return turns @ (grid - centres[..., None])


def between(nodes: Tensor, size: Sequence[int], ends: bool = True) -> Tensor:
    """Interpolate linearly, as `torch.nn.functional.interpolate`.

    Args:
        nodes: `(B, C, *N)` float.
        size: size of the result, one number per axis.
        ends: `align_corners`: the grid's ends are the image's, not the borders of its pixels.

    Returns:
        `(B, C, *size)`.
    """
    if nodes.ndim == 4:
        return functional.interpolate(nodes, size=tuple(size), mode="bilinear", align_corners=ends)
    # As products of matrices: on a CPU a tenth of the time of `interpolate` in three dimensions.
    for axis, length in enumerate(size, start=2):
        unit = torch.eye(nodes.shape[axis], device=nodes.device, dtype=nodes.dtype)[None]
        weight = functional.interpolate(unit, size=length, mode="linear", align_corners=ends)[0]
        with torch.autocast(nodes.device.type, enabled=False):
            nodes = (nodes.movedim(axis, -1) @ weight).movedim(-1, axis)
    return nodes.contiguous()


def kth_smallest(values: Tensor, k: Tensor) -> Tensor:
    """One order statistic of each row: `(B, N)` and `(B,)` from 1 to N give `(B,)`."""
    if values.device.type == "cpu":
        # A tenth of the time of sorting.
        rows = zip(values, k.tolist(), strict=True)
        return torch.stack([row.kthvalue(place).values for row, place in rows])
    return values.sort(1).values.gather(1, k[:, None] - 1)[:, 0]


def pixel_grid(image: Tensor) -> Tensor:
    """Return the place of each pixel of `(B, C, *S)`, in pixels: `(*S, len(S))` float32."""
    axes = [torch.arange(n, device=image.device, dtype=torch.float32) for n in image.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sampled(image: Tensor, position: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample the image at other places; 0 outside the image.

    Args:
        image: `(B, C, *S)` float.
        position: `(B, *S, len(S))` in pixels.
        mode: mode of `grid_sample`.
    """
    longest = torch.tensor(image.shape[2:], device=image.device) - 1
    position = (2 * position / longest.clamp_min(1) - 1).flip(-1)
    return functional.grid_sample(image, position, mode, align_corners=True)


def windows_at(image: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """A window of each sample, 0 outside the image.

    Args:
        image: `(B, C, *S)` float.
        corners: `(B, len(S))` first pixels, whole numbers.
        size: size of the window in pixels, one number per axis.

    Returns:
        `(B, C, *size)`.
    """
    grid = pixel_grid(image.new_empty(1, 1, *size))
    position = grid + corners.reshape(len(corners), *[1] * len(size), len(size))
    return sampled(image, position, "nearest")
