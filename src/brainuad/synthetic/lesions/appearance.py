"""Appearance of tissue around a pixel in a few numbers, for comparing lesions with healthy tissue.

A fixed filter bank stands in for a trained encoder: it needs no weights, and the same numbers
describe slices and volumes.
"""

import torch
from torch import Tensor

from brainuad.synthetic.grids import windows_at

SCALES = (1.0, 2.0, 4.0)
"""Standard deviations of the Gaussian windows, in pixels."""
REACH = 8
"""Pixels from the middle of a window to its border; 16 mm at 2 mm."""
LEAST = 0.05
"""Spread that counts as none, in standard deviations of the brain."""


def number_of_features(channels: int) -> int:
    """Return F of `appearance`."""
    return len(SCALES) * (4 * channels + 1)


def appearance(image: Tensor, healthy: Tensor, brain_mask: Tensor, place: Tensor) -> Tensor:
    """Describe the tissue around a pixel of each sample, `(B, F)`.

    For each scale, in a Gaussian window over the brain: the share of brain, and of each channel the
    mean, and the logarithms of the standard deviation, of the steps to the next pixel and of the
    second differences. Intensities are in standard deviations of the healthy image's brain about
    its mean, so that scans are comparable. Nothing depends on the direction.

    Args:
        image: `(B, C, *S)`, painted or not.
        healthy: `(B, C, *S)`, without the lesion.
        brain_mask: `(B, 1, *S)` bool.
        place: `(B, len(S))` whole pixels.
    """
    with torch.autocast(image.device.type, enabled=False):
        inside = brain_mask.float()
        scaled = _relative(image.float(), healthy.float(), inside)
        dims = image.ndim - 2
        size = [2 * REACH + 1] * dims
        window = windows_at(torch.cat([scaled, inside], 1), place.float() - REACH, size)
        values, brain = window[:, :-1], window[:, -1:]
        found = []
        for scale in SCALES:
            weight = _gaussian(size, scale, image.device)
            mean = _mean(values, weight * brain)
            centred = values - mean.reshape(*mean.shape, *[1] * dims)
            spread = _mean(centred.square(), weight * brain).sqrt()
            found += [(weight * brain).flatten(1).sum(1, keepdim=True) / weight.sum(), mean]
            found += [(part + LEAST).log() for part in (spread, *_roughness(values, brain, weight))]
        return torch.cat(found, 1)


def _relative(image: Tensor, healthy: Tensor, inside: Tensor) -> Tensor:
    """Return the image in standard deviations of the healthy brain, 0 outside."""
    ends = [1] * (image.ndim - 2)
    mean = _mean(healthy, inside)
    mean = mean.reshape(*mean.shape, *ends)
    spread = _mean((healthy - mean).square(), inside).sqrt().clamp_min(1e-6)
    return inside * (image - mean) / spread.reshape(*spread.shape, *ends)


def _roughness(values: Tensor, brain: Tensor, weight: Tensor) -> list[Tensor]:
    """Return the root mean squares of first and second differences over all axes, `(B, C)` each."""
    found = []
    for order in (1, 2):
        squares, count = torch.zeros(()), torch.zeros(())
        for axis in range(2, values.ndim):
            length = values.shape[axis] - order
            first, last = ((brain * weight).narrow(axis, start, length) for start in (0, order))
            known = (first * last).sqrt()
            squares = squares + (values.diff(order, axis).square() * known).flatten(2).sum(2)
            count = count + known.flatten(2).sum(2)
        found.append((squares / count.clamp_min(1e-6)).sqrt())
    return found


def _gaussian(size: list[int], scale: float, device: torch.device) -> Tensor:
    """Return a Gaussian window of height one, `(1, 1, *size)`."""
    square = torch.zeros(1, 1, *size, device=device)
    for axis, length in enumerate(size, start=2):
        away = torch.arange(length, device=device) - length // 2
        square = square + away.square().reshape(
            [-1 if a == axis else 1 for a in range(2 + len(size))]
        )
    return torch.exp(-0.5 * square / scale**2)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return weighted means of `(B, C, *S)`, `(B, C)`."""
    total = weight.flatten(2).sum(2).clamp_min(1e-6)
    return (values * weight).flatten(2).sum(2) / total
