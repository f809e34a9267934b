"""Each image file of a tree as a record: whose it is, which visit, which sequence, what it is."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainuad.cohorts.content import content_of
from brainuad.cohorts.filename import Name, read_path
from brainuad.cohorts.groups import CONTROLS, DISEASES, PATIENTS, group_of
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import PersonKey, person_key
from brainuad.cohorts.words import CONTAINER, ROLES, words_of


@dataclass(frozen=True)
class Record:
    """An image, or a folder with a DICOM series.

    Attributes:
        path: path of the file or the folder.
        subject: subject in its name or a folder's; empty for none.
        session: visit; empty if unknown.
        sequence: `T1w`, …; empty if unknown.
        role: see `brainuad.cohorts.words.role_of`; empty for a scan.
        context: names of the folders around the subject's that may be a subject's or a site's.
        group: folder of healthy people or patients that it lies in, as it is called.
        derived: whether it lies in a folder of derivatives.
        name: content of its own name.
        patient_id: patient ID of a DICOM series.
    """

    path: Path
    subject: str
    session: str
    sequence: str
    role: str
    context: tuple[str, ...] = ()
    group: str = ""
    derived: bool = False
    name: Name = field(default_factory=Name)
    patient_id: str = ""

    @property
    def person(self) -> PersonKey:
        """The subject, however it is spelled."""
        return person_key(self.subject)

    @property
    def place(self) -> tuple[str, tuple[PersonKey, ...]]:
        """Return the folders that separate people of one name; none for names of a register."""
        if self.name.registered:
            return "", ()
        return self.group.casefold(), tuple(person_key(part) for part in self.context)


def read_record(path: Path, root: Path) -> Record:
    """Read the names of a file and of its folders below `root`."""
    *folders, own = read_path(path.relative_to(root))
    parts = path.relative_to(root).parts[:-1]
    around: list[str] = []
    spare: list[str] = []
    session, sequence, role, group = own.session, own.sequence, own.role, ""
    inherited = ""
    for name, part in reversed(list(zip(folders, parts, strict=True))):
        session = session or name.session
        sequence = sequence or name.sequence
        if told := folder_group(part):
            group = group or (part if told else "")
        elif name.subject and not (name.sequence and _serial(name.subject)):
            around.append(name.subject)
        elif name.subject or name.spare:
            spare.append(name.subject or name.spare)
        elif name.role:
            inherited = inherited or name.role
    derived = any(part.casefold() == "derivatives" for part in parts)
    if inherited and not role:
        content = content_of(path)
        # Where BIDS names are, the folder is believed only if the content agrees.
        agrees = content.drawn if own.entities else content.kind != "scan"
        role = inherited if agrees else ""
        if inherited == "lesion" and not role:
            # Scans in a folder `lesion` are of people who have one.
            group = group or "lesion"
    elif own.whole and not content_of(path).drawn:
        role, own = "", replace(own, subject=own.whole)
    subject = own.subject
    described = bool(own.version) and subject.isdigit()
    if subject and around and own.sequence and (_serial(subject) or described):
        # `p1/4_t1`, `p1/002_t1_mprage`: the number of a series.
        subject = ""
    if subject:
        context = [part for part in around if not _alike(person_key(part), person_key(subject))]
    elif around:
        subject, *context = around
    else:
        subject, context = own.spare or (spare[0] if spare else ""), []
    context = [part for part in context if not _alike(person_key(part), person_key(subject))]
    return Record(
        path=path,
        subject=file_name(subject) if subject else "",
        session=session,
        sequence=sequence,
        role=role,
        context=tuple(reversed(context)),
        group=group,
        derived=derived,
        name=own,
    )


def read_alone(path: Path, depth: int = 3) -> Record:
    """Read the names of one file and of the folders around it, `depth` of them."""
    path = Path(os.path.normpath(path.absolute()))
    return read_record(path, path.parents[min(depth, len(path.parents) - 1)])


def folder_group(part: str) -> str:
    """`control` or `patient` where a folder's name is a group's; empty for any other.

    `patients`, `ControlGroup` and `02_patients` are groups, `patient02` and `MS_02` are people.
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z]{4}s)(?=\d{4}$)", "_", part)
    words = {word.text for word in words_of(parted)}
    if words & {"non", "no", "not", "without"}:
        return group_of(part)
    numbers = {word for word in words if word.isdigit()}
    words -= numbers | {"group", "grp", "cohort"}
    groups = CONTROLS | PATIENTS | DISEASES
    several = any(word in groups and len(word) > 4 and word[-1] in "sn" for word in words)
    drawn = words & (ROLES - DISEASES)
    if not words & groups or drawn or words - groups - CONTAINER or (numbers and not several):
        return ""
    return group_of(parted)


def _serial(subject: str) -> bool:
    """Return whether a name is a series' number rather than a subject's: no leading zero."""
    return subject.isascii() and subject.isdigit() and len(subject) < 5 and subject[0] != "0"


def _alike(one: PersonKey, other: PersonKey) -> bool:
    """Return whether one name begins or ends with the other: `p1` and `p1_visit`."""
    short, long = sorted((one, other), key=len)
    return long[: len(short)] == short or long[-len(short) :] == short
