"""Who a subject is, however the name is spelled, and what a table says of people."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from brainuad.cohorts.words import CONTROLS, DISEASES, NOBODY, PATIENTS, group_of, words_of
from brainuad.errors import InputError
from brainuad.machine.read import read_table

_FLOAT = re.compile(r"^(\d+)[.,]0+$")
_PREFIXES = ("subject", "subj", "sub", "s")
_GROUPS = (
    *("group", "diagnosis", "dx", "diag", "pathology", "disease", "patient", "status", "healthy"),
    *("participant_group", "group_id", "cohort", "clinical_group", "condition"),
)
"""Columns of `participants.tsv` that tell who is ill."""

PersonKey = tuple[str, ...]


@lru_cache(maxsize=2**16)
def person_key(subject: str) -> PersonKey:
    """A form of a subject's name that is equal for `1`, `01`, `sub-01`, `1.0`, `S01` and `s01`."""
    text = unicodedata.normalize("NFC", subject).strip().casefold()
    text = _FLOAT.sub(r"\1", text)
    pieces = re.findall(r"[^\W\d_]+|\d+", text)
    if (len(pieces) > 1 and pieces[0] in _PREFIXES and pieces[1].isdigit()) or (
        len(pieces) > 1 and pieces[0] in _PREFIXES[:3]
    ):
        pieces = pieces[1:]
    return tuple(piece.lstrip("0") or "0" if piece.isdigit() else piece for piece in pieces) or (
        subject,
    )


def one_spelling(subjects: Iterable[str]) -> dict[str, str]:
    """Each name to the first of its spellings."""
    first: dict[PersonKey, str] = {}
    return {name: first.setdefault(person_key(name), name) for name in subjects}


def refuse_two_spellings(subjects: Iterable[str], where: object) -> None:
    """Refuse a list in which one person may stand under two names.

    Raises:
        InputError: two names differ in capitals, leading zeros, `sub-` or signs alone.
    """
    for name, other in one_spelling(dict.fromkeys(subjects)).items():
        if name != other:
            raise InputError(
                f"{where}: are subjects '{other}' and '{name}' one person? Spell one name in one "
                "way, or give two people names that differ in more than zeros, capitals and signs"
            )


def is_ill(text: str) -> bool | None:
    """Whether a word of a table says that somebody is ill; None where it says nothing."""
    plain = text.strip().casefold()
    if plain in NOBODY:
        return None
    words = {word.text for word in words_of(plain)}
    group = group_of(plain)
    if group:
        return group == "patient"
    if words & CONTROLS and not words & (PATIENTS | DISEASES):
        return False
    return None


def read_participants(path: Path) -> dict[PersonKey, tuple[bool, str]]:
    """Who of a BIDS dataset is ill, by `participants.tsv`.

    In a column such as `group` or `diagnosis` that names controls, everybody else is a patient.

    Returns:
        A person to whether they are ill, and what the table calls it.

    Raises:
        InputError: the table cannot be read.
    """
    if not path.is_file():
        return {}
    header, rows = read_table(path, "save it as tab-separated values in UTF-8")
    names = {name.strip().casefold(): name for name in header}
    who = next(
        (names[n] for n in ("participant_id", "subject", "subject_id", "id") if n in names), None
    )
    if who is None:
        return {}
    found: dict[PersonKey, tuple[bool, str]] = {}
    for column in (names[name] for name in _GROUPS if name in names):
        told = {row[column].strip(): is_ill(row[column]) for row in rows}
        if column.casefold() == "healthy":
            told = {text: None if (yes := truth(text)) is None else not yes for text in told}
        elif column.casefold() == "patient":
            told = {
                text: truth(text) if truth(text) is not None else ill for text, ill in told.items()
            }
        controls = any(ill is False for ill in told.values())
        for row in rows:
            text = row[column].strip()
            ill = told[text]
            if ill is None and controls and text.casefold() not in NOBODY:
                ill = True
            if ill is not None:
                key = person_key(row[who])
                before = found.get(key, (False, ""))
                found[key] = (before[0] or ill, before[1] or (text if ill else ""))
    return found


def truth(text: str) -> bool | None:
    """Yes or no as tables write it; None for anything else."""
    plain = text.strip().casefold()
    if plain in ("true", "yes", "y", "1", "1.0", "t", "ja", "x"):
        return True
    return False if plain in ("false", "no", "n", "0", "0.0", "f", "nein") else None
