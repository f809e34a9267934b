"""Lists of a folder that several sources, one after the other or at once, are written into."""

from collections.abc import Sequence
from pathlib import Path

from brainuad.errors import InputError
from brainuad.machine.files import sizes, until_still, write_csv, write_json
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.read import read_json

SOURCES = "sources"
"""Folder of the records that the lists are made of, one per source."""

Row = tuple[str, str]


def write_list(out: Path, name: str, header: Row, rows: Sequence[Row], source: Path) -> list[Row]:
    """Write the rows of one source, and then the list of all sources.

    Args:
        out: folder of the list.
        name: name of the list without `.csv`.
        header: names of its two columns.
        rows: rows of this source, in place of its former ones.
        source: folder or table that the user gave.

    Returns:
        The rows of the list.
    """
    whole = str(source.absolute())
    path = out / SOURCES / f"{name}-{short_hash(whole)}.json"
    if not path.is_file() or _rows(path) != [*rows]:
        write_json(path, {"source": whole, "rows": list(rows)})

    def write() -> list[Row]:
        found = [row for path in _records(out, name) for row in _rows(path)]
        listed = list(dict.fromkeys(found))
        write_csv(out / f"{name}.csv", [header, *listed])
        return listed

    return until_still(lambda: sizes(_records(out, name)), write)


def _records(out: Path, name: str) -> list[Path]:
    return sorted((out / SOURCES).glob(f"{name}-*.json"))


def _rows(path: Path) -> list[Row]:
    try:
        return [(str(first), str(second)) for first, second in read_json(path)["rows"]]
    except (InputError, KeyError, TypeError, ValueError):
        # Damaged: its source writes it again.
        return []
