"""A bank: anatomies as partial volumes, and lesion shapes, in one folder on one grid.

`python -m data_prep anatomies` makes one. A file `NAME.npz` holds each anatomy, `bank.json` lists
them, with their source and licence. `lesions-KIND.npz` holds shapes of real lesions.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.errors import InputError
from brainuad.machine.files import atomic_path, write_json
from brainuad.machine.limits import require_file, require_honest
from brainuad.machine.read import read_json
from brainuad.synthetic.anatomies.classes import CLASSES
from brainuad.synthetic.anatomies.grid import extent_slices, head_grid
from brainuad.synthetic.anatomies.partial_volumes import PartialVolumes
from brainuad.synthetic.anatomies.shapes import Shapes
from brainuad.types import Volume

VERSION = 1
INDEX = "bank.json"
REMEDY = "make the bank again with python -m data_prep anatomies"
_MOST = 2**28
"""Bytes of one anatomy, unpacked; at 2 mm it is 29 MB."""


@dataclass(frozen=True)
class Bank:
    """Anatomies and lesion shapes on one grid.

    Args:
        folder: see the module.
        spacing_mm: edge length of a voxel in mm.
        names: names of the anatomies.
        kinds: kinds of lesion shapes.
        info: source, licence and volumes, as `bank.json` has them.
    """

    folder: Path
    spacing_mm: float
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    info: Mapping[str, Any]

    @cached_property
    def grid(self) -> Volume:
        """The grid of whole heads."""
        return head_grid(self.spacing_mm)

    def affine(self, extent: str = "brain") -> np.ndarray:
        """Return voxel to MNI RAS mm, `(4, 4)`, of an extent."""
        first = [part.start or 0 for part in extent_slices(extent, self.spacing_mm)]
        affine = self.grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array(first)
        return affine

    def anatomy(self, name: str, extent: str = "brain") -> PartialVolumes:
        """Read an anatomy.

        Args:
            name: one of `names`.
            extent: `brain`, or `head` for the whole head.

        Raises:
            InputError: missing, damaged, or on another grid.
        """
        path = self.folder / f"{name}.npz"
        arrays = read_arrays(path)
        part = extent_slices(extent, self.spacing_mm)
        shape = self.grid.array.shape
        expected = {
            key: (len(CLASSES), *shape) if key == "tissues" else shape
            for key in PartialVolumes._fields
        }
        found = {key: array.shape for key, array in arrays.items() if array.dtype == np.uint8}
        if found != expected:
            raise InputError(f"{path}: holds other arrays than an anatomy's; {REMEDY}")
        return PartialVolumes(**{key: array[(..., *part)] for key, array in arrays.items()})

    def shapes(self, kind: str, extent: str = "brain") -> Shapes:
        """Read the lesion shapes of a kind; none where the bank has no such file.

        Raises:
            InputError: damaged, or on another grid.
        """
        part = extent_slices(extent, self.spacing_mm)
        first = tuple(one.start or 0 for one in part)
        shape = np.empty(self.grid.array.shape, dtype=bool)[part].shape
        if kind not in self.kinds:
            return Shapes.of([], shape)
        path = self.folder / f"lesions-{kind}.npz"
        try:
            return Shapes.from_arrays(read_arrays(path), first, shape)
        except (KeyError, ValueError):
            raise InputError(f"{path}: holds other arrays than lesion shapes; {REMEDY}") from None


def read_bank(folder: Path) -> Bank:
    """Open a bank.

    Raises:
        InputError: no bank, or one of another version.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise InputError(f"{folder}: no bank of anatomies ({INDEX} is missing); {REMEDY}")
    info = read_json(path, REMEDY)
    if info.get("version") != VERSION:
        raise InputError(f"{path}: version {info.get('version')}, expected {VERSION}; {REMEDY}")
    try:
        names = tuple(str(entry["name"]) for entry in info["anatomies"])
        spacing, kinds = float(info["spacing_mm"]), tuple(map(str, info["lesions"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not the list of a bank; {REMEDY}") from None
    odd = [name for name in (*names, *kinds) if name != Path(name).name or name in ("", "..")]
    if odd or not names or not 1 <= spacing <= 20:
        raise InputError(f"{path}: not the list of a bank; {REMEDY}")
    return Bank(Path(folder), spacing, names, kinds, info)


def write_bank_index(
    folder: Path, spacing_mm: float, anatomies: Sequence[Mapping[str, Any]], **info: Any
) -> None:
    """Write the list of a bank, after its files.

    Args:
        folder: folder of the bank.
        spacing_mm: voxel size of its grid.
        anatomies: one entry per anatomy, with a `name`.
        info: `lesions`, source and licence.
    """
    write_json(
        folder / INDEX,
        {"version": VERSION, "spacing_mm": spacing_mm, "anatomies": list(anatomies), **info},
    )


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed file, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as target:
        np.savez_compressed(target, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Raises:
        InputError: missing or damaged.
    """
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            require_honest(path, archive.infolist(), _MOST)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged ({line}); {REMEDY}") from None
