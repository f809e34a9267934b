"""The way from a prepared volume back to the scan as it came, as plain records.

Reorientation, resampling and cropping change a volume's grid, and the affine follows. Only
registration changes the world that the affine leads to. Each registration leaves one record. In
order, the records lead from the prepared world to the native one:

    {"version": 1, "kind": "warp", "field": "a_warp.nii.gz", "inverse": "a_warp_inverse.nii.gz"}
    {"version": 1, "kind": "matrix", "matrix": [[1, 0, 0, 0], ...]}

Files of a record lie beside the JSON file that names them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.machine.read import read_json
from brainuad.types import Volume, Way, WorldMatrix, WorldWarp
from brainuad.volumes.resample import resample_like
from brainuad.volumes.warp import displaced, inverse_path, read_field

VERSION = 1
"""Version of the records; count it up where older code would read them wrongly."""

REFINE = 4
"""Steps that bring the inverse of a warp nearer, the smoother the warp the more."""


def to_native(
    array: np.ndarray, prepared_affine: np.ndarray, like: Volume, way: Way = (), order: int = 1
) -> np.ndarray:
    """Resample a prepared array to the native grid, in one interpolation.

    Args:
        array: `(D, H, W)` on the prepared grid.
        prepared_affine: `(4, 4)`, voxel to prepared world, mm.
        like: the native scan.
        way: prepared world to native world.
        order: 1 linear (maps), 0 nearest neighbour (masks).

    Returns:
        float32, shape of `like`; 0 outside the prepared field of view.

    Raises:
        InputError: the file of a warp cannot be read.
    """
    before, warp, after = parts(way)
    laid = Volume(like.array, np.linalg.inv(after) @ like.affine)
    field = None if warp is None else read_field(warp.inverse)
    return resample_like(array, before @ prepared_affine, laid, order, field)


def to_prepared(
    array: np.ndarray, native_affine: np.ndarray, grid: Volume, way: Way = ()
) -> np.ndarray:
    """Resample a native array to a prepared grid, in one linear interpolation; see `to_native`."""
    before, warp, after = parts(way)
    laid = Volume(grid.array, before @ grid.affine)
    field = None if warp is None else read_field(warp.field)
    return resample_like(array, np.linalg.inv(after) @ native_affine, laid, field=field)


def native_points(points: np.ndarray, way: Way = ()) -> np.ndarray:
    """Map points `(N, 3)` of the prepared world, RAS mm, to the native world.

    Raises:
        InputError: as `to_native`.
    """
    before, warp, after = parts(way)
    moved = apply_affine(before, points)
    if warp is not None:
        moved = displaced(moved, read_field(warp.field))
    return apply_affine(after, moved)


def prepared_points(points: np.ndarray, way: Way = ()) -> np.ndarray:
    """Map points `(N, 3)` of the native world, RAS mm, to the prepared world.

    Raises:
        InputError: as `to_native`.
    """
    before, warp, after = parts(way)
    laid = apply_affine(np.linalg.inv(after), points)
    moved = laid
    if warp is not None:
        moved, field = displaced(laid, read_field(warp.inverse)), read_field(warp.field)
        # The inverse is exact at its voxels; in between, a few steps with the warp itself.
        for _ in range(REFINE):
            moved = moved + laid - displaced(moved, field)
    return apply_affine(np.linalg.inv(before), moved)


def parts(way: Way) -> tuple[np.ndarray, WorldWarp | None, np.ndarray]:
    """Return the `(4, 4)` matrix before the warp, the warp or None, and the matrix after it.

    Raises:
        ValueError: two warps, which one interpolation cannot do.
    """
    before, warp, after = np.eye(4), None, np.eye(4)
    for step in way:
        if isinstance(step, WorldMatrix):
            after = np.array(step.rows) @ after
        elif warp is not None:
            raise ValueError("two warps on one way back; use one deformable registration")
        else:
            before, warp, after = after, step, np.eye(4)
    return before, warp, after


def matrix_record(matrix: np.ndarray) -> dict[str, Any]:
    """The record of a linear registration, `(4, 4)` towards the native world, RAS mm."""
    return {"version": VERSION, "kind": "matrix", "matrix": np.asarray(matrix, float).tolist()}


def warp_record(field: Path) -> dict[str, Any]:
    """The record of a deformable registration whose inverse lies beside its field."""
    paths = {"field": str(field), "inverse": str(inverse_path(field))}
    return {"version": VERSION, "kind": "warp", **paths}


def way_of(records: Iterable[Mapping[str, Any]], folder: Path = Path(), said: str = "") -> Way:
    """Check records and return the way that they describe.

    Args:
        records: steps from the prepared world to the native one.
        folder: that their files are relative to.
        said: name of the file with the records, for errors.

    Raises:
        InputError: a record of another version or kind, or a matrix that is none.
    """
    found: list[WorldMatrix | WorldWarp] = []
    try:
        for record in records:
            match record:
                case {"version": version} if version != VERSION:
                    raise ValueError(f"version {version}, expected {VERSION}")
                case {"version": _, "kind": "matrix", "matrix": matrix}:
                    found.append(_matrix(matrix))
                case {"version": _, "kind": "warp", "field": field, "inverse": inverse}:
                    found.append(WorldWarp(folder / field, folder / inverse))
                case {"version": _, "kind": kind}:
                    raise ValueError(f"kind '{kind}', expected matrix or warp, with its values")
                case _:
                    raise ValueError("a record needs a version and a kind")
        parts(tuple(found))
    except (TypeError, ValueError) as error:
        raise InputError(f"{said}: no record of a way back ({error}); prepare it again") from None
    return tuple(found)


def write_way(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records as JSON, atomically.

    Raises:
        ValueError: a warp's file does not lie beside `path`.
    """
    plain = [dict(record) for record in records]
    for record in plain:
        for key in {"field", "inverse"} & set(record):
            record[key] = _beside(record[key], path)
    write_json(path, plain)


