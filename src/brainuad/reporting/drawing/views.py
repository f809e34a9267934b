"""Load the parts of a subject's volumes that a picture needs: three planes and a few numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.postprocess.box import brain_box
from brainuad.types import Volume
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.planes import image_of, is_slice

Slices = dict[str, np.ndarray]

PLANES = (("axial", 2, "z", "RLAP"), ("coronal", 1, "y", "RLSI"), ("sagittal", 0, "x", "APSI"))
"""Name, array axis that is fixed, its coordinate, labels of the left, right, top, bottom edge."""
SLICE = ("slice", 2, "", "")
"""The one plane of a 2D image."""

TITLES = {
    "image": "scan",
    "truth": "truth, outlined",
    "seen": "input of the method",
    "reconstruction": "reconstruction",
    "anomaly": "anomaly map",
    "segmentation": "predicted mask",
}


@dataclass(frozen=True)
class PlaneView:
    """One plane of a subject, turned as it is shown.

    Attributes:
        name: `axial`, `coronal` or `sagittal`; `slice` of a 2D image.
        position: where the slice is, e.g. `z = 12 mm` in world coordinates; empty of a 2D image.
        edges: letters at the left, right, top and bottom edge; none of a 2D image.
        size_mm: width and height.
        slices: `(rows, columns)` from the bottom up, by the keys of `TITLES`.
    """

    name: str
    position: str
    edges: str
    size_mm: tuple[float, float]
    slices: Slices


@dataclass(frozen=True)
class SubjectView:
    """The parts of a subject's volumes that are kept: three planes and a few numbers.

    Attributes:
        planes: axial, coronal, sagittal; of a 2D image the image.
        window: intensity shown as white in the scan, and in a reconstruction of it; what a method
            saw in its place, tissue maps, is in [0, 1].
        sample: anomaly scores of a regular sample of brain voxels, for the shared scale.
        lesion_ml: volume of the truth; 0 when there is no lesion, None where it is unknown.
        brain_ml: volume of the brain mask.
        missing: keys of `TITLES` that the run has no file of.
    """

    planes: tuple[PlaneView, ...]
    window: float
    sample: np.ndarray
    lesion_ml: float | None
    brain_ml: float
    missing: tuple[str, ...]


def load_view(scan: Scan, maps: Path) -> SubjectView:
    """Read a subject's volumes and keep the slices to show.

    Of each plane, the slice with the largest area of truth; without a lesion, the one with the
    most anomaly in total.

    Args:
        scan: scan of the run's cohort.
        maps: folder with `<subject>_anomaly.nii.gz` and, where there are any,
            `_input`, `_reconstruction` and `_mask`, on the grid of `scan.image`.

    Raises:
        InputError: a volume that is damaged or on another grid.
    """
    image, folder = read_volume(scan.image), MapFolder(maps)

    def optional(path: Path | None) -> np.ndarray | None:
        if path is None or not path.is_file():
            return None
        volume = read_volume(path)
        require_same_grid(path, volume, image)
        return _ras(volume).array

    arrays = {
        "image": _ras(image).array,
        "truth": optional(scan.lesion_mask),
        "seen": optional(folder.file(scan.subject, "input")),
        "reconstruction": optional(folder.file(scan.subject, "reconstruction")),
        "anomaly": optional(folder.file(scan.subject, "anomaly")),
        "segmentation": optional(folder.file(scan.subject, "mask")),
    }
    brain = optional(scan.brain_mask)
    ras = _ras(image)
    inside = ras.array > 0 if brain is None or not (brain > 0).any() else brain > 0
    found = {key: array for key, array in arrays.items() if array is not None}
    truth, anomaly = found.get("truth"), found.get("anomaly")
    has_lesion = truth is not None and bool((truth > 0).any())
    needed = [key for key in TITLES if key != "seen" and not (key == "truth" and scan.healthy)]
    missing = tuple(key for key in needed if key not in found)
    if not has_lesion:
        found.pop("truth", None)
    centre = _centre(truth if has_lesion else None, anomaly, inside)
    box = brain_box(inside, [1 + length // 40 for length in inside.shape])
    sample = anomaly[inside] if anomaly is not None else np.zeros(0, np.float32)
    voxel_ml = float(np.prod(ras.spacing_mm)) / 1000
    lesion_ml = None
    if truth is not None or scan.healthy:
        voxels = float((truth > 0).sum()) if truth is not None else 0.0
        lesion_ml = voxels * voxel_ml
    return SubjectView(
        planes=tuple(
            _plane(plane, found, centre, box, ras)
            for plane in ((SLICE,) if is_slice(ras.array) else PLANES)
        ),
        window=max(float(np.quantile(ras.array[inside], 0.999)), 1e-6) if inside.any() else 1.0,
        sample=sample[:: max(1, sample.size // 20_000)],
        lesion_ml=lesion_ml,
        brain_ml=float(inside.sum()) * voxel_ml,
        missing=missing,
    )


def radiological(array: np.ndarray, axis: int, at: list[int]) -> np.ndarray:
    """Return a plane as radiologists see it, `(rows, columns)` from the bottom up.

    The patient's right is on the left, anterior on the left of a sagittal plane. A 2D image is
    shown as it is: its sides are not known.

    Args:
        array: `(D, H, W)`, RAS axes.
        axis: the plane's normal.
        at: index along each axis.
    """
    if is_slice(array) and axis == 2:
        return image_of(array)[::-1]
    return np.take(array, at[axis], axis)[::-1].T


def lesion_share(views: list[SubjectView]) -> float | None:
    """Return the lesions' share of the brain in the `views` with a lesion; None without one."""
    lesions = [(view.lesion_ml, view.brain_ml) for view in views if view.lesion_ml]
    return sum(a for a, _ in lesions) / sum(b for _, b in lesions) if lesions else None


