"""Series of DICOM files in folders, as records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.filename import is_image, read_name
from brainuad.cohorts.names import file_name
from brainuad.cohorts.records import Record, read_record
from brainuad.cohorts.tree import Aside, Tree
from brainuad.cohorts.words import sequence_of
from brainuad.errors import InputError

_OTHERS = (
    *(".json", ".txt", ".csv", ".tsv", ".bval", ".bvec", ".png", ".jpg", ".jpeg", ".pdf", ".html"),
    *(".md", ".yaml", ".yml", ".xml", ".mat", ".py", ".sh", ".log", ".zip", ".gz", ".tar", ".xls"),
    *(".xlsx", ".doc", ".docx", ".mgz", ".npy", ".npz", ".pkl", ".pt", ".ckpt", ".h5"),
)
"""Endings that no DICOM file has."""

_NOT_MR = frozenset({"CT", "PT", "NM", "US", "CR", "DX", "MG", "XA", "SEG", "SR", "PR", "RTSTRUCT"})
"""Modalities of files that are no magnetic resonance images."""


def dicom_records(tree: Tree) -> tuple[list[Record], set[Path], list[Aside]]:
    """The series of a tree, a folder each.

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
        # SimpleITK is imported for DICOM alone.
        from brainuad.volumes.read import dicom_tags, first_dicom_file

        try:
            first = first_dicom_file(folder)
        except InputError as error:
            wrong.append(Aside(folder, str(error), wanted=True))
            continue
        if first is None:
            continue
        said = dicom_tags(first, "0008|103e", "0010|0020", "0008|0060")
        records.append(_record(folder, tree.root, *said))
        used |= {path for path in mine if path.name.upper() != "DICOMDIR"}
    wrong += _two_patients(records)
    left = {aside.path for aside in wrong}
    return [record for record in records if record.path not in left], used, wrong


def _record(folder: Path, root: Path, description: str, patient: str, modality: str) -> Record:
    parts = folder.relative_to(root).parts
    # Read as if the series were a file in its folder.
    record = read_record(folder / "series", root)
    own = read_name(folder.name)
    sequence = (own.sequence if parts else "") or sequence_of(description) or record.sequence
    if modality in _NOT_MR:
        # A name may say anything of it.
        sequence = "PET" if modality == "PT" else modality
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
    """The subject that a folder's name tells; empty where it is none's."""
    record = read_record(Path("/", part, "series"), Path("/"))
    name = read_name(part)
    if name.sequence and name.subject.isdigit():
        return ""
    return record.subject if record.subject == file_name(name.subject) else ""


def _two_patients(records: Sequence[Record]) -> list[Aside]:
    """Series that lie in one subject's folder and are of different patients."""
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
