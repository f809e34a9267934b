"""Foreign patch interpolation and its relatives: a network predicts the share of foreign tissue.

Tan et al., "Detecting Outliers with Foreign Patch Interpolation", MELBA 2022 (arXiv 2011.04197):
healthy images get a synthetic anomaly (`corruption`), and the network predicts, pixel by pixel, the
factor alpha by which it was mixed in (equation 1; its loss is the cross-entropy with that soft
label, equation 3). The prediction is the score; nothing is reconstructed. The corruption makes the
method: a patch of another brain is FPI, one blended by its gradients is PII (Tan et al., MICCAI
2021, arXiv 2107.02622) or, from another place, NSA (Schlueter et al., ECCV 2022, arXiv 2109.15222);
`model/corruption` names them.

With a healthy atlas (`experiment=fpi_3d`, ours) the network works on registered volumes and sees,
beside the image, how many healthy standard deviations each voxel is from the healthy mean at its
place: so it can distinguish a synthetic lesion from a fold that lies slightly beside its usual
place.

In FPI's code (jemtan/FPI) the donor comes from the same height of another subject, two volumes
being each other's donors with one mask (`donors_by_height`), and the cross-entropy covers the whole
image (`whole_image`); `experiment=fpi_paper` has both. Our defaults: a donor from the batch, and
the brain only.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainuad.machine import ranks
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.methods.parts.lesion_weights import LesionWeights, sample_weights
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.synthetic.lesions.mixture import kinds_of
from brainuad.types import Batch, Detection

Scanner = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]


class FPI(AnomalyDetector):
    """Detector that predicts the share of a synthetic anomaly in every pixel.

    Args:
        network: maps images `(B, C, *S)`, 2 C channels with an atlas or the mirror image, to logits
            `(B, K, *S)`, which are averaged over the K channels.
        corruption: paints synthetic anomalies into healthy images.
        optimizer: factory; the paper's is Adam with 1e-3.
        scheduler: factory or None.
        atlas: atlas of the training scans, for volumes on one grid; None for the image alone.
        whole_image: average the loss over all pixels, as in the code (`fpiSubmit.py:94-102`); False
            for the brain.
        donors_by_height: each slice's donor is at its height in another scan, and both scans' steps
            have the same shapes and factors, as in the code (`fpiSubmit.py:147-154`). The
            corruption must take `donors`. False for the corruption's own donors.
        mirror: whether the network also sees the left-right mirror image (ours).
        dice: weight of 1 - soft Dice of a rank's batch, over the brain, in the loss (ours).
        scanner: adds blur and noise to the painted images (ours, `ScannerNoise`); None for neither.
        lesion_weights: weighs samples by the use of their lesions (ours); None for equal weights.

    Raises:
        ValueError: both an atlas and the mirror image.
    """

    # More than half of the voxel is foreign.
    traits = Traits(own_threshold=0.5, one_pass=True)

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        atlas: HealthyAtlas | None = None,
        whole_image: bool = False,
        donors_by_height: bool = False,
        mirror: bool = False,
        dice: float = 0.0,
        scanner: Scanner | None = None,
        lesion_weights: LesionWeights | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if atlas is not None and mirror:
            raise ValueError("model.atlas and model.mirror together; choose one")
        self.network = network
        self.corruption = corruption
        self.traits = replace(
            self.traits,
            left_right=mirror,
            pairs=donors_by_height,
            places="ignored" if atlas is None else "required",
        )
        self.atlas = atlas
        self.whole_image = whole_image
        self.donors_by_height = donors_by_height
        self.mirror = mirror
        self.dice = dice
        self.scanner = scanner
        self.lesion_weights = lesion_weights

    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the atlas, if there is one."""
        if self.atlas is not None:
            self.atlas.measure(batches)

    def logits(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the logits `(B, 1, *S)` of images `(B, C, *S)`."""
        if self.atlas is not None:
            image = self.atlas.beside(image, brain_mask)
        if self.mirror:
            image = torch.cat([image, image.flip(2)], 1)
        return self.network(image).mean(1, keepdim=True)

    def _generator_of_pairs(self) -> torch.Generator:
        """Return a generator with the same draws in the two steps of a pair."""
        step, seed = self.validation_seed, 0
        if self.training:
            step, seed = self.step, torch.initial_seed()
        words = np.random.SeedSequence([seed, step // 2, ranks.rank()])
        return torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy between the predicted and the painted share."""
        (image, brain_mask), donors = batch, {}
        if self.donors_by_height:
            (image, other), (brain_mask, other_mask) = image.chunk(2), brain_mask.chunk(2)
            donors = {"donors": Batch(other, other_mask)}
        generator = self._generator_of_pairs() if donors else self.generator()
        painted = self.corruption(image, brain_mask, generator, **donors)
        seen = painted.image
        if self.scanner is not None:
            seen = self.scanner(seen, brain_mask, generator)
        logits = self.logits(seen, brain_mask)
        terms = functional.binary_cross_entropy_with_logits(logits, painted.share, reduction="none")
        weight = sample_weights(self.lesion_weights, painted, image, brain_mask)
        inside = brain_mask.to(terms.dtype)
        entropy = (weight * terms).mean()
        if not self.whole_image:
            entropy = (weight * terms * inside).sum() / inside.sum().clamp_min(1)
        if not self.dice:
            return {"loss": entropy}
        found = weight * logits.sigmoid() * inside
        wanted = painted.share * inside
        both = (found * wanted).sum()
        dice = (2 * both + 1) / (found.sum() + (weight * wanted).sum() + 1)
        loss = entropy + weight.mean() * self.dice * (1 - dice)
        return {"loss": loss, "entropy": entropy, "soft_dice": dice}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the predicted share, in [0, 1]."""
        return Detection(self.logits(image, brain_mask).float().sigmoid(), None)

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, Any]:
        """Return the use of each kind of lesion, where lesions have weights."""
        if self.lesion_weights is None:
            return {}
        return self.lesion_weights.checks(kinds_of(self.corruption))
