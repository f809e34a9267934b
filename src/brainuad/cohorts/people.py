"""Match spellings of a subject's name, and read people's health from tables."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from brainuad.cohorts.groups import DISEASES, PATIENTS, group_of
from brainuad.cohorts.words import NOBODY, word_sets, words_of
from brainuad.errors import InputError
from brainuad.machine.read import read_table

_FLOAT = re.compile(r"^(\d+)[.,]0+$")
_PREFIXES = ("subject", "subj", "sub", "s")
_WORDS = word_sets("people")
_YES, _NO = (word_sets("values")[answer] for answer in ("yes", "no"))

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
    """Return whether a word of a table means ill; None where it means neither."""
    plain = text.strip().casefold()
    if plain in NOBODY:
        return None
    group = group_of(text)
    return group == "patient" if group else None


def column_words(name: str) -> list[str]:
    """The words of a column's name: `is_patient`, `SubjectID` and `lesion-mask` are two each."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word.text for word in words_of(parted)]


def tells_health(name: str, values: Sequence[str]) -> bool:
    """Return whether a column states who is ill: by its name, or by patients beside controls."""
    words = set(column_words(name))
    telling = _WORDS["health column"]
    if words & telling and not words - telling - _WORDS["beside health"]:
        return True
    told = {is_ill(value) for value in dict.fromkeys(values)}
    return {True, False} <= told


def health_by(name: str, values: Sequence[str]) -> dict[str, bool | None]:
    """Return the meaning of each value of such a column: ill, healthy, or None.

    Where a column names controls, everybody else in it is a patient.
    """
    words = set(column_words(name))
    texts = dict.fromkeys(value.strip() for value in values)
    plain = all(truth(text) is not None or text.casefold() in NOBODY for text in texts)
    told: dict[str, bool | None] = {}
    for text in texts:
        yes = truth(text) if plain else None
        if yes is not None and words & _WORDS["good news"] and not words & {"group", "groups"}:
            told[text] = not yes
        elif yes is not None and words & (DISEASES | PATIENTS | {"lesion", "ill", "disease"}):
            told[text] = yes
        else:
            told[text] = is_ill(text)
    if any(ill is False for ill in told.values()):
        for text, ill in told.items():
            if ill is None and text.casefold() not in NOBODY:
                told[text] = True
    return told


def read_participants(path: Path) -> tuple[dict[PersonKey, tuple[bool, str]], list[str]]:
    """Who of a BIDS dataset is ill, by `participants.tsv`.

    Returns:
        A person to whether they are ill, and what the table calls it; and notes on columns that
        were not understood.

    Raises:
        InputError: the table cannot be read.
    """
    if not path.is_file():
        return {}, []
    header, rows = read_table(path, "save it as tab-separated values in UTF-8")
    named = [name for name in header if names_person(name)]
    who = next((name for name in named if "id" in column_words(name)), next(iter(named), None))
    if who is None:
        return {}, [f"{path.name}: no column participant_id; nothing of it is used"]
    found: dict[PersonKey, tuple[bool, str]] = {}
    notes = []
    for column in (name for name in header if name and name != who):
        values = [row[column] for row in rows]
        if not tells_health(column, values):
            continue
        told = health_by(column, values)
        if not any(ill is not None for ill in told.values()) and set(told) - {""}:
            said = ", ".join(list(told)[:5])
            notes.append(f"{path.name}: who is ill is not told by column {column} ({said})")
        for row in rows:
            text = row[column].strip()
            if (ill := told[text]) is not None:
                key = person_key(row[who])
                before = found.get(key, (False, ""))
                found[key] = (before[0] or ill, before[1] or (text if ill else ""))
    return found, notes


def names_person(column: str) -> bool:
    """Return whether a column holds the names of people."""
    words = set(column_words(column))
    naming = _WORDS["person column"]
    return bool(words & naming) and not words - naming - _WORDS["beside person"]


def truth(text: str) -> bool | None:
    """Yes or no as tables write it; None for anything else."""
    plain = text.strip().casefold()
    if plain in _YES:
        return True
    return False if plain in _NO else None
