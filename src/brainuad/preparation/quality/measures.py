"""Measures of a prepared scan, and the flags that they raise."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy import ndimage

from brainuad.preparation.atlas import BrainAtlas
from brainuad.types import Volume
from brainuad.volumes.resample import resample_like


@dataclass(frozen=True)
class Limits:
    """Limits beyond which a scan is flagged for inspection. Flagged scans are kept.

    Args:
        brain_ml: smallest and largest brain volume; adults have 1,000 to 1,900 ml with CSF.
        overlap: smallest Dice of the prepared brain with the atlas's.
        similarity: smallest correlation of the prepared image's edges with the atlas's.
        border_share: largest share of the array's border faces that the brain mask touches.
        noise: largest noise, in shares of the brain's median intensity.
        flip_margin: largest advantage of the mirrored atlas's fit. It has an effect only with an
            asymmetric template of the user's: nilearn's MNI152 is its own mirror image.
        cohort_flip_margin: largest advantage of the mirror image of the other subjects' average's
            fit, as the correlation of what is lopsided in both, -1 to 1; see
            `left_right.compare_with_mirror`.
        cohort_subjects: fewest subjects of a sequence whose average has a side.
    """

    brain_ml: tuple[float, float] = (900.0, 2100.0)
    overlap: float = 0.85
    similarity: float = 0.3
    border_share: float = 0.02
    noise: float = 0.15
    flip_margin: float = 0.02
    cohort_flip_margin: float = 0.1
    cohort_subjects: int = 5

    def flags(self, found: Mapping[str, float]) -> list[str]:
        """Return the flags of a scan, `what to look at (numbers)`; absent measures raise none."""
        low, high = self.brain_ml
        swapped = "Check whether left and right are swapped"
        limits = {
            "brain_ml": (
                low,
                high,
                "Check the brain mask "
                f"(brain volume {{:.0f}} ml, expected {low:.0f} to {high:.0f})",
            ),
            "overlap": (
                self.overlap,
                inf,
                "Check the brain mask and the registration "
                f"(overlap {{:.2f}}, expected at least {self.overlap})",
            ),
            "similarity": (
                self.similarity,
                inf,
                "Check the registration to the atlas "
                f"(similarity {{:.2f}}, expected at least {self.similarity})",
            ),
            "border_share": (
                -inf,
                self.border_share,
                "Check where the brain mask touches the border of the scan "
                f"({{:.1%}} of a face, expected at most {self.border_share:.1%})",
            ),
            "noise": (
                -inf,
                self.noise,
                "Check the scan for motion and noise "
                f"(noise {{:.2f}} of the median, expected at most {self.noise})",
            ),
            "mirrored_gain": (
                -inf,
                self.flip_margin,
                f"{swapped} (the mirrored atlas fits better by {{:.3f}})",
            ),
            "cohort_mirrored_gain": (
                -inf,
                self.cohort_flip_margin,
                f"{swapped} (the other subjects, mirrored, fit better by {{:.3f}})",
            ),
        }
        return [
            words.format(found[name])
            for name, (least, most, words) in limits.items()
            # No flag for NaN, which is neither smaller nor larger.
            if name in found and (found[name] < least or found[name] > most)
        ]


def measure(volume: Volume, corrected: np.ndarray, brain_mask: np.ndarray) -> dict[str, float]:
    """Brain volume, mask at the border, and noise, on the scan's own grid.

    Of one plane there is its noise alone: slices are cut close to the brain on purpose.

    Noise is the median absolute Laplacian along each axis over the brain (robust to edges),
    in standard deviations of white noise, as a share of the median intensity; it is absent where
    that is not above 0.
    """
    wide = [axis for axis in range(3) if brain_mask.shape[axis] > 1]
    inside = corrected[brain_mask]
    median = float(np.median(inside))
    along = []
    for axis in wide:
        bend = ndimage.convolve1d(corrected.astype(np.float32), [1, -2, 1], axis=axis)
        # The kernel's norm is sqrt(6); 0.6745 turns a median deviation into a standard one.
        along.append(float(np.median(np.abs(bend[brain_mask]))) / 0.6745 / np.sqrt(6))
    # Against a median of 0 there is no share to speak of.
    noise = {"noise": min(along) / median} if median > 0 else {}
    if len(wide) < 3:
        return noise
    faces = [np.take(brain_mask, (0, -1), axis) for axis in wide]
    return {
        "brain_ml": float(np.count_nonzero(brain_mask) * np.prod(volume.spacing_mm) / 1000),
        "border_share": float(max(face.mean() for face in faces)),
        **noise,
    }


def measure_prepared(
    image: np.ndarray, brain_mask: np.ndarray, atlas: BrainAtlas | None, grid: Volume
) -> dict[str, float]:
    """Overlap and edge correlation with the atlas, and with its mirror image; empty without one."""
    if atlas is None:
        return {}
    target = resample_like(atlas.brain_mask.astype(np.float32), atlas.image.affine, grid) >= 0.5
    total = int(np.count_nonzero(target)) + int(np.count_nonzero(brain_mask))
    template = resample_like(atlas.image.array, atlas.image.affine, grid)
    mirror = atlas.image.affine.copy()
    mirror[0] *= -1
    mirrored = resample_like(atlas.image.array, mirror, grid)
    edges = _edges(image)
    both = target & brain_mask
    fit, fit_mirrored = (_correlation(edges, _edges(t), both) for t in (template, mirrored))
    return {
        "overlap": 2 * int(np.count_nonzero(target & brain_mask)) / max(total, 1),
        "similarity": fit,
        "mirrored_gain": fit_mirrored - fit,
    }


def _edges(array: np.ndarray) -> np.ndarray:
    """Return the edges: tissue borders show in any sequence."""
    return ndimage.gaussian_gradient_magnitude(array.astype(np.float32), 1.5)


def _correlation(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    a, b = first[where], second[where]
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
