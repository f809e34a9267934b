"""Scores relative to those of healthy brains at the same place.

A reconstruction has errors in healthy brains too, always at the same places: folds of the cortex,
borders of the ventricles. With the anomaly maps a_i of healthy scans on one grid, their brains w_i
and a Gaussian G, the healthy mean at voxel v, the mean over all voxels, and the relative map are

    E = (G * sum_i w_i a_i) / (G * sum_i w_i),     e = sum_i,v w_i a_i / sum_i,v w_i,
    r(v) = a(v) / (E(v) + floor e).

So a small residual counts where healthy ones are even smaller. It works with any method, after the
tiles are joined. Ours, after the healthy atlas of `zscore`, which does the same to intensities.
Scans on another grid of the same space are aligned by their affine.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from brainuad.errors import InputError
from brainuad.methods.parts.grid_buffers import GridBuffers
from brainuad.types import Detection, Volume
from brainuad.volumes.grids import EXACT, Grid, grid_of
from brainuad.volumes.resample import resample_like

_LEAST_COUNT = 0.5
"""Smallest smoothed number of brains for a voxel's own mean."""


class RelativeToHealthy(GridBuffers):
    """Mean score of healthy scans at every voxel of one grid; divides other scores by it.

    Args:
        sigma: width of the Gaussian, in voxels; 0 for none.
        floor: share of the mean over the brain that is added to the divisor, so that tiny scores
            stay small where healthy scans score almost 0.

    Attributes:
        expected: divisor of the scores, `(1, D, H, W)`; empty before `measure`.
        elsewhere: the same outside that grid and where no healthy scan has brain.
        affine: `(4, 4)` of that grid, voxel to atlas space in mm.

    Raises:
        ValueError: an argument is out of range.
    """

    sized_by_data = ("expected",)
    expected: Tensor
    elsewhere: Tensor
    affine: Tensor

    def __init__(self, sigma: float = 1.0, floor: float = 0.25) -> None:
        super().__init__()
        if sigma < 0 or floor <= 0:
            raise ValueError(f"sigma is {sigma}, floor {floor}; use 0 or more, and above 0")
        self.sigma = sigma
        self.floor = floor
        # Its grid is that of the training scans, see `GridBuffers`.
        self.register_buffer("expected", torch.zeros(0))
        self.register_buffer("elsewhere", torch.zeros(()))
        self.register_buffer("affine", torch.eye(4, dtype=torch.float64))

    def measure(self, maps: Iterable[tuple[Volume, np.ndarray]]) -> None:
        """Measure the mean scores in one pass over healthy scans.

        Args:
            maps: anomaly map and brain mask `(D, H, W)` of each, on one grid.

        Raises:
            InputError: there are none, they lie on several grids, or all scores are 0.
        """
        total = count = np.zeros(())
        first: Grid | None = None
        for volume, brain_mask in maps:
            own = grid_of(volume)
            first = first or own
            if own.apart(first) > EXACT:
                raise InputError(
                    f"healthy scans of {first.words} and {own.words} voxels have no places in "
                    "common: they lie on two grids; register them, or set relative=none"
                )
            total = total + np.where(brain_mask, volume.array, 0).astype(float)
            count = count + brain_mask
        if not total.sum() > 0:
            raise InputError("no healthy scan scores anything to be relative to; set relative=none")
        overall = total.sum() / count.sum()
        if self.sigma > 0:
            total, count = (
                ndimage.gaussian_filter(part.astype(float), self.sigma, mode="constant")
                for part in (total, count)
            )
        known = count > _LEAST_COUNT
        mean = np.where(known, total / np.where(known, count, 1), overall)
        self.expected = torch.from_numpy(mean + self.floor * overall)[None].float()
        self.elsewhere = torch.tensor((1 + self.floor) * overall).float()
        affine = np.eye(4) if first is None else first.affine.astype(float)
        self.affine = torch.from_numpy(affine)

    def forward(self, found: Detection, affine: np.ndarray | None = None) -> Detection:
        """Return the detection with divided scores; `(C, D, H, W)`, on the CPU.

        Args:
            found: detection in a whole scan.
            affine: `(4, 4)`, its voxels to atlas space in mm; None for the healthy scans' grid.

        Raises:
            InputError: it lies on another grid and has no affine, or nothing was measured yet.
        """
        expected = self._on(tuple(found.anomaly_map.shape[1:]), affine)
        scores = {"anomaly_map": found.anomaly_map / expected}
        for name in ("uncertainty", "draws"):
            if (part := getattr(found, name)) is not None:
                scores[name] = part / expected
        return found._replace(**scores)

    def _on(self, shape: tuple[int, ...], affine: np.ndarray | None) -> Tensor:
        """Return the expected score on a grid, `(1, *shape)`."""
        own, elsewhere = self.expected.cpu(), self.elsewhere.cpu()
        if own.ndim < 4 or (affine is None and own.shape[1:] != shape):
            raise InputError(
                f"a scan of {_words(shape)} voxels does not lie where the healthy ones do, on a "
                f"grid of {_words(own.shape[1:]) or 'none yet'}; prepare it as the training scans "
                "were"
            )
        if affine is None:
            return own
        # Zero outside, as the resampling returns it.
        excess, like = (own - elsewhere)[0].numpy(), Volume(np.empty(shape, np.float32), affine)
        laid = resample_like(excess, self.affine.cpu().numpy(), like)
        return torch.from_numpy(laid)[None] + elsewhere


def _words(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