def shared_limit(views: list[SubjectView]) -> float:
    """Return the top of the anomaly scale: the 99.9th percentile of all brain voxels."""
    pooled = np.concatenate([view.sample for view in views] or [np.zeros(0)])
    limit = float(np.quantile(pooled, 0.999)) if pooled.size else 0.0
    return limit if limit > 0 else 1.0


def _ras(volume: Volume) -> Volume:
    # A cohort is RAS by contract, but a wrong left or right is the one error not to risk.
    import nibabel as nib

    if nib.aff2axcodes(volume.affine) == ("R", "A", "S"):
        return volume
    from brainuad.volumes.orient import to_ras

    return to_ras(volume)


def _centre(
    truth: np.ndarray | None, anomaly: np.ndarray | None, inside: np.ndarray
) -> tuple[int, ...]:
    """Return the slice to show along each array axis."""
    mass = inside.astype(np.float32)
    if truth is not None:
        mass = (truth > 0).astype(np.float32)
    elif anomaly is not None and anomaly[inside].any():
        mass = np.where(inside, anomaly, 0)
    others = [tuple(b for b in range(3) if b != a) for a in range(3)]
    return tuple(int(mass.sum(axis=other).argmax()) for other in others)


def _plane(
    plane: tuple[str, int, str, str],
    arrays: Slices,
    centre: tuple[int, ...],
    box: tuple[slice, ...],
    grid: Volume,
) -> PlaneView:
    name, axis, coordinate, edges = plane
    across, up = (a for a in range(3) if a != axis)
    index: list[Any] = list(box)
    index[axis] = centre[axis]
    # Rows go up; columns run from R to L, or from A to P: both are the array axis reversed.
    turn = -1 if edges else 1
    slices = {key: array[tuple(index)][::turn].T.copy() for key, array in arrays.items()}
    rows, columns = slices["image"].shape
    size = (columns * grid.spacing_mm[across], rows * grid.spacing_mm[up])
    at = float((grid.affine @ [*centre, 1.0])[axis])
    position = f"{coordinate} = {at:.0f} mm".replace("-", "−") if coordinate else ""
    return PlaneView(name, position, edges, size, slices)
