"""Series of DICOM files in folders, as records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cohorts.filename import is_image, read_name
from brainuad.cohorts.names import file_name
from brainuad.cohorts.records import Record, read_record
from brainuad.cohorts.tree import Aside, Tree
from brainuad.cohorts.words import OTHERS, sequence_of, word_sets
from brainuad.errors import InputError

if TYPE_CHECKING:
    from brainuad.volumes.dicom.series import Series

_OTHERS = tuple(word_sets("endings")["other"])
"""Endings that no DICOM file has."""

_DAMAGED = "no readable DICOM file; copy it again"


def dicom_records(tree: Tree) -> tuple[list[Record], set[Path], list[Aside]]:
    """List the series of a tree, one per folder.

    The subject is the first folder that may be one; where no folder is, the patient's ID.

    Returns:
        The records; the files of their folders; what is wrong with some of them.
    """
    records: list[Record] = []
    used: set[Path] = set()
    wrong: list[Aside] = []
    for folder, files in tree.folders.items():
        mine = [path for path in files if not is_image(path.name) and _may_be(path)]
        if not mine:
            continue
        # pydicom is imported for DICOM alone.
        from brainuad.volumes.dicom.series import series_in, usable

        try:
            found, damaged = series_in(folder)
        except InputError as error:
            wrong.append(Aside(folder, str(error), wanted=True))
            continue
        if not found:
            wrong += [Aside(path, _DAMAGED, wanted=True) for path in damaged if path in mine]
            continue
        used |= {path for path in mine if path.name.upper() != "DICOMDIR"}
        if kept := usable(found):
            records.append(_record(folder, tree.root, kept[0]))
        else:
            reasons = "; ".join(dict.fromkeys(series.reason for series in found))
            wrong.append(Aside(folder, reasons))
    wrong += _two_patients(records)
    left = {aside.path for aside in wrong}
    return [record for record in records if record.path not in left], used, wrong


def _record(folder: Path, root: Path, series: "Series") -> Record:
    patient, modality = series.first.patient, series.modality
    parts = folder.relative_to(root).parts
    # Read as if the series were a file in its folder.
    record = read_record(folder / "series", root)
    own = read_name(folder.name)
    described = sequence_of(series.first.description)
    sequence = (own.sequence if parts else "") or described or record.sequence
    # A name may say anything of it.
    if modality not in ("", "MR"):
        sequence = "PET" if modality == "PT" else file_name(modality)
    elif series.kind == "diffusion":
        sequence = "DWI"
    elif described == "localizer":
        sequence = described
    elif series.kind == "map":
        sequence = sequence if sequence in OTHERS.values() else "map"
    subject = next((name for part in parts if (name := _person(part))), "")
    return replace(
        record,
        path=folder,
        subject=file_name(subject or patient or root.absolute().name),
        sequence=sequence,
        role="",
        context=(),
        patient_id=patient,
    )


def _person(part: str) -> str:
    """Return the subject in a folder's name; empty if there is none."""
    record = read_record(Path("/", part, "series"), Path("/"))
    name = read_name(part)
    if name.sequence and name.subject.isdigit():
        return ""
    return record.subject if record.subject == file_name(name.subject) else ""


def _two_patients(records: Sequence[Record]) -> list[Aside]:
    """Yield the series in one subject's folder that are of different patients."""
    first: dict[tuple[str, str], Record] = {}
    wrong = []
    for record in records:
        known = first.setdefault((record.subject, record.group), record)
        if record.patient_id and known.patient_id and record.patient_id != known.patient_id:
            reason = (
                f"of another patient than {known.path}, by the patient's ID in the files; give "
                "each person a folder"
            )
            wrong.append(Aside(record.path, reason, wanted=True))
    return wrong


def _may_be(path: Path) -> bool:
    return not path.name.lower().endswith(_OTHERS) and path.name.upper() != "DICOMDIR"
