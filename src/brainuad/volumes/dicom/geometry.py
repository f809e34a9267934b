"""Geometry of DICOM slices: their order along a regular grid, or why they lie on none."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from brainuad.errors import InputError
from brainuad.volumes.dicom.headers import Image
from brainuad.volumes.dicom.series import directions

SAME_MM = 0.02
"""Distance of two slices up to which they lie at one position."""

OFF_SHARE, OFF_MM = 0.125, 0.06
"""Tolerances of a slice's place on the regular grid: share of the slice distance, least mm.

Positions rounded to whole mm are off by 0.5 mm, those rounded to 0.1 mm by 0.05 mm."""

SHEAR = 0.01
"""Largest angle, radians, between the stack and the normal of its slices; cosines rounded to two
decimals turn the normal by 0.007."""

LEAST = 4
"""Number of slices from which a copied neighbour is looked for."""

_ALWAYS = ("echo number", "echo time", "b-value", "grey scale")
"""Properties in which the slices of one volume never differ."""

_EXPORT = "copy or export the series again"


def sorted_stack(
    folder: Path, images: Sequence[Image], equal: Callable[[Image, Image], bool]
) -> tuple[list[Image], np.ndarray, list[str]]:
    """Sort the images of one volume by their position.

    Args:
        folder: named in errors.
        images: images of one series and kind.
        equal: whether two images hold the same voxels.

    Returns:
        The slices; the `(4, 4)` LPS affine of `(column, row, slice)` indices, mm; notes.

    Raises:
        InputError: a tag is missing; several volumes, directions or sizes; slices that are
            missing or lie on no regular grid at right angles.
    """
    _require_tags(folder, images)
    _require_one(folder, images)
    axes = _axes(folder, images)
    normal = np.cross(axes[0], axes[1])
    # Of images at one position, the first file comes first.
    ordered = sorted(images, key=lambda image: float(normal @ np.array(image.position)))
    kept, copies = _without_copies(folder, ordered, equal)
    differing = [name for name in _differing(kept) if name in _ALWAYS]
    if differing:
        raise InputError(
            f"{folder}: holds {len(kept)} slices that differ in {_values(kept, differing)}, no one "
            f"volume; put the ones to use into a folder of their own"
        )
    notes = [f"{copies} copied slices are passed over"] if copies else []
    points = np.array([image.position for image in kept])
    step, more = _step(folder, kept, points, normal)
    affine = np.eye(4)
    if len(kept) > 1:
        # Positions are more exact than the cosines.
        slope, centre = _line(points)
        normal = slope / np.linalg.norm(slope)
        axes = _square(axes - (axes @ normal)[:, None] * normal)
        origin = centre - slope * (len(kept) - 1) / 2
        affine[:3, 2] = slope
    else:
        origin, affine[:3, 2] = points[0], normal * step
    rows_mm, columns_mm = kept[0].spacing or (1.0, 1.0)
    affine[:3, 0], affine[:3, 1] = axes[0] * columns_mm, axes[1] * rows_mm
    affine[:3, 3] = origin
    expected = kept[0].expected
    if expected > len(images):
        notes.append(f"the header tells of {expected} images, {len(images)} are here")
    return kept, affine, notes + more


def _require_tags(folder: Path, images: Sequence[Image]) -> None:
    for name, tag in (
        ("position", "(0020,0032)"),
        ("orientation", "(0020,0037)"),
        ("spacing", "(0028,0030)"),
    ):
        lacking = [image for image in images if getattr(image, name) is None]
        if lacking:
            raise InputError(
                f"{folder}: {len(lacking)} of {len(images)} slices tell no {name} {tag}, such as "
                f"{lacking[0].name}; export the series again with its geometry"
            )


def _require_one(folder: Path, images: Sequence[Image]) -> None:
    """Refuse images of several sizes, spacings, directions, persons or frames of reference."""
    people = {image.patient for image in images}
    if len(people) > 1:
        raise InputError(
            f"{folder}: slices of {len(people)} patients in one series, by the patient's ID; give "
            "each person a folder"
        )
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        some = " and ".join(f"{rows} x {columns}" for rows, columns in sorted(sizes)[:3])
        raise InputError(
            f"{folder}: slices of {len(sizes)} sizes ({some} voxels) in one series; put each size "
            "into a folder of its own"
        )
    spacings = np.array([image.spacing for image in images])
    if np.ptp(spacings, axis=0).max() > 0.01 * spacings.min():
        raise InputError(
            f"{folder}: slices of several voxel sizes ({spacings.min():.4g} to "
            f"{spacings.max():.4g} mm) in one series; put each into a folder of its own"
        )
    groups = directions(list(images))
    if len(groups) > 1:
        counts = " and ".join(str(len(group)) for group in groups[:4])
        raise InputError(
            f"{folder}: slices in {len(groups)} directions ({counts}) in one series, such as "
            f"{groups[-1][0].name}; put each direction into a folder of its own"
        )
    worlds = [image.world for image in images if image.world]
    # Some programs write a new one with each slice.
    if 1 < len(set(worlds)) <= len(worlds) // 2:
        raise InputError(
            f"{folder}: slices of {len(set(worlds))} frames of reference in one series, whose "
            "positions cannot be compared; put each into a folder of its own"
        )


def _axes(folder: Path, images: Sequence[Image]) -> np.ndarray:
    """`(2, 3)` unit vectors along a row and along a column, at right angles."""
    known = [image.orientation for image in images if image.orientation is not None]
    axes = np.mean(known, axis=0).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 0.02 or abs(axes[0] @ axes[1]) > 0.02:
        raise InputError(
            f"{folder}: the orientation of its slices (0020,0037) is no pair of directions at "
            "right angles; export the series again with its geometry"
        )
    return _square(axes)


def _square(axes: np.ndarray) -> np.ndarray:
    """The pair of directions nearest to `axes` that are at right angles to each other."""
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    return left @ right


def _without_copies(
    folder: Path, ordered: Sequence[Image], equal: Callable[[Image, Image], bool]
) -> tuple[list[Image], int]:
    """One image per position; and the number of copies.

    Raises:
        InputError: two images at one position differ.
    """
    kept: list[Image] = []
    positions = [np.array(image.position) for image in ordered]
    start = 0
    for i, image in enumerate(ordered):
        if i == 0 or np.linalg.norm(positions[i] - positions[start]) > SAME_MM:
            kept.append(image)
            start = i
        elif not equal(kept[-1], image):
            differing = _differing(ordered)
            told = (
                f"they differ in {_values(ordered, differing)}"
                if differing
                else "nothing in their headers tells them apart"
            )
            raise InputError(
                f"{folder}: several volumes in one series, {len(ordered)} slices with "
                f"{kept[-1].name} and {image.name} at one position; {told}; put the "
                "slices of one volume into a folder of their own"
            )
    return kept, len(ordered) - len(kept)


def _differing(images: Sequence[Image]) -> list[str]:
    """Names of the properties in which images differ."""
    found = []
    for name in images[0].told:
        values = {image.told[name] for image in images}
        if name == "echo time":
            times = [float(value) for value in values if _is_number(value)]
            # Effective echo times are rounded differently by slice.
            if len(values) > 1 and np.ptp(times or [0]) <= 0.1 and len(times) == len(values):
                continue
        if len(values) > 1:
            found.append(name)
    return found


def _values(images: Sequence[Image], names: Sequence[str]) -> str:
    """`echo number (1, 2) and echo time (10, 90)`."""
    parts = []
    for name in names[:3]:
        found = dict.fromkeys(image.told[name] or "none" for image in images)
        values = [f"{float(text):g}" if _is_number(text) else text for text in found]
        more = ", and more" if len(values) > 4 else ""
        parts.append(f"{name} ({', '.join(values[:4])}{more})")
    return " and ".join(parts)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _line(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step, mm, of the straight line through equally spaced points, and their centre."""
    index = np.arange(len(points)) - (len(points) - 1) / 2
    centre = points.mean(axis=0)
    return index @ (points - centre) / (index @ index), centre


