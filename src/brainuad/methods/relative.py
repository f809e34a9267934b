"""Scores relative to what healthy brains score at the same place.

A reconstruction fails in healthy brains too, and always at the same places: the cortex' folds, the
ventricles' borders. With the anomaly maps a_i of healthy scans on one grid, their brains w_i and a
Gaussian G, the healthy mean at voxel v, the mean over all voxels, and the relative map are

    E = (G * sum_i w_i a_i) / (G * sum_i w_i),     e = sum_i,v w_i a_i / sum_i,v w_i,
    r(v) = a(v) / (E(v) + floor e).

So a small residual counts where healthy ones are smaller still. For any method, behind the fusion
of its tiles; ours, after the healthy atlas of `zscore`, which does the same to intensities.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from brainuad.errors import InputError
from brainuad.types import Detection

_LEAST_COUNT = 0.5
"""Smoothed number of brains from which on a voxel has a mean of its own."""


class RelativeToHealthy(nn.Module):
    """What healthy scans score at every voxel of one grid, and other scores relative to it.

    Args:
        sigma: of the Gaussian, in voxels; 0 for none.
        floor: share of the mean over the brain that is added: where healthy scans score next to
            nothing, next to nothing is no finding.

    Attributes:
        expected: what a score is divided by, `(1, D, H, W)`; empty before `measure`.

    Raises:
        ValueError: an argument is out of range.
    """

    expected: Tensor

    def __init__(self, sigma: float = 1.0, floor: float = 0.25) -> None:
        super().__init__()
        if sigma < 0 or floor <= 0:
            raise ValueError(f"sigma is {sigma}, floor {floor}; use 0 or more, and above 0")
        self.sigma = sigma
        self.floor = floor
        # Its grid is that of the training scans, see `_load_from_state_dict`.
        self.register_buffer("expected", torch.zeros(0))

    def measure(self, maps: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """One pass over healthy scans.

        Args:
            maps: anomaly map and brain mask of each, `(D, H, W)`, on one grid.

        Raises:
            InputError: there are none, they lie on several grids, or all scores are 0.
        """
        total = count = np.zeros(())
        for anomaly_map, brain_mask in maps:
            if total.ndim and total.shape != anomaly_map.shape:
                raise InputError(
                    f"healthy scans of {_words(total.shape)} and {_words(anomaly_map.shape)} "
                    "voxels have no places in common; register them, or set relative=none"
                )
            total = total + np.where(brain_mask, anomaly_map, 0).astype(float)
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

    def forward(self, found: Detection) -> Detection:
        """The same with every score divided by what is expected; `(C, D, H, W)`, on the CPU.

        Raises:
            InputError: it lies on another grid, or nothing was measured yet.
        """
        if found.anomaly_map.shape != self.expected.shape:
            given, own = (_words(part.shape[1:]) for part in (found.anomaly_map, self.expected))
            raise InputError(
                f"a scan of {given} voxels does not lie where the healthy ones do, on a grid of "
                f"{own or 'none yet'}; prepare it as the training scans were"
            )
        expected = self.expected.cpu()
        scores = {"anomaly_map": found.anomaly_map / expected}
        for name in ("uncertainty", "draws"):
            if (part := getattr(found, name)) is not None:
                scores[name] = part / expected
        return found._replace(**scores)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Takes the grid from the checkpoint; torch compares shapes only after it."""
        if (name := prefix + "expected") in state_dict:
            self.expected = torch.empty_like(state_dict[name])
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _words(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
