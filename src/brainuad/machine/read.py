"""JSON and tables of unknown origin: read whole, or refused in one line with the remedy."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from brainuad.errors import InputError
from brainuad.machine.limits import require_file

MOST = 2**28
"""Bytes of a JSON file or a table; ours are a thousand times smaller."""


def read_json(path: Path, remedy: str = "make it again", kind: type | None = dict) -> Any:
    """Read JSON.

    Args:
        path: a file.
        remedy: the last words of the message.
        kind: what it has to hold; None for anything.

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
    path: Path, remedy: str = "save it as CSV in UTF-8", delimiter: str = ","
) -> tuple[list[str], list[dict[str, str]]]:
    """Read a CSV file in UTF-8, with or without a byte-order mark.

    Args:
        path: a file.
        remedy: the last words of the message.
        delimiter: between the cells.

    Returns:
        The names of the columns, and a row a line; cells that are missing are empty.

    Raises:
        InputError: missing, too large, another encoding, or not a table.
    """
    try:
        text = _content(path, remedy).decode("utf-8-sig")
        if "\0" in text:
            raise csv.Error("it holds zero bytes")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = list(reader.fieldnames or [])
        rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; {remedy}") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error}); {remedy}") from None
    return header, rows


def _content(path: Path, remedy: str) -> bytes:
    if (size := require_file(path)) > MOST:
        raise InputError(f"{path}: {size} bytes, expected at most {MOST}; {remedy}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); {remedy}") from None
