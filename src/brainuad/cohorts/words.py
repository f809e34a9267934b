"""The words of file names, folders and tables: sequences, roles, groups, sessions."""

import re
from collections.abc import Iterable, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

_TABLE = ConfigParser(interpolation=None)
# Names of sequences keep their capitals.
_TABLE.optionxform = str  # type: ignore[assignment, method-assign]
_TABLE.read_string(Path(__file__).with_name("words.ini").read_text(encoding="utf-8"))


def word_sets(section: str) -> dict[str, frozenset[str]]:
    """Return the entries of a section of `words.ini`, each with its words."""
    return {name: frozenset(words.split()) for name, words in _TABLE[section].items()}


def named(section: str) -> dict[str, str]:
    """Return the words of a section of `words.ini`, each with the name of its entry."""
    return {word: name for name, words in word_sets(section).items() for word in words}


PLAIN = named("sequences")
"""Words (lower case) and the sequence that they name by themselves."""

OTHERS = named("others")
"""Words of images that no preset is made for."""

_NAMES = word_sets("names")
_CONTRAST, _NONE, _TOWARDS = (_NAMES[name] for name in ("contrast agent", "not", "towards"))
_WEAK_T1 = _NAMES["t1 technique"]

TECHNIQUE = _NAMES["technique"] | _WEAK_T1 | _TOWARDS | (_CONTRAST - {"c"}) | _NONE
"""Words that describe how an image was made, and not whose it is."""

CONTAINER = _NAMES["container"] | TECHNIQUE
"""Names of folders that are nobody's."""

NOBODY = word_sets("values")["nothing"] | {""}
"""Words for an empty cell."""

LESION = _NAMES["lesion"]
_DRAWN, _BRAIN, _MAP = (_NAMES[name] for name in ("drawn", "brain", "map"))
_TISSUE, _NO_LESION = _NAMES["tissue"], _NAMES["no lesion"]
ROLES = LESION | _DRAWN | _BRAIN | _MAP | _TISSUE | _NO_LESION

_SESSION = re.compile(
    r"(?:ses|session|visit|timepoint|time|tp|day|week|wk|month|year|yr|wave|exam|fu|mr|run|scan|study|v)\d+"
    r"|d\d{4}|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6})?"
    r"|baseline|bl|followup|fu|preop|postop|initial|screening|acute|chronic|zeitpunkt\d+"
    r"|t0|[yw]\d{1,2}|m(?:0[036]|12|18|24|36|48|60)|\d{1,2}(?:m|mo|months?)",
)

_WORD = re.compile(r"[^\W_]+")
# `sub1T1w` and `003FLAIR`, but not `pat1`: only forms that end no word of their own.
_GLUED = re.compile(r"(?<=[a-z0-9])(?=(?:T1w|T2w|T1c|T1ce|FLAIR|PDw)(?![a-z]))")
_SPECIAL = (
    (re.compile(r"t2w?\s?\*", re.IGNORECASE), "t2star"),
    (re.compile(r"mp[ _-]rage", re.IGNORECASE), "mprage"),
    (re.compile(r"\bw/o\b", re.IGNORECASE), "without"),
    (re.compile(r"(t1\w?)(?: -c\b|[ _-]c-)", re.IGNORECASE), r"\1 "),
    (re.compile(r"\+\s?c\b|\bc\s?\+", re.IGNORECASE), " ce "),
    (re.compile(r"\b(t[12])[ _-]?(weighted|wtd)\b", re.IGNORECASE), r"\1w"),
    (re.compile(r"(dark|da)[ _-]?fl(uid)?(?![a-z])", re.IGNORECASE), "darkfluid"),
)


