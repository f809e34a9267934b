"""The configured post-processing of an anomaly map to a 3D mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from brainuad.postprocess.mebin import Mebin
from brainuad.postprocess.scale import Sign
from brainuad.postprocess.smooth import Spacing
from brainuad.postprocess.threshold import HealthyThreshold, Otsu, UpperSpread, above

Step = Callable[[np.ndarray, np.ndarray, Spacing], np.ndarray]
"""(map or segmentation, brain_mask, spacing_mm) -> the same, changed; a pure function."""


@dataclass(frozen=True)
class Postprocess:
    """Post-processing of every map of a run. Sizes are in mm, so that they hold at every spacing.

    Args:
        map_steps: steps on the float map, in order, in prepared space.
        threshold: headline threshold, the only fitted part.
        mask_steps: steps on the bool mask, in order, in the space of the mask.
        otsu: threshold of each volume by itself, the variant `otsu` of the scores.
        binarise: (score, threshold) -> bool; `above`, or `Hysteresis`.
        masks_last: True clears the background of a map that has one (`Traits.keeps_background`)
            after the mask steps, as in StRegA's code; False clears it first.
        scan: scale of each scan by itself, for the variant `scan` of the scores.
        mebin: rule of the variant `mebin` of the scores.
    """

    map_steps: Sequence[Step]
    threshold: HealthyThreshold
    mask_steps: Sequence[Step]
    otsu: Otsu = field(default_factory=Otsu)
    binarise: Callable[[np.ndarray, float], np.ndarray] = above
    masks_last: bool = False
    scan: UpperSpread = field(default_factory=UpperSpread)
    mebin: Mebin = field(default_factory=Mebin)

    @property
    def takes_signed_maps(self) -> bool:
        """Return whether the first step chooses the sign that counts."""
        return bool(self.map_steps) and isinstance(self.map_steps[0], Sign)

    def score(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the map that thresholds apply to, `(D, H, W)` float32.

        It is zero outside the brain, unless `masks_last`.
        """
        inside = anomaly_map if self.masks_last else np.where(brain_mask, anomaly_map, 0)
        score = inside.astype(np.float32)
        for step in self.map_steps:
            score = step(score, brain_mask, spacing_mm)
        return score

    def segment(
        self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing, threshold: float
    ) -> np.ndarray:
        """Return the `(D, H, W)` mask above the threshold in the brain, after the mask steps."""
        segmentation = self.binarise(score, threshold)
        if not self.masks_last:
            segmentation = segmentation & brain_mask
        for step in self.mask_steps:
            segmentation = step(segmentation, brain_mask, spacing_mm)
        return segmentation & brain_mask if self.masks_last else segmentation
