"""Recognition of an image by its content: a mask, a label map or a scan."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.errors import InputError

if TYPE_CHECKING:
    import numpy as np

BRAIN_ML = 400.0
"""A mask of more is one of the brain. The largest lesions are smaller, children's brains larger."""

_FEW, _CLASSES = 16, 500
"""Values of what is a label map in any case, and of what is one where neighbours are alike."""


@dataclass(frozen=True)
class Content:
    """Content of an image.

    Attributes:
        kind: `mask` of one value, `labels` of several, `share` from 0 to 1 (or 100, or 255),
            `empty`, `scan`, or `unreadable`.
        millilitres: volume of a mask's marked region, at half of its range.
    """

    kind: str
    millilitres: float = 0.0

    @property
    def drawn(self) -> bool:
        """True if it is not a scan."""
        return self.kind in ("mask", "labels", "share", "empty")


def content_of(path: Path) -> Content:
    """Look into an image, once."""
    try:
        state = path.stat()
    except OSError:
        return Content("unreadable")
    return _content(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _content(path: Path, _size: int, _time: int) -> Content:
    import numpy as np

    from brainuad.volumes.nifti import open_nifti

    try:
        image = open_nifti(path)
        array = np.asarray(image.dataobj)
        voxel_ml = float(abs(np.linalg.det(image.affine[:3, :3]))) / 1000
    except Exception:
        # Its reading says what is the matter, when its turn comes.
        return Content("unreadable")
    if array.dtype.kind not in "biuf" or not array.size:
        return Content("unreadable")
    array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    kind = _kind(array)
    least = array.max() / 2 if kind == "share" else 0
    return Content(kind, float((array > least).sum()) * voxel_ml)


def _kind(array: "np.ndarray") -> str:
    import numpy as np

    high, empty = float(array.max()), float((array == 0).mean())
    # A look at some voxels is enough to know most scans.
    some = array.reshape(-1)[:: max(1, array.size // 4096)]
    if not _whole(some) or not _whole(array):
        return "share" if array.min() >= 0 and high <= 1.0 + 1e-3 and empty > 0.2 else "scan"
    values = np.unique(array[array != 0])
    if len(values) < 2:
        return "mask" if len(values) else "empty"
    if len(values) <= _CLASSES and (len(values) <= _FEW or _patches(array)):
        return "labels"
    full = float((array == high).mean())
    return "share" if high in (100.0, 255.0) and empty > 0.2 and full > 0.05 else "scan"


def _patches(array: "np.ndarray") -> bool:
    """Return whether neighbours inside have one value, as in a parcellation but not in a scan."""
    first, second = array[:-1], array[1:]
    inside = (first != 0) & (second != 0)
    return bool((first == second)[inside].mean() > 0.6) if inside.any() else False


def same_grid(first: Path, second: Path) -> bool:
    """Return whether two images have one grid by their headers, in any order of axes.

    True if one cannot be read, because its reading raises an error later.
    """
    import numpy as np

    from brainuad.types import Volume
    from brainuad.volumes.grids import on_grid
    from brainuad.volumes.nifti import open_nifti

    try:
        # The voxels are not looked at.
        one, other = (
            Volume(np.broadcast_to(np.float32(0), image.shape[:3]), image.affine)
            for image in map(open_nifti, (first, second))
        )
    except Exception:
        return True
    try:
        on_grid(first, one, other)
    except InputError:
        return False
    return True


def _whole(array: "np.ndarray") -> bool:
    return bool(array.dtype.kind in "biu" or (array == array.round()).all())
