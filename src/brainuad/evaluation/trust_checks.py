"""Trust checks: the share of a score that brightness explains, and the places of its errors.

False positives are collected on the grid of the MNI152 template. Scans need not be registered to
it: the bounding box of the brain is scaled to that of the template. Scans of less than a whole
brain are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.metrics.lesion import MIN_OVERLAP, label_lesions
from brainuad.volumes.template import load_template

REGIONS = ("rim", "cortex", "ventricles", "deep_grey", "white")
"""Regions of false positives: within 4 mm of the brain's surface, then by tissue.

`deep_grey` is all grey matter some 20 mm deep: ganglia, thalami, insula.
"""

SPACING_MM = 2.0
_RIM_MM, _DEEP_MM = 4.0, 20.0
_SAMPLE = 100_000
_WHOLE = 0.6
"""Smallest ratio of the box of a whole brain to that of the template, or the reverse."""


class Atlas(NamedTuple):
    """The template's grid.

    Attributes:
        affine: `(4, 4)`, voxel to MNI RAS mm.
        brain: `(D, H, W)` bool.
        regions: `(D, H, W)` int8, 0 elsewhere, 1.. in the order of `REGIONS`.
        box: `(2, 3)` corners of the brain in mm.
    """

    affine: np.ndarray
    brain: np.ndarray
    regions: np.ndarray
    box: np.ndarray


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Return the MNI152 tissue maps as regions; needs no network."""
    template = load_template(SPACING_MM)
    brain = template.brain > 0.5
    depth = ndimage.distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1, 1:-1] * SPACING_MM
    regions = np.zeros(brain.shape, np.int8)
    # In order of precedence: the first region keeps a voxel.
    tissues = {
        "rim": depth <= _RIM_MM,
        "ventricles": template.ventricles > 0.5,
        "deep_grey": (template.grey > 0.45) & (depth > _DEEP_MM),
        "cortex": template.grey > 0.5,
        "white": template.white > 0.5,
    }
    for name, tissue in tissues.items():
        regions[brain & tissue & (regions == 0)] = REGIONS.index(name) + 1
    return Atlas(template.affine, brain, regions, world_box(brain, template.affine))


def world_box(brain_mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the corners `(2, 3)` in mm of a mask's box, on a grid along the world's axes."""
    corners = np.array(
        [[s.start, s.stop - 1] for s in ndimage.find_objects(brain_mask.astype(np.uint8))[0]]
    )
    ends = (affine[:3, :3] @ corners) + affine[:3, 3:]
    return np.sort(ends.T, axis=0)


def on_atlas(
    mask: np.ndarray, box: np.ndarray, to_voxel: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray | None:
    """Return a subject's mask on the template's grid; None for a part of a brain.

    Args:
        mask: `(D, H, W)` bool, in the space of the scores.
        box: `(2, 3)` corners in mm of the prepared brain.
        to_voxel: maps points `(N, 3)` of the prepared world, mm, to voxels of `mask`.
    """
    atlas = load_atlas()
    scale = np.ptp(box, axis=0) / np.ptp(atlas.box, axis=0)
    if scale.min() < _WHOLE or scale.max() > 1 / _WHOLE:
        return None
    points = np.argwhere(atlas.brain)
    world = points @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
    world = box[0] + (world - atlas.box[0]) * scale
    voxels = np.rint(to_voxel(world)).astype(int)
    inside = ((voxels >= 0) & (voxels < mask.shape)).all(axis=1)
    found = np.zeros(atlas.brain.shape, bool)
    hits = mask[tuple(voxels[inside].T)]
    found[tuple(points[inside].T)] = hits
    return found


@dataclass
class FalsePositives:
    """False positives of a method, summed over subjects.

    Attributes:
        total: `(D, H, W)` number of subjects with one there, on the template's grid.
        subjects: number of subjects.
    """

    total: np.ndarray = field(default_factory=lambda: np.zeros(load_atlas().brain.shape, np.int32))
    subjects: int = 0

    def add(self, found: np.ndarray) -> None:
        """Add those of a subject, from `on_atlas`."""
        self.total += found
        self.subjects += 1

    def mean(self) -> np.ndarray:
        """Return the share of the subjects with a false positive, `(D, H, W)` float32."""
        return (self.total / max(self.subjects, 1)).astype(np.float32)


def region_rates(found: np.ndarray) -> dict[str, float]:
    """Return the share of each region that is false positive, `fp_<region>`, of one subject."""
    regions = load_atlas().regions
    hits = np.bincount(regions[found], minlength=len(REGIONS) + 1)
    sizes = np.bincount(regions.ravel(), minlength=len(REGIONS) + 1)
    return {f"fp_{name}": float(hits[i] / sizes[i]) for i, name in enumerate(REGIONS, start=1)}


def thin(inside: np.ndarray) -> np.ndarray:
    """Return a regular sample of a brain's scores `(N,)`, of about 100,000."""
    return inside[:: max(1, inside.size // _SAMPLE)]


def contrast(image: np.ndarray, lesion: np.ndarray, brain_mask: np.ndarray) -> float:
    """Return the mean over a lesion minus that of the brain's other voxels, in their deviations.

    Args:
        image: `(D, H, W)`, any intensity scale.
        lesion: `(D, H, W)` bool.
        brain_mask: `(D, H, W)` bool, true lesions excluded.
    """
    inside, healthy = image[lesion], image[brain_mask]
    if inside.size == 0 or healthy.size == 0 or healthy.std() == 0:
        return float("nan")
    return float((inside.mean() - healthy.mean()) / healthy.std())


def lesion_rows(
    segmentation: np.ndarray,
    truth: np.ndarray,
    image: np.ndarray,
    brain_mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> list[dict[str, float]]:
    """Return one row per true lesion: `volume_ml`, `contrast`, share `covered`, and `found`.

    Args:
        segmentation: `(D, H, W)` bool.
        truth: `(D, H, W)` bool; lesions are its components, 26-neighbourhood.
        image: `(D, H, W)`, for the contrast to the rest of the brain.
        brain_mask: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel in mm.
    """
    healthy = image[brain_mask & ~truth]
    mean, std = (float(healthy.mean()), float(healthy.std())) if healthy.size else (0.0, 0.0)
    where = np.flatnonzero(truth)
    labels = label_lesions(truth).ravel()[where] - 1
    sizes = np.bincount(labels)
    covered = np.bincount(labels, segmentation.ravel()[where]) / np.maximum(sizes, 1)
    level = np.bincount(labels, image.ravel()[where]) / np.maximum(sizes, 1)
    return [
        {
            "lesion": float(i + 1),
            "volume_ml": float(sizes[i] * np.prod(spacing_mm) / 1000),
            "contrast": (level[i] - mean) / std if std else float("nan"),
            "covered": float(covered[i]),
            "found": float(covered[i] >= MIN_OVERLAP),
        }
        for i in range(len(sizes))
    ]
