"""Describe the findings of a scan: size, shape, place, contrast and texture inside the mask.

After AnomalyNCD (Huang et al., CVPR 2025), which describes a region by features of a network under
its mask. Here they are measures by hand, which need no trained network and have a meaning.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage

from brainuad.volumes.planes import in_plane, is_slice
from brainuad.volumes.regions import box_of
from brainuad.volumes.template import Template, load_template

AROUND_MM = 6.0
"""Thickness of the shell of brain that a finding is compared with, in mm."""

EDGE_MM = 2.0
"""Scale of the gradient at the edge of a finding, in mm."""

IN_MNI_DICE = 0.85
"""Overlap with the template's brain from which a brain lies in MNI152 already."""

FEATURES = {
    "volume_mm3": "volume, mm³",
    "elongation": "longest by shortest axis",
    "compactness": "compactness, 1 for a ball",
    "depth_mm": "mean depth below the brain's surface, mm",
    "nearest_mm": "smallest depth, mm",
    "ventricle_mm": "distance to the ventricles, mm",
    "lateral_mm": "distance to the mid-plane, mm",
    "cortex": "share of cortical grey matter",
    "contrast": "contrast to the brain around it",
    "mirror": "contrast to the mirrored place",
    "spread": "spread of the intensities",
    "edge": "gradient at its edge, per mm",
}
"""Features and their titles. Intensities are in robust standard deviations of the brain."""

Points = Callable[[np.ndarray], np.ndarray]


def describe(
    labels: np.ndarray, image: np.ndarray, brain_mask: np.ndarray, affine: np.ndarray
) -> pd.DataFrame:
    """Return one row per finding, `finding` and `FEATURES`; NaN where a feature has no meaning.

    In one plane the volume is that of the plane, and the distance to the ventricles and the share
    of cortex are unknown.

    Args:
        labels: `(D, H, W)` number of the finding of each voxel, 0 outside; the numbers have no gap.
        image: `(D, H, W)` the scan.
        brain_mask: `(D, H, W)` bool, not empty.
        affine: `(4, 4)` voxel to RAS world, mm.
    """
    spacing = voxel_sizes(affine)
    box = box_of(brain_mask | (labels > 0), margin=(1, 1, 1))
    corner = np.array([side.start for side in box])
    affine = affine @ _shift(corner)
    labels, brain_mask = labels[box], brain_mask[box]
    values = _standardised(image[box].astype(np.float32), brain_mask)
    depth = _depth(brain_mask, spacing)
    flat = is_slice(labels)
    slope = _slope(values, spacing)
    inside = np.argwhere(brain_mask)
    middle = float(apply_affine(affine, (inside.min(axis=0) + inside.max(axis=0)) / 2)[0])
    to_mni = None if flat else way_to_mni(brain_mask, affine)
    back = np.linalg.inv(affine)
    rows = []
    for number, own_box in enumerate(ndimage.find_objects(labels), start=1):
        margin = np.ceil(AROUND_MM / spacing).astype(int)
        wide = tuple(
            slice(max(side.start - more, 0), side.stop + more)
            for side, more in zip(own_box, margin, strict=True)
        )
        own = labels[wide] == number
        points = np.argwhere(own) + [side.start for side in wide]
        at, world = tuple(points.T), apply_affine(affine, points)
        volume = float(len(points) * spacing.prod())
        row = {"finding": number, "volume_mm3": volume, **_shape(own, world, spacing, flat)}
        row |= {"depth_mm": depth[at].mean(), "nearest_mm": depth[at].min()}
        row["lateral_mm"] = np.abs(world[:, 0] - middle).mean()
        if to_mni is not None:
            row |= _place(to_mni(world))
        mirrored = apply_affine(back, world * (-1, 1, 1) + (2 * middle, 0, 0))
        row |= _brightness(own, wide, at, mirrored, (labels, values, brain_mask, slope), spacing)
        rows.append(row)
    return pd.DataFrame(rows, columns=["finding", *FEATURES])


def way_to_mni(brain_mask: np.ndarray, affine: np.ndarray) -> Points:
    """Return the way of points `(N, 3)` from the world of a scan to MNI152, mm.

    A brain that lies there already stays. The box of another one is laid on the template's, which
    places a point to about a centimetre.
    """
    template = load_template(2.0)
    if _overlap(brain_mask, affine, template) >= IN_MNI_DICE:
        return lambda points: points
    sizes = []
    for mask, own in ((brain_mask, affine), (template.brain > 0.5, template.affine)):
        points = apply_affine(own, np.argwhere(mask))
        sizes.append((points.min(axis=0), points.max(axis=0)))
    (low, high), (low_mni, high_mni) = sizes
    scale = (high_mni - low_mni) / np.maximum(high - low, 1.0)
    return lambda points: (points - low) * scale + low_mni


