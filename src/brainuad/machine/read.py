"""Readers of JSON and tables of unknown origin, with errors in one line."""

import codecs
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from brainuad.errors import InputError
from brainuad.machine.limits import require_file

MOST = 2**28
"""Largest JSON file or table in bytes; ours are a thousand times smaller."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks; that of UTF-32 begins as that of UTF-16 does."""


def read_json(path: Path, remedy: str = "make it again", kind: type | None = dict) -> Any:
    """Read JSON.

    Args:
        path: a file.
        remedy: last words of the message.
        kind: type of the content; None for any.

    Raises:
        InputError: missing, too large, or not JSON of this kind.
    """
    content = _content(path, remedy)
    return parse_json(content, str(path), remedy, kind)


def parse_json(content: bytes, what: str, remedy: str, kind: type | None = dict) -> Any:
    """Read JSON that is in memory; see `read_json`."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise InputError(f"{what}: not valid JSON (nested too deep); {remedy}") from None
    except ValueError as error:
        raise InputError(f"{what}: not valid JSON ({error}); {remedy}") from None
    if kind is not None and not isinstance(found, kind):
        raise InputError(f"{what}: expected a JSON object; {remedy}")
    return found


def read_table(
    path: Path, remedy: str = "save it as CSV in UTF-8", delimiter: str = ""
) -> tuple[list[str], list[dict[str, str]]]:
    """Read a table as spreadsheets save it.

    UTF-8, UTF-16 and Windows' Latin-1 are recognised, and commas, semicolons, tabs and bars.

    Args:
        path: a file.
        remedy: last words of the message.
        delimiter: delimiter of the cells; empty to take the commonest of the first line.

    Returns:
        The names of the columns, and one row per line; missing cells are empty.

    Raises:
        InputError: missing, too large, or not a table.
    """
    text = _decoded(_content(path, remedy))
    try:
        if "\0" in text:
            raise csv.Error("it holds zero bytes")
        if match := re.match(r"sep=(.)\r?\n", text):
            # Excel's own first line.
            delimiter, text = match[1], text[match.end() :]
        delimiter = delimiter or _delimiter(text)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = list(reader.fieldnames or [])
        rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error}); {remedy}") from None
    return header, rows


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        # What Windows writes where it does not write UTF-8; each byte is some letter.
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(",;\t|", key=bare.count)


def _content(path: Path, remedy: str) -> bytes:
    if (size := require_file(path)) > MOST:
        raise InputError(f"{path}: {size} bytes, expected at most {MOST}; {remedy}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); {remedy}") from None
