"""Shared parts of the finders of all data sets: case folders, NIfTI names, clear refusals."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from brainuad.cohorts import tree
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError


class Named(Protocol):
    """A row of a scan or of a slice."""

    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> str: ...
    @property
    def image(self) -> Path: ...


NamedRow = TypeVar("NamedRow", bound=Named)

DEPTH = 3
"""Folders that an archive, or a person, may have put between the root and the cases."""


def folders(root: Path, pattern: str, layout: str, depth: int = DEPTH) -> list[Path]:
    """Return the folders that match a glob pattern, at most `depth` folders below the root.

    A bounded depth instead of `**`: links are followed, and no huge tree is walked.

    Raises:
        InputError: the root is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the unpacked download with {layout}")
    found = {
        path
        for level in range(depth + 1)
        for path in root.glob("*/" * level + pattern)
        if path.is_dir()
    }
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sorting key by which case 10 comes after case 9."""
    return tree.natural(str(path))


def nifti(folder: Path, stem: str) -> Path | None:
    """`stem.nii.gz` or `stem.nii` in a folder, whichever is there."""
    for suffix in (".nii.gz", ".nii"):
        path = folder / f"{stem}{suffix}"
        # Some mirrors unpack x.nii.gz to a folder of that name.
        if path.is_file():
            return path
    return None


def same_grid(first: Path, second: Path) -> bool:
    """Return whether two NIfTI files have one grid, by their headers alone.

    Raises:
        InputError: one of them cannot be read.
    """
    import nibabel as nib

    grids = []
    for path in (first, second):
        try:
            image: Any = nib.load(path)
        except (OSError, EOFError, nib.filebasedimages.ImageFileError) as error:
            raise InputError(f"{path}: cannot be read as NIfTI ({error}); unpack it anew") from None
        grids.append((image.shape, image.affine))
    (shape, affine), (other_shape, other_affine) = grids
    return shape == other_shape and bool(np.allclose(affine, other_affine, atol=1e-3))


def patient(
    subject: str,
    folder: Path,
    stems: Mapping[str, str],
    mask: Path | None,
    pathology: str,
    site: str = "",
) -> list[RawScan]:
    """The sequences of a patient that are there, all on the grid of one lesion mask.

    Args:
        subject: a person.
        folder: that holds the sequences.
        stems: sequence to file name without `.nii.gz`.
        mask: mask of the lesions; None when there is no label.
        pathology: pathology of the patient.
        site: site of the acquisition.
    """
    return [
        RawScan(
            subject=subject,
            sequence=sequence,
            image=path,
            healthy=False,
            lesion_mask=mask,
            pathology=pathology,
            site=site,
        )
        for sequence, stem in stems.items()
        if (path := nifti(folder, stem))
    ]


def checked(scans: Iterable[NamedRow], root: Path, layout: str) -> list[NamedRow]:
    """The scans, if there are any and no sequence of a subject is there twice.

    Raises:
        InputError: otherwise.
    """
    seen: dict[tuple[str, str], NamedRow] = {}
    for scan in scans:
        first = seen.setdefault((scan.subject, scan.sequence), scan)
        if first is not scan:
            raise InputError(
                f"{scan.image}: a second {scan.sequence} of {scan.subject} beside {first.image}; "
                "give the folder of one copy"
            )
    if not seen:
        raise InputError(f"{root}: no scan of this data set found; expected {layout}")
    return list(seen.values())
