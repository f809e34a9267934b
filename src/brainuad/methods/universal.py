"""A lesion detector trained on synthetic scans of real anatomies; it needs no healthy cohort.

Ours, after SynthSeg (Billot et al., Medical Image Analysis 2023, doi:10.1016/j.media.2023.102789),
UNA (Liu et al., CVPR 2025: a scan beside its mirror image) and SynthStroke (Chalcroft et al., MELBA
2025). `brainuad.synthetic.anatomies` draws new scans of one sequence with painted lesions in each
step (`datamodule=synthetic`). The network sees a scan resampled to the grid of the MNI152 atlas,
its mirror image, the brain mask and the atlas's tissue priors. It predicts the lesion, and the scan
without the lesion:

    x = gain (y / w - 1), clipped to +-4,     w: median of y where the atlas has white matter
    p = sigmoid(f_1(x, ...)),   y_healthy = w (1 + f_2(x, ...) / gain)
    loss = 3 weighted cross-entropy(p) + (1 - Dice(p)) + mean |f_2 - x_healthy|

The weight of lesion voxels falls from `weight_first` to `weight_last` over the training, so that
small lesions are learned first and p approaches a probability at the end. The score is p, with a
fixed threshold of 0.5. A scan that does not lie on the atlas is scored without priors, with a
message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainuad.errors import InputError
from brainuad.machine.text import say
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.lesion_weights import LesionWeights, sample_weights
from brainuad.methods.parts.tissue_atlas import TISSUES, atlas_at, inside_atlas
from brainuad.synthetic.anatomies.stream import StreamedScan
from brainuad.synthetic.lesions.contract import Painted
from brainuad.types import Batch, Detection

CLIP = 4.0
"""Largest input of the network."""

CERTAIN_WHITE = 0.7
"""Smallest prior of white matter of a voxel that counts for the median."""

MULTIPLE, SMALLEST = 16, 32
"""Volumes are padded to a multiple of the first number and at least to the second. The network
halves five times, and pads odd sizes itself.
"""


class Universal(AnomalyDetector):
    """Detector that predicts the lesion, and the scan without it.

    Args:
        network: maps `(B, 6, *S)` to `(B, 2, *S)`: logit of a lesion, healthy scan.
        optimizer: factory.
        scheduler: factory or None.
        gain: factor of the intensities about white matter's.
        scores_by: `lesion`, the probability; `residual`, the distance to the healthy scan over
            white matter's intensity, with the sign of `sign`.
        sign: sign of lesions for `residual`: `positive` (brighter) or `negative` (darker).
        weight_first, weight_last: weights of lesion voxels in the cross-entropy, at the first and
            the last epoch.
        epochs: number of epochs of the training.
        drop_priors: share of scans without priors in training.
        offset: standard deviation of a random shift of intensities in training, relative to white
            matter, because scanners and normalisers differ in their zero.
        lesion_weights: weighs scans by the use of their lesions; None for equal weights.
    """

    traits = Traits(
        left_right=True,
        places="used",
        detection_options=("scores_by", "sign"),
        one_pass=True,
    )

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        gain: float = 4.0,
        scores_by: Literal["lesion", "residual"] = "lesion",
        sign: Literal["positive", "negative"] = "positive",
        weight_first: float = 9.0,
        weight_last: float = 1.5,
        epochs: int = 1,
        drop_priors: float = 0.05,
        offset: float = 0.03,
        lesion_weights: LesionWeights | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if scores_by not in ("lesion", "residual"):
            raise ValueError(f"scores_by is {scores_by}; use lesion or residual")
        if sign not in ("positive", "negative"):
            raise ValueError(f"sign is {sign}; use positive or negative")
        if scores_by == "lesion":
            # The score is a probability.
            self.traits = replace(self.traits, own_threshold=0.5)
        self.network = network
        self.gain, self.scores_by, self.sign = gain, scores_by, sign
        self.weights, self.epochs = (weight_first, weight_last), epochs
        self.drop_priors, self.offset = drop_priors, offset
        self.lesion_weights = lesion_weights
        self._weight = weight_first

    def measure(self, batches: Iterable[Batch]) -> None:
        """Check that tiles are whole brains; `brainuad.training.fit` writes their grid to the card.

        Raises:
            InputError: the grid does not hold whole brains.
        """
        for image, _ in batches:
            if image.ndim != 5:
                raise InputError("a network of whole brains: set tiling=volume")
            return

    def start_epoch(self, epoch: int) -> None:
        """Set the weight of lesion voxels for the epoch."""
        first, last = self.weights
        share = min(epoch / max(self.epochs - 1, 1), 1.0)
        self._weight = first * (last / first) ** share

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms of the module's docstring; in validation with Dice at 0.5 too.

        Raises:
            InputError: the batch has no synthetic scans.
        """
        if not isinstance(batch, StreamedScan):
            raise InputError("a network for synthetic lesions; set datamodule=synthetic")
        mask = batch.brain_mask
        image, healthy = batch.image, batch.healthy
        priors = self._training_priors(mask)
        white = _white(image, mask, priors)
        if self.training:
            kept = torch.rand(len(image), device=image.device) >= self.drop_priors
            priors = priors * kept[:, None, None, None, None]
            image = image + self.offset * white * torch.randn_like(white)
        seen = self._relative(image, white, mask)
        found = self._network(seen, mask, priors)
        logit, other = found[:, :1], found[:, 1:]
        truth = batch.lesion.float()
        weight = torch.where(
            batch.lesion, self._weight * batch.weight, torch.ones_like(batch.weight)
        )
        painted = Painted(batch.image, truth)
        of_scan = sample_weights(self.lesion_weights, painted, healthy, mask)
        inside = mask.float()
        terms = functional.binary_cross_entropy_with_logits(logit, truth, reduction="none")
        entropy = (of_scan * terms * weight * inside).sum() / (weight * inside).sum()
        share = torch.sigmoid(logit) * inside
        counted, mean = of_scan * share, of_scan.mean()
        dice = (2 * (counted * truth).sum() + 1) / (counted.sum() + (of_scan * truth).sum() + 1)
        wanted = self._relative(healthy, white, mask)
        restored = (of_scan * (other - wanted).abs() * inside).sum() / inside.sum()
        out = {
            "loss": 3 * entropy + mean - mean * dice + restored,
            "entropy": entropy,
            "soft_dice": dice,
            "restored": restored,
        }
        if not self.training:
            positive = (share > 0.5).flatten(1)
            both = 2 * (positive & batch.lesion.flatten(1)).sum(1) + 1
            out["dice"] = (both / (positive.sum(1) + batch.lesion.flatten(1).sum(1) + 1)).mean()
        return out

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, Any]:
        """Return the use of lesions by size and change, where lesions have weights."""
        return {} if self.lesion_weights is None else self.lesion_weights.checks(["lesion"])

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the probability of a lesion, and the healthy scan.

        Raises:
            InputError: slices in place of volumes.
        """
        if image.ndim != 5:
            raise InputError("a network of whole brains takes volumes; set tiling=volume")
        priors = torch.stack([self._priors_of(mask) for mask in brain_mask])
        white = _white(image.float(), brain_mask, priors)
        seen = self._relative(image.float(), white, brain_mask)
        found = self._network(seen, brain_mask, priors).float()
        reconstruction = (white * (1 + found[:, 1:] / self.gain)).clamp(0, 1)
        if self.scores_by == "lesion":
            return Detection(torch.sigmoid(found[:, :1]), reconstruction)
        side = 1 if self.sign == "positive" else -1
        distance = side * (image - reconstruction) / white.clamp_min(1e-6)
        return Detection(distance.clamp_min(0), reconstruction)

    def _network(self, seen: Tensor, mask: Tensor, priors: Tensor) -> Tensor:
        """`(B, 1, *S)`, `(B, 1, *S)` bool, `(B, 3, *S)` to `(B, 2, *S)`."""
        given = torch.cat([seen, seen.flip(2), mask.to(seen.dtype), priors], 1)
        box = _box(mask)
        size = [part.stop - part.start for part in box]
        pad = [part for n in reversed(size) for part in (0, max(-n % MULTIPLE, SMALLEST - n))]
        found = self.network(functional.pad(given[(..., *box)], pad))
        out = found.new_zeros(len(given), found.shape[1], *given.shape[2:])
        out[(..., *box)] = found[(..., *(slice(n) for n in size))]
        return out

    def _relative(self, image: Tensor, white: Tensor, mask: Tensor) -> Tensor:
        """Intensities as the network sees them, `(B, 1, *S)`; 0 outside the brain."""
        found = (self.gain * (image / white.clamp_min(1e-6) - 1)).clamp(-CLIP, CLIP)
        return torch.where(mask, found, torch.zeros_like(found))

    def _training_priors(self, mask: Tensor) -> Tensor:
        """Priors of scans on the grid of the card, `(B, 3, *S)`."""
        grid = self.grid
        assert grid is not None, "measured before the training"
        if tuple(mask.shape[2:]) != grid.shape:
            raise InputError("synthetic scans on another grid than the cohort; set data=anatomies")
        own = _priors_at(grid.affine, grid.shape).to(mask.device)
        return own.expand(len(mask), *own.shape)

    def _priors_of(self, mask: Tensor) -> Tensor:
        """Priors of a scan, `(3, *S)`; 0 where it does not lie on the atlas."""
        size = tuple(mask.shape[1:])
        places = np.argwhere(mask[0].cpu().numpy())
        if len(places) and self.affine is not None:
            if inside_atlas(self.affine, places):
                return _priors_at(self.affine, size).to(mask.device)
            say(
                "warning: a scan does not lie on the MNI152 atlas; scored without places; prepare "
                "it with brainuad-prepare"
            )
        return torch.zeros(len(TISSUES), *size, device=mask.device)


def _white(image: Tensor, mask: Tensor, priors: Tensor) -> Tensor:
    """Return the median of each scan's white matter (without atlas: brain), `(B, 1, 1, 1, 1)`."""
    certain = mask & (priors[:, TISSUES.index("white")][:, None] > CERTAIN_WHITE)
    values = []
    for scan, brain, white in zip(image, mask, certain, strict=True):
        chosen = white if bool(white.any()) else brain
        values.append(scan[chosen].median() if bool(chosen.any()) else scan.new_ones(()))
    return torch.stack(values)[:, None, None, None, None].clamp_min(1e-6)


def _box(mask: Tensor) -> tuple[slice, slice, slice]:
    """Return the box of `(B, 1, D, H, W)` with all brains, symmetric along its first axis."""
    found = []
    for axis in (2, 3, 4):
        others = [other for other in range(5) if other != axis]
        filled = mask.any(dim=others).nonzero()[:, 0]
        length = mask.shape[axis]
        low, high = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, length)
        if axis == 2:
            low = min(low, length - high)
            high = length - low
        found.append(slice(low, high))
    return found[0], found[1], found[2]


def _priors_at(affine: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """Tissue priors of the atlas on a grid, `(3, *S)`."""
    return _priors(np.asarray(affine, dtype=float).tobytes(), size)


@lru_cache(maxsize=2)
def _priors(affine: bytes, size: tuple[int, ...]) -> Tensor:
    """Return `_priors_at` by an affine's bytes, cached because every step uses the same grid."""
    places = np.argwhere(np.ones(size, dtype=bool))
    found = atlas_at(np.frombuffer(affine).reshape(4, 4), places)
    maps = np.stack([found[name].reshape(size) for name in TISSUES])
    return torch.from_numpy(maps.astype(np.float32))
