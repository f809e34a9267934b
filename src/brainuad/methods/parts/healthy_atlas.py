"""The healthy atlas: mean and standard deviation of registered healthy scans, per voxel."""

from collections.abc import Iterable

import torch
from scipy import ndimage
from torch import Tensor

from brainuad.errors import InputError
from brainuad.methods.parts.grid_buffers import GridBuffers
from brainuad.types import Batch

MOST_STD = 5.0
"""Largest distance in standard deviations that a network beside the atlas sees."""


class HealthyAtlas(GridBuffers):
    """Mean and standard deviation of healthy scans at every voxel of one grid.

    The method must require places (`Traits.places`), so that its scans lie on one grid. Voxels with
    fewer than `min_count` training scans get the mean and the standard deviation of all brain
    voxels.

    Args:
        min_std: floor of the standard deviation, in intensities of [0, 1]. 0.05 is about the noise
            of a clinical scan and the contrast of a faint lesion, so that smaller differences score
            low even if the training scans are alike.
        sigma: width of the Gaussian over the sums, in voxels; 0 for none.
        min_count: smallest number of training scans (after smoothing) for a voxel's own statistics;
            2 or more.

    Raises:
        ValueError: an argument is out of range.
    """

    sized_by_data = ("mean", "std")
    mean: Tensor
    std: Tensor

    def __init__(self, min_std: float = 0.05, sigma: float = 1.0, min_count: float = 3.0) -> None:
        super().__init__()
        if min_std <= 0 or sigma < 0 or min_count < 2:
            raise ValueError(
                f"min_std is {min_std}, sigma {sigma}, min_count {min_count}; use above 0, 0 or "
                "more, and 2 or more"
            )
        self.min_std = min_std
        self.sigma = sigma
        self.min_count = min_count
        # Their grid is that of the training scans, see `GridBuffers`.
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("std", torch.zeros(0))

    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the statistics by sums over the training volumes, in float64 on the CPU.

        Raises:
            InputError: the batches hold slices.
        """
        count = first = second = torch.zeros(())
        for image, brain_mask in batches:
            if image.ndim != 5:
                raise InputError("the healthy atlas takes whole volumes; set tiling=volume")
            x, w = image.double(), brain_mask.double()
            count = count + w.sum(0)
            first = first + (w * x).sum(0)
            second = second + (w * x**2).sum(0)
        over_all, squares = (_totals(part) / count.sum() for part in (first, second))
        spread = (squares - over_all**2).clamp_min(0).sqrt()
        count, first, second = (self._smooth(part) for part in (count, first, second))
        mean = first / count.clamp_min(1e-9)
        variance = (second / count.clamp_min(1e-9) - mean**2).clamp_min(0)
        if self.sigma == 0:
            variance = variance * count / (count - 1).clamp_min(1)
        # Smoothing equal counts leaves a rounding error.
        known = count > self.min_count - 1e-6
        self.mean = torch.where(known, mean, over_all).float().to(self.mean.device)
        std = torch.where(known, variance.sqrt(), spread)
        self.std = std.clamp_min(self.min_std).float().to(self.mean.device)

    def at(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation for `image (B, C, D, H, W)`, of its shape.

        Raises:
            InputError: the image is on another grid, or nothing was measured yet.
        """
        if image.shape[1:] != self.mean.shape:
            given, own = (
                " x ".join(map(str, shape[1:])) for shape in (image.shape[1:], self.mean.shape)
            )
            raise InputError(
                f"a scan of {given} voxels does not lie on the healthy atlas, which has "
                f"{own or 'none yet'}; prepare it as the training scans were"
            )
        return self.mean.expand_as(image), self.std.expand_as(image)

    def beside(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the image and its distance from the healthy mean, for networks that see both.

        Args:
            image: `(B, C, D, H, W)`.
            brain_mask: `(B, 1, D, H, W)` bool.

        Returns:
            `(B, 2 C, D, H, W)`; the distance in units of `MOST_STD` standard deviations, in
            [-1, 1], 0 outside the brain.
        """
        mean, std = self.at(image)
        distance = ((image - mean) / (MOST_STD * std)).clamp(-1, 1)
        return torch.cat([image, torch.where(brain_mask, distance, 0)], 1)

    def _smooth(self, part: Tensor) -> Tensor:
        if self.sigma == 0:
            return part
        smooth = [
            ndimage.gaussian_filter(channel, self.sigma, mode="constant")
            for channel in part.numpy()
        ]
        return torch.stack([torch.from_numpy(channel) for channel in smooth])


def _totals(part: Tensor) -> Tensor:
    """Return the sum of each channel, `(C, D, H, W)` to `(C, 1, 1, 1)`."""
    return torch.stack([channel.sum() for channel in part]).reshape(-1, 1, 1, 1)