@dataclass(frozen=True)
class Word:
    """A word of a name.

    Attributes:
        text: lower case.
        start: place of its first letter in the name.
        end: behind its last one.
    """

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a name: what lies between characters that are no letter and no digit."""
    found = []
    for match in _WORD.finditer(text):
        cuts = [match.start(), *(m.start() for m in _GLUED.finditer(text, *match.span()))]
        for start, end in zip(cuts, [*cuts[1:], match.end()], strict=True):
            if end > start:
                found.append(Word(text[start:end].lower(), start, end))
    return found


_PIECES = word_sets("pieces")
"""Pieces of words, in several languages, and the word that they stand for."""

_SHORT = word_sets("short")
"""Words that count whole, or with a number behind, or at the end of another."""


def loosened(words: Iterable[str]) -> list[str]:
    """Return words and their parts: `lesionmask2` is `lesion` and `mask`, too."""
    found = []
    for word in words:
        found += [plain for plain, pieces in _PIECES.items() if any(p in word for p in pieces)]
        bare = word.rstrip("0123456789")
        found += [plain for plain, whole in _SHORT.items() if bare in whole]
        found += ["seg"] if bare.endswith("seg") else []
        found.append(word)
    return found


def sequence_of(text: str) -> str:
    """The sequence that a text names: `AX T2 FLAIR` is `FLAIR`; empty where it names none.

    Images of other kinds have their own names, such as `DWI`, so that nobody takes them for one of
    ours.
    """
    for pattern, plain in _SPECIAL:
        text = pattern.sub(plain, text)
    words = [word.text for word in words_of(text)]
    first = next((i for i, word in enumerate(words) if word in PLAIN), None)
    target = next((i for i, w in enumerate(words) if w in _TOWARDS and i > (first or 0)), None)
    words = words[:target]
    if other := next((OTHERS[word] for word in words if word in OTHERS), ""):
        return other
    if first is not None:
        return _told(words, first)
    if not _WEAK_T1.intersection(words):
        return ""
    return "T1c" if _enhanced(words, -1) else "T1w"


def _told(words: Sequence[str], first: int) -> str:
    """Return the meaning of a sequence's first word beside the others."""
    found = PLAIN[words[first]]
    rest = [PLAIN[word] for word in words[first + 1 :] if word in PLAIN]
    if found in ("T1w", "T2w") and words[first + 1 : first + 2] == ["map"]:
        found = "map"
    elif found == "T1w":
        # A T1 FLAIR is weighted by T1.
        found = "T1c" if _enhanced(words, first) else "T1w"
    elif found in ("T2w", "PDw") and {"flair", "darkfluid"}.intersection(words):
        found = "FLAIR"
    elif found == "PDw" and rest:
        # `PD` may be Parkinson's disease.
        found = rest[0]
    elif found == "T2w" and "tirm" in words:
        found = "STIR"
    elif found == "T2w" and {"star", "gre"}.intersection(words):
        found = "T2star"
    return found


def canonical(sequence: str) -> str:
    """Our name of a sequence that a setting, a card or a table names; others as they are.

    `t1` is `T1w`, `T1` of a table and `T1w` of a model are one.
    """
    text = sequence.strip()
    return PLAIN.get(text.lower(), OTHERS.get(text.lower(), text))


def is_session(words: Sequence[Word], i: int) -> int:
    """Return the number of words from `i` on that name a visit: 0, 1 (`visit2`) or 2 (`ses-2`)."""
    word = words[i].text
    if word in _NAMES["session"] and i + 1 < len(words):
        behind = words[i + 1].text
        described = behind in PLAIN or behind in OTHERS or behind in ROLES or behind in TECHNIQUE
        return 0 if described else 2
    return 1 if _SESSION.fullmatch(word) else 0


def role_of(words: Iterable[str]) -> str:
    """Return the kind of file that the words name.

    Returns:
        `map`, `tissue`, `no lesion`, `lesion`, `brain mask`; `brain`, where the file is a mask or a
        brain without its skull; `mask` of unknown kind; empty for a scan.
    """
    found = set(words)
    drawn = found & _DRAWN
    # The first that holds.
    readings = {
        "no lesion": found & _NO_LESION and drawn,
        "map": found & _MAP,
        "lesion": found & LESION,
        "tissue": found & _NAMES["region"] or (found & _TISSUE and drawn),
        "brain mask": found & _NAMES["brain mask"] or (found & _BRAIN and drawn),
        "brain": found & _BRAIN,
        "mask": drawn and drawn <= {"mask", "masks", "msk"},
    }
    other = "lesion" if drawn else ""
    return next((role for role, holds in readings.items() if holds), other)


def _enhanced(words: Sequence[str], at: int) -> bool:
    """Return whether words around a T1 state a contrast agent."""
    for i, word in enumerate(words):
        told = word in _CONTRAST and (word != "c" or i == at + 1)
        if told and not (i and words[i - 1] in _NONE):
            return True
    return False
