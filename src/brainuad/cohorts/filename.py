"""Parsing of file and folder names: person, visit, sequence and kind."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath

from brainuad.cohorts import words as vocabulary
from brainuad.cohorts.words import Word, is_session, role_of, sequence_of, words_of

IMAGES = (".nii.gz", ".nii", ".img", ".hdr")
"""Endings of NIfTI files, in any case; `.img` and `.hdr` are one image."""


@dataclass(frozen=True)
class Name:
    """Content of a name; fields that it does not state are empty.

    Attributes:
        subject: as it is written.
        session: session of a subject.
        sequence: `T1w`, …, or the kind of another image, such as `DWI`.
        role: see `brainuad.cohorts.words.role_of`; empty for a scan.
        told: words after the subject, of a name that is no BIDS one.
        whole: the subject, if a word before the sequence belongs to it and states no role:
            `patient_tumor_T1w`. Empty where there is no such word.
        entities: entities of a BIDS name.
        version: words that distinguish several versions of an image.
        registered: whether the subject is an identifier of a study that gives each one once.
        spare: a subject's name without a folder that states one: the words after a leading
            sequence, or a visit by itself.
    """

    subject: str = ""
    session: str = ""
    sequence: str = ""
    role: str = ""
    told: tuple[str, ...] = ()
    whole: str = ""
    entities: dict[str, str] = field(default_factory=dict)
    version: tuple[str, ...] = ()
    registered: bool = False
    spare: str = ""


_HABITS = (
    # ADNI: ADNI_002_S_0295_MR_MPR__…_20060418193713091_S13408_I45107
    re.compile(r"^(?:ADNI_)?(?P<subject>\d{3}_S_\d{4,5})(?:_(?P<rest>.*))?$"),
    # OASIS-1 and -2: OAS1_0001_MR1_mpr-1_anon; OASIS-3: OAS30001_MR_d0129
    re.compile(r"^(?P<subject>OAS[12]_\d{4})_(?P<session>MR\d+)(?:_(?P<rest>.*))?$"),
    re.compile(r"^(?P<subject>OAS3\d{4})_MR_(?P<session>d\d{4})(?:_(?P<rest>.*))?$"),
    # BraTS 2023: BraTS-GLI-00005-001-t1n
    re.compile(r"^(?P<subject>BraTS-[A-Za-z]+-\d{5})-(?P<session>\d{3})(?:[-_](?P<rest>.*))?$"),
    # UK Biobank: 1000011_20253_2_0
    re.compile(r"^(?P<subject>\d{7})_(?P<field>2\d{4})_(?P<session>\d)_\d(?:[-_](?P<rest>.*))?$"),
)
_FIELDS = vocabulary.named("biobank")
"""Data fields of UK Biobank."""

_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-._]([01]\d)[-._]([0-3]\d)(?!\d)")
"""`2020-01-31`, which becomes one word."""

_BIDS = re.compile(r"^sub-[A-Za-z0-9+]+(?=_|$)")
_ENTITY = re.compile(r"^([a-z]+)-([A-Za-z0-9+.-]+)$")
_SUFFIXES = vocabulary.named("suffixes")
_DRAWN = ("mask", "roi", "dseg", "probseg", "seg")


def stem_of(path: PurePath) -> str:
    """A file's name without `.nii`, `.nii.gz`, `.img` or `.hdr`, in any case."""
    lower = path.name.lower()
    ending = next((end for end in IMAGES if lower.endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def is_image(name: str) -> bool:
    """Return whether a file's name ends as those of NIfTI files do."""
    return name.lower().endswith(IMAGES)


@lru_cache(maxsize=2**14)
def read_name(text: str) -> Name:
    """Read a name: a file's without its ending, or a folder's."""
    text = "".join(c if c.isprintable() else "_" for c in text).removesuffix(".anat")
    text = re.sub(r"mp[ _-]rage", "mprage", text, flags=re.IGNORECASE)
    text = _DATE.sub(r"\1\2\3", text)
    if _BIDS.match(text):
        return _read_bids(text)
    for habit in _HABITS:
        if match := habit.match(text):
            found = match.groupdict()
            rest = found.get("rest") or ""
            told = _FIELDS.get(found.get("field") or "", "") or sequence_of(rest)
            described = [word.text for word in words_of(rest)]
            session = found.get("session") or _visit_of(rest)
            return Name(
                subject=found["subject"],
                session=session,
                sequence=told,
                role=role_of(described),
                version=_version(described),
                registered=True,
            )
    return _read_plain(text)


def read_path(path: Path) -> list[Name]:
    """Read each part of a path below a source, the file's own name last."""
    *folders, file = path.parts
    return [*map(read_name, folders), read_name(stem_of(Path(file)))]


def _read_bids(text: str) -> Name:
    """`sub-01_ses-2_run-1_T1w`, and near relatives such as `sub-01_T1w_label-lesion_roi`."""
    entities: dict[str, str] = {}
    loose: list[str] = []
    parts = text.split("_")
    for part in parts:
        if match := _ENTITY.match(part):
            entities.setdefault(match[1], match[2])
        else:
            loose.append(part)
    suffix = loose[-1] if loose else ""
    # `sub-A_1_T1w` is not BIDS, and `A_1` and `A_2` are two people.
    subject = "_".join([parts[0], *(part for part in loose[:-1] if part.isdigit())])
    sequence = next((_SUFFIXES[part] for part in loose if part in _SUFFIXES), "")
    if not sequence and suffix not in _DRAWN:
        sequence = sequence_of(" ".join(loose))
    if sequence == "T1w" and "ce" in entities:
        sequence = "T1c"
    said = [word.text for key in ("label", "desc") for word in words_of(entities.get(key, ""))]
    said += [key for key in entities if role_of([key]) == "lesion"]
    said += [word.text for part in loose if part not in _SUFFIXES for word in words_of(part)]
    # `T1lesion` and `brainMask` are written as one word.
    said += [
        word.lower()
        for key in ("label", "desc")
        for word in re.findall(r"[A-Z]?[a-z]+|\d+|[A-Z]+(?![a-z])", entities.get(key, ""))
    ]
    role = role_of(said)
    if role == "tissue" and "manual" in said:
        # By hand people draw lesions, and tissues too.
        role = "mask"
    if suffix in _DRAWN and role in ("", "mask", "brain", "lesion") and not _of_lesions(said):
        role = "brain mask" if "brain" in said and suffix == "mask" else "mask"
        if suffix in ("dseg", "seg"):
            # `_dseg` is BIDS for tissues; `_seg` is what people call a lesion's.
            role = "tissue" if suffix == "dseg" and "manual" not in said else role
            role = "lesion" if suffix == "seg" and role != "tissue" else role
        if suffix == "mask" and "label" in entities and "brain" not in said:
            role = "no lesion"
    if suffix == "probseg":
        role = "map"
    # Words such as `desc-preproc` say that it is no raw scan, and do not make it a mask.
    if sequence and suffix in _SUFFIXES and role in ("brain", "mask", "tissue"):
        role = ""
    return Name(
        subject=subject,
        session=f"ses-{entities['ses']}" if "ses" in entities else "",
        sequence=sequence,
        role=role,
        told=tuple(said),
        entities={key: value for key, value in entities.items() if key != "sub"},
        version=_version([part.lower() for part in loose[:-1]]),
    )


def _of_lesions(said: list[str]) -> bool:
    return role_of(word for word in said if word not in _DRAWN) == "lesion"


def _read_plain(text: str) -> Name:
    found = words_of(text)
    if not found:
        return Name(subject=text)
    words = [word.text for word in found]
    at = _sequence_at(words)
    counted = False
    if at is None:
        # Role and description stand at the end, and perhaps a number: `p1_lesion_2`, `tumor_01`.
        at = len(found)
        counted = at > 2 and words[-1].isdigit() and words[-2] in vocabulary.ROLES
        at -= counted
        while at and _describes(words[at - 1]):
            at -= 1
        tail = words[at:]
        role = role_of(tail)
    else:
        tail = words[at + 1 :]
        role = role_of(tail)
    sequence = ""
    if at < len(found):
        # What describes before the sequence counts too: `gad_t1`.
        start = at
        while start and words[start - 1] in vocabulary.TECHNIQUE:
            start -= 1
        sequence = sequence_of(text[found[start].start :])
    # A map's or a region's word is in nobody's name.
    head, unsure = at, counted and role not in ("map", "tissue")
    # What describes may stand before the sequence too, and so may a subject's name.
    while head > 1 and at < len(found) and _describes(words[head - 1]):
        head -= 1
        unsure = unsure or words[head] in vocabulary.ROLES
        role = role or role_of([words[head]])
    visit, taken = _visit(found, head)
    session = text[found[visit].start : found[visit + taken - 1].end] if taken else ""
    first, own = 0, min(head, visit) if taken else head
    if taken and visit == 0:
        # `20240105_p1_T1w`
        first, own = min(taken, head), head
    name = _cut(text, found, first, own)
    spare = ""
    if all(_nobody(word) for word in words[first:own]):
        spare = session or _rest(text, found, at) or (name if sequence and not role else "")
        name = ""
    return Name(
        subject=name,
        session=session,
        sequence=sequence,
        role=role,
        whole=_cut(text, found, first, len(found) if counted else at) if unsure else "",
        version=_version(tail),
        told=tuple(words[own:]),
        spare=spare,
    )


def _visit_of(text: str) -> str:
    found = words_of(text)
    at, taken = _visit(found, 0)
    return text[found[at].start : found[at + taken - 1].end] if taken else ""


def _cut(text: str, found: list[Word], first: int, behind: int) -> str:
    """The text of some words and of what is between them, brackets at their end included."""
    if behind <= first:
        return ""
    start = found[first].start if first else 0
    end = found[behind].start if behind < len(found) else len(text)
    return text[start:end].strip("._- ")


def _rest(text: str, found: list[Word], at: int) -> str:
    """Return the words after a leading sequence that describe nothing: `sub03` of `T1w_sub03`."""
    left = [i for i in range(at + 1, len(found)) if not _describes(found[i].text)]
    if not left or (left[0] > at + 1 and found[left[0]].text.isdigit()):
        # `t1_mprage_sag_4`: the number of a series.
        return ""
    return _cut(text, found, left[0], left[-1] + 1)


def _visit(found: list[Word], head: int) -> tuple[int, int]:
    """Return the place of the words of a visit and their number; 0 where there are none."""
    for i in range(len(found)):
        if taken := is_session(found, i):
            return i, taken
    return head, 0


def _sequence_at(words: list[str]) -> int | None:
    """Return the place of the sequence's word: the first after the start, else the start."""
    places = [i for i, word in enumerate(words) if word in vocabulary.PLAIN]
    others = [i for i, word in enumerate(words) if word in vocabulary.OTHERS]
    # `ADC.nii.gz` alone; `ct_01` may be a person.
    places += [
        i for i in others if i or all(w in vocabulary.OTHERS or _describes(w) for w in words)
    ]
    places.sort()
    # `t2_flair`: one group of words at the start.
    group = 0
    while group in places:
        group += 1
    inner = [i for i in places if i >= max(group, 1)]
    sure = [i for i in inner if words[i] not in ("pd", "map", "ct", "uni", "dir", "pet")]
    if sure or inner:
        # `t1 flair`, `ax t2 flair`: from the first word of the group.
        return (sure or inner)[0]
    return 0 if places else None


def _describes(word: str) -> bool:
    return word in vocabulary.ROLES or word in vocabulary.TECHNIQUE


def _nobody(word: str) -> bool:
    return word in vocabulary.CONTAINER or word in vocabulary.ROLES


def _version(words: list[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not word.isdigit() and word not in vocabulary.PLAIN)
