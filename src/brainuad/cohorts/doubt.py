"""Files whose names leave open what they are: told by the owner's name and by their content."""

import gzip
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.content import Content, content_of
from brainuad.cohorts.filename import stem_of
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import PersonKey
from brainuad.cohorts.records import Record
from brainuad.cohorts.words import ROLES, TECHNIQUE, loosened, role_of, sequence_of, words_of

UNKNOWN = "unknown"
"""Role of a label map of unknown content."""

THIN = 0.1
"""Bytes a voxel of a packed file: masks take less, scans with their noise more."""


def settle(records: Sequence[Record]) -> list[Record]:
    """The records with the roles that their content and their owners' names give them.

    A scan's name that says too much, or a file that is too small for a scan, is looked into; so is
    a mask that is too large for one.
    """
    owners = _owners(records)
    alike = Counter((record.person, record.sequence) for record in records if not record.role)
    people = {record.person for record in records if not record.role}
    found = []
    for read in records:
        record = _after_owner(read, owners)
        role = record.role
        if role in ("", "lesion") and not record.path.is_dir():
            thin = is_thin(record.path)
            if role == "lesion" and not thin:
                # Beside a scan it is meant as a label, and refused when its turn comes.
                alone = record.person not in people
                role = "" if alone and content_of(record.path).kind == "scan" else role
            elif not role and (thin or _extends(read, people) or _says_more(record)):
                content = content_of(record.path)
                role = _role(record, content) if content.drawn else ""
                alone = alike[record.person, record.sequence] == 1
                if role == UNKNOWN and record.sequence and alone and not _says_more(record):
                    # By its name it is the person's scan, and fails when its turn comes.
                    role = ""
        found.append(record if role == record.role else replace(record, role=role))
    return found


def is_thin(path: Path) -> bool:
    """Return whether a file is small enough for a mask, by its size and its header.

    Files that are not packed are thin where a voxel is a byte.
    """
    try:
        if not path.is_file():
            # A pipe would be waited for.
            return False
        packed = path.name.lower().endswith(".gz")
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(352)
        order = "<" if header[:4] == b"\x5c\x01\x00\x00" else ">"
        shape = struct.unpack(f"{order}8h", header[40:56])[1:4]
        bits = struct.unpack(f"{order}h", header[72:74])[0]
        voxels = abs(shape[0] * shape[1] * shape[2])
        return bits == 8 if not packed else path.stat().st_size < THIN * voxels
    except (OSError, EOFError, struct.error, zlib.error):
        return False


def _owners(records: Sequence[Record]) -> dict[str, str]:
    """Return the subjects of scans whose names state a sequence, by their lower-case names."""
    named = [r for r in records if not r.role and r.sequence and not r.name.entities]
    return {r.subject.casefold(): r.subject for r in named if r.subject}


def _after_owner(record: Record, owners: dict[str, str]) -> Record:
    """Read a name again that begins with a known subject's: `head_brain_mask` beside `head_T1w`."""
    text = stem_of(record.path)
    if record.name.entities:
        return record
    words = words_of(text)
    for word in reversed(words[:-1]):
        owner = owners.get(text[: word.end].strip("._- ").casefold())
        if owner and owner.casefold() == record.subject.casefold():
            return record
        if owner:
            rest = text[word.end :]
            said = [one.text for one in words_of(rest)]
            role = role_of(said) or role_of(loosened(said))
            content = None if role else content_of(record.path)
            if content is not None and not content.drawn:
                return record
            return replace(
                record,
                subject=file_name(owner),
                role=role if content is None else _role(record, content),
                sequence=sequence_of(rest),
                context=(),
            )
    return record


def _extends(record: Record, people: Collection[PersonKey]) -> bool:
    """Return whether a scan's name extends another's: `s1_lesionmap2` beside `s1_T1w`."""
    key = record.person
    starts = (key[:n] for n in range(1, len(key)))
    return not record.role and not record.sequence and any(start in people for start in starts)


def _says_more(record: Record) -> bool:
    """Return whether a scan's name holds words that name neither a sequence nor a technique."""
    words = [word.text for word in words_of(stem_of(record.path))]
    if record.name.entities:
        return record.derived or bool(record.name.version)
    odd = [w for w in record.name.version if w not in TECHNIQUE]
    front = words[:1] if len(words) > 1 else []
    return bool(odd) or any(word in ROLES for word in front)


def _role(record: Record, content: Content) -> str:
    """Return the kind of a drawn image, by the words of its name and its folders."""
    words = [word.text for word in words_of(stem_of(record.path))]
    told = role_of(loosened(words))
    if content.kind == "share" and told not in ("brain mask", "brain", "mask"):
        return "map"
    return told or UNKNOWN