def _overlap(brain_mask: np.ndarray, affine: np.ndarray, template: Template) -> float:
    """Return the Dice overlap of a brain with the template's in the same world, of a sample."""
    points = np.argwhere(brain_mask)
    points = points[:: max(len(points) // 20_000, 1)]
    hit = _sampled(template.brain, apply_affine(affine, points), template) > 0.5
    own = brain_mask.sum() * abs(np.linalg.det(affine[:3, :3]))
    other = (template.brain > 0.5).sum() * template.spacing_mm**3
    return float(2 * hit.mean() * own / (own + other))


def _sampled(array: np.ndarray, points: np.ndarray, template: Template) -> np.ndarray:
    """Return the values of a map of the template at points of MNI152, that of the nearest edge."""
    voxels = np.rint(apply_affine(np.linalg.inv(template.affine), points)).astype(int)
    return array[tuple(np.clip(voxels, 0, np.array(array.shape) - 1).T)]


@lru_cache(maxsize=1)
def _to_ventricles() -> np.ndarray:
    template = load_template(2.0)
    return ndimage.distance_transform_edt(template.ventricles < 0.5, sampling=template.spacing_mm)


def _place(points: np.ndarray) -> dict[str, float]:
    template = load_template(2.0)
    return {
        "ventricle_mm": float(_sampled(_to_ventricles(), points, template).min()),
        "cortex": float(_sampled(template.grey - template.deep_grey, points, template).mean()),
    }


def _shape(own: np.ndarray, world: np.ndarray, spacing: np.ndarray, flat: bool) -> dict[str, float]:
    """Return the ratio of the axes, and the largest inscribed ball's radius by that of a ball."""
    axes = 2 if flat else 3
    spread = np.diag(spacing**2 / 12)
    if len(world) > 1:
        spread = spread + np.cov(world.T, bias=True)
    lengths = np.sqrt(np.linalg.eigvalsh(spread[:axes, :axes]))
    mask = np.pad(own[..., 0] if flat else own, 1)
    radius = ndimage.distance_transform_edt(mask, sampling=spacing[:axes]).max()
    size = len(world) * spacing[:axes].prod()
    ball = np.sqrt(size / np.pi) if flat else (3 * size / (4 * np.pi)) ** (1 / 3)
    return {"elongation": float(lengths[-1] / lengths[0]), "compactness": float(radius / ball)}


def _brightness(
    own: np.ndarray,
    wide: tuple[slice, ...],
    at: tuple[np.ndarray, ...],
    mirrored: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    spacing: np.ndarray,
) -> dict[str, float]:
    """Return contrasts, spread and edge; NaN where nothing is there to compare with."""
    labels, values, brain_mask, slope = arrays
    found = values[at]
    near = ndimage.distance_transform_edt(~own, sampling=spacing) <= AROUND_MM
    around = values[wide][near & (labels[wide] == 0) & brain_mask[wide]]
    other = np.rint(mirrored).astype(int)
    within = ((other >= 0) & (other < labels.shape)).all(axis=1)
    where = tuple(other[within].T)
    facing = values[where][brain_mask[where]]
    cross = in_plane(ndimage.generate_binary_structure(3, 1), labels.shape)
    rim = own & ~ndimage.binary_erosion(own, cross)
    middle = float(np.median(found))
    return {
        "contrast": middle - float(np.median(around)) if around.size else np.nan,
        "mirror": middle - float(np.median(facing)) if facing.size else np.nan,
        "spread": float(found.std()),
        "edge": float(slope[wide][rim].mean()),
    }


def _standardised(image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
    """Return intensities relative to the brain's median, in its robust standard deviations."""
    brain = image[brain_mask]
    middle = np.median(brain)
    spread = 1.4826 * np.median(np.abs(brain - middle))
    return (image - middle) / (spread if spread > 0 else 1.0)


def _slope(values: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the length of the gradient per mm; in a plane within the plane."""
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    smooth = ndimage.gaussian_filter(values, EDGE_MM / spacing[axes], axes=tuple(axes))
    squares = (np.gradient(smooth, spacing[axis], axis=axis) ** 2 for axis in axes)
    return np.sqrt(sum(squares, np.zeros_like(values)))


def _depth(brain_mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest voxel outside the brain; in a plane within the plane."""
    if is_slice(brain_mask):
        inside = ndimage.distance_transform_edt(brain_mask[..., 0], sampling=spacing[:2])
        return inside[..., None]
    return ndimage.distance_transform_edt(brain_mask, sampling=spacing)


def _shift(corner: np.ndarray) -> np.ndarray:
    moved = np.eye(4)
    moved[:3, 3] = corner
    return moved
