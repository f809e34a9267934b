"""The table of findings: connected components of a mask with position, size and support."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import ndimage

from brainuad.metrics.lesion import label_lesions
from brainuad.model.lobes import lobes_of
from brainuad.types import Volume
from brainuad.volumes.template import load_template

COLUMNS = (
    *("finding", "volume_mm3", "x_mm", "y_mm", "z_mm", "mni_x", "mni_y", "mni_z"),
    *("peak", "mean", "contrast", "side", "lobe", "region", "uncertainty", "support", "marked"),
)

ONE_SIDE = 0.75
"""Smallest share of a finding's voxels on one side; below it the finding is on the midline."""

LEAST_SUPPORT = 0.5
"""Smallest share of draws and models that support a finding without a mark."""

REGIONS = (
    "white matter",
    "cortical grey matter",
    "deep grey matter",
    "ventricles",
    "cerebrospinal fluid",
)

WITHOUT_LOBE = ("deep grey matter", "ventricles", "outside the atlas")
"""Regions that belong to no lobe of the cerebrum."""

AROUND_MM = 6.0
"""Thickness of the shell of brain that a finding's brightness is compared with, in mm."""

Member = tuple[np.ndarray, float]
"""Map of one draw or model on the grid of the mask, and its threshold."""


def find(
    mask: np.ndarray,
    score: Volume,
    brain_mask: np.ndarray,
    to_mni: Callable[[np.ndarray], np.ndarray] | None = None,
    uncertainty: np.ndarray | None = None,
    members: Sequence[Member] = (),
    image: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return one row per connected component (26 neighbours), by falling peak.

    Args:
        mask: `(D, H, W)` bool.
        score: the map that was thresholded, on the scan's own grid.
        brain_mask: `(D, H, W)` bool; its centre is the midline where `to_mni` is None.
        to_mni: maps points `(N, 3)` of the native world to MNI, mm; None where it is not known.
        uncertainty: `(D, H, W)` standard deviation of the map.
        members: two or more draws or models; with fewer no support is computed.
        image: `(D, H, W)` the scan, for the contrast.

    Returns:
        `COLUMNS`: volumes in mm³, points in mm, RAS; `contrast` is the median brightness in the
        scan divided by that of the brain within `AROUND_MM`; `side` is the subject's own, empty
        where the scan's header does not state it; `lobe` by planes in MNI152; `region` is the
        tissue of the MNI152 maps at most of its voxels; `support` is the share of the members in
        which the finding's mean is above the threshold.
    """
    labels = numbered(mask, score.array)
    index = np.arange(1, labels.max() + 1)
    if not index.size:
        return pd.DataFrame(columns=COLUMNS)
    # Only the mask's voxels are used from here.
    where = np.argwhere(labels)
    at = tuple(where.T)
    of = labels[at]
    counts = np.bincount(of)[1:]
    world = apply_affine(score.affine, where)
    laid = None if to_mni is None else to_mni(world)
    middle = 0.0
    if laid is None:
        middle = apply_affine(score.affine, np.argwhere(brain_mask).mean(axis=0))[0]
    left = (world if laid is None else laid)[:, 0] < middle
    table = pd.DataFrame(
        {
            "volume_mm3": counts * np.prod(score.spacing_mm),
            "peak": ndimage.maximum(score.array[at], of, index),
            "mean": _per_label(score.array[at], of, counts),
            "side": [_side(share) for share in _per_label(left, of, counts)],
            "lobe": "",
            "region": "" if laid is None else _regions(laid, of),
        }
    )
    table[["x_mm", "y_mm", "z_mm"]] = _per_label(world, of, counts)
    if image is not None:
        table["contrast"] = _contrasts(labels, image, brain_mask, score.spacing_mm)
    if laid is not None:
        pairs = zip(lobes_of(laid, of), table["region"], strict=True)
        table["lobe"] = [_lobe(lobe, region) for lobe, region in pairs]
        table[["mni_x", "mni_y", "mni_z"]] = _per_label(laid, of, counts)
    if uncertainty is not None:
        table["uncertainty"] = _per_label(uncertainty[at], of, counts)
    if len(members) > 1:
        votes = [_per_label(array[at], of, counts) > limit for array, limit in members]
        table["support"] = np.mean(votes, axis=0)
        table["marked"] = table["support"] < LEAST_SUPPORT
    table["finding"] = index
    return table.reindex(columns=COLUMNS)


def numbered(mask: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Number the connected components (26 neighbours) of a mask by falling peak, then size.

    Args:
        mask: `(D, H, W)` bool.
        score: `(D, H, W)` map that was thresholded.

    Returns:
        `(D, H, W)` whole numbers: the number of each voxel's finding, 0 outside the mask.
    """
    labels = label_lesions(mask)
    of = labels[mask]
    index = np.arange(1, labels.max() + 1)
    if not index.size:
        return labels
    peaks = ndimage.maximum(score[mask], of, index)
    numbers = np.zeros(len(index) + 1, labels.dtype)
    numbers[1 + np.lexsort((-np.bincount(of)[1:], -peaks))] = index
    return numbers[labels]


def _per_label(values: np.ndarray, of: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of values `(N,)` or `(N, k)` over each component."""
    columns = values.reshape(len(values), -1).T
    sums = [np.bincount(of, column)[1:] / counts for column in columns]
    return np.stack(sums, axis=-1).reshape(len(counts), *values.shape[1:])


def _side(left: float) -> str:
    if left >= ONE_SIDE:
        return "left"
    return "right" if left <= 1 - ONE_SIDE else "midline"


def _lobe(lobe: str, region: str) -> str:
    """Return the lobe where the region lies in one; grey matter of the brain stem lies deep too."""
    return "" if region in WITHOUT_LOBE and lobe not in ("cerebellum", "brain stem") else lobe


def _contrasts(
    labels: np.ndarray, image: np.ndarray, brain_mask: np.ndarray, spacing_mm: Sequence[float]
) -> list[float]:
    """Return the brightness of each component relative to the brain around it.

    NaN where nothing lies around it or brightness is negative, so that a ratio has no meaning.
    """
    margin = np.ceil(AROUND_MM / np.array(spacing_mm)).astype(int)
    found = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        # Distances are needed near the component alone.
        wide = tuple(
            slice(max(side.start - more, 0), side.stop + more)
            for side, more in zip(box, margin, strict=True)
        )
        own = labels[wide] == label
        near = ndimage.distance_transform_edt(~own, sampling=spacing_mm) <= AROUND_MM
        around = image[wide][near & (labels[wide] == 0) & brain_mask[wide]]
        inside, outside = np.median(image[wide][own]), np.median(around) if around.size else 0.0
        found.append(float(inside / outside) if outside > 0 and inside >= 0 else np.nan)
    return found


def _regions(points: np.ndarray, of: np.ndarray) -> list[str]:
    """Return the commonest tissue of each component, by the MNI152 maps that nilearn ships."""
    template = load_template(2.0)
    maps = np.stack(
        [
            template.white,
            template.grey - template.deep_grey,
            template.deep_grey,
            template.ventricles,
            template.csf - template.ventricles,
        ]
    )
    voxels = np.rint(apply_affine(np.linalg.inv(template.affine), points)).astype(int)
    inside = ((voxels >= 0) & (voxels < template.brain.shape)).all(axis=1)
    shares = np.zeros((len(points), len(REGIONS)))
    shares[inside] = maps[(slice(None), *voxels[inside].T)].T
    total = np.stack([np.bincount(of, column)[1:] for column in shares.T], axis=-1)
    return [REGIONS[row.argmax()] if row.max() > 0 else "outside the atlas" for row in total]
