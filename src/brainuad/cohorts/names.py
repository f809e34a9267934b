"""Names of subjects, sequences and groups: what may name a file, and what is taken already."""

from pathlib import Path
from typing import Protocol

from brainuad.errors import InputError
from brainuad.machine.text import FORMULAS

MAX_BYTES = 120
"""Largest number of bytes of a name. File systems take 255; a file's name holds two names."""

POOLED = "(pooled)"
"""Stands for the subject where a score belongs to all of them."""

GROUPS = ("all", "bright", "iso", "dark", "healthy", "pooled", "no lesion")
"""Groups of subjects in `summary.json` that no pathology may be called."""


class Named(Protocol):
    """A scan, raw or prepared."""

    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> str | None: ...
    @property
    def image(self) -> Path: ...
    @property
    def healthy(self) -> bool | None: ...
    @property
    def pathology(self) -> str: ...


def check_names(scan: "Named") -> None:
    """Refuse a scan with a name that cannot name a file, or is taken; its sequence may be unknown.

    Raises:
        InputError: a name that is refused, with the scan's file.
    """
    check_name(scan.subject, "subject", scan.image)
    if scan.sequence:
        check_name(scan.sequence, "sequence", scan.image)
    for what in ("pathology", "site"):
        text = getattr(scan, what)
        if not text.isprintable() or text.startswith(tuple(FORMULAS)):
            raise InputError(
                f"{scan.image}: {what} {text!r} holds control characters or begins as a formula "
                "of a spreadsheet does; rename it"
            )
    if not scan.healthy and scan.pathology in GROUPS:
        raise InputError(
            f"{scan.image}: pathology '{scan.pathology}' is the name of a group of scores; use "
            "another"
        )


def check_name(text: str, what: str, where: object) -> None:
    """Refuse a name that cannot name a file.

    Args:
        text: name of a subject or of a sequence.
        what: kind of name in the message: `subject`, `sequence`.
        where: file, or line of a file, that gives it.

    Raises:
        InputError: it is empty or long, holds a slash, a backslash, a line break or another
            character without a shape, begins with a dot or as a formula does, or is taken.
    """
    if text != file_name(text) or text == POOLED:
        raise InputError(f"{where}: {what} {text!r} cannot name a file; use letters, digits, - _")


def file_name(text: str) -> str:
    """Return a name that can be a file's, and is the same one where it can be already."""
    shown = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in text)
    short = shown.encode()[:MAX_BYTES].decode(errors="ignore")
    return short.lstrip(f".{FORMULAS}") or "_"