def _step(
    folder: Path, images: Sequence[Image], points: np.ndarray, normal: np.ndarray
) -> tuple[float, list[str]]:
    """The distance of the slices, mm, and notes.

    Raises:
        InputError: slices are missing, or lie on no regular grid at right angles.
    """
    thickness, between = images[0].thickness, images[0].between
    if len(points) < 2:
        return between or thickness or 1.0, []
    heights = points @ normal
    along = np.linalg.norm(np.diff(points, axis=0), axis=1)
    shear = _shear(points, normal)
    if shear > SHEAR:
        raise InputError(
            f"{folder}: its slices are stacked at {np.degrees(shear):.0f} degrees to their normal "
            "(a tilted gantry), a sheared volume; export it reformatted at right angles"
        )
    steps = np.diff(heights)
    least = np.median(along[along <= 1.4 * along.min()])
    multiples = steps / least
    whole = np.maximum(np.round(multiples), 1)
    if np.abs(multiples - whole).max() > 0.3:
        raise InputError(
            f"{folder}: the distances of its slices are irregular, {steps.min():.4g} to "
            f"{steps.max():.4g} mm; {_EXPORT}"
        )
    if (gaps := np.flatnonzero(whole > 1)).size:
        raise InputError(f"{folder}: {_gaps(heights, whole, gaps)}; {_EXPORT}")
    slope, centre = _line(points)
    index = np.arange(len(points)) - (len(points) - 1) / 2
    off = float(np.linalg.norm(points - centre - np.outer(index, slope), axis=1).max())
    step = float(np.linalg.norm(slope))
    if off > max(OFF_MM, OFF_SHARE * step):
        raise InputError(
            f"{folder}: its slices lie up to {off:.2g} mm off a regular grid of {step:.4g} mm; "
            f"{_EXPORT}"
        )
    if between and thickness and between >= 0.99 * thickness and step > 1.8 * between:
        every = round(step / between)
        if abs(step / between - every) < 0.1:
            raise InputError(
                f"{folder}: slices of {between:.4g} mm stand {step:.4g} mm apart, one of {every} "
                f"is here between {heights[0]:.4g} and {heights[-1]:.4g} mm; {_EXPORT}"
            )
    rounded = off > max(0.1 * OFF_MM, 0.02 * step)
    return step, [f"slices lie up to {off:.2g} mm off a regular grid"] if rounded else []


def _shear(points: np.ndarray, normal: np.ndarray) -> float:
    """The angle, radians, between the line through the first and last slice and the normal."""
    line = points[-1] - points[0]
    height = abs(float(line @ normal))
    aside = float(np.linalg.norm(line - (line @ normal) * normal))
    # Two rounded positions are off by some tenth of a mm whatever the height of the stack.
    return float(np.arctan2(max(aside - 2 * OFF_MM, 0), height))


def _gaps(heights: np.ndarray, whole: np.ndarray, gaps: np.ndarray) -> str:
    """`7 slices are missing between -24 and 8 mm`."""
    missing = [int(whole[i]) - 1 for i in gaps]
    places = [f"between {heights[i]:.4g} and {heights[i + 1]:.4g} mm" for i in gaps[:3]]
    verb = "slice is" if sum(missing) == 1 else "slices are"
    if len(gaps) > 3:
        places.append(f"at {len(gaps) - 3} more places")
    return f"{sum(missing)} {verb} missing {', '.join(places)}"