def read_way(transform: Path | None, warp: Path | None = None) -> Way:
    """Read the way that a manifest's row names.

    Args:
        transform: a JSON file of records, or a text file with the `(4, 4)` matrix of the last
            step; None where both worlds are the same.
        warp: displacement field before the text file's matrix, its inverse beside it; for cohorts
            of version 0.1.

    Raises:
        InputError: unreadable, or neither records nor a 4x4 matrix.
    """
    if transform is not None and transform.suffix == ".json":
        records = read_json(transform, "prepare it again", list)
        way = way_of(records, transform.parent, str(transform))
        names = [
            path for one in way if isinstance(one, WorldWarp) for path in (one.field, one.inverse)
        ]
        if any(path.parent != transform.parent for path in names):
            raise InputError(f"{transform}: names a warp outside its folder; prepare it again")
        return way
    first = () if warp is None else (WorldWarp(warp, inverse_path(warp)),)
    if transform is None:
        return first
    try:
        matrix = np.loadtxt(transform)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{transform}: not a readable matrix ({error}); prepare it again"
        ) from None
    try:
        return (*first, _matrix(matrix))
    except ValueError as error:
        raise InputError(f"{transform}: {error}; prepare it again") from None


def _matrix(rows: Any) -> WorldMatrix:
    matrix = np.asarray(rows, dtype=float)
    if matrix.shape != (4, 4):
        raise ValueError(f"found shape {matrix.shape}, expected (4, 4)")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError("the matrix has no inverse")
    return WorldMatrix(tuple(tuple(float(v) for v in row) for row in matrix))


def _beside(file: str, path: Path) -> str:
    if Path(file).parent.absolute() != path.parent.absolute():
        raise ValueError(f"{file} does not lie beside {path}")
    return Path(file).name
