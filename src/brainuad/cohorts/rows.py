"""Rows of a table of scans or of slices, as spreadsheets write them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainuad.cohorts.columns import COLUMNS, Columns, columns_of
from brainuad.cohorts.filename import is_image
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.tree import is_there
from brainuad.cohorts.words import NOBODY
from brainuad.errors import InputError
from brainuad.machine.read import read_table

TABLES = (".csv", ".tsv", ".txt")
SPLITS = {
    **{"tr": "train", "training": "train", "ts": "test", "testing": "test"},
    **{"validation": "val", "valid": "val", "dev": "val"},
}
_SAID = frozenset(["-", ".", "none", "unknown", "no", "nein", "non", "kein", "0", "?", "/", "--"])
"""Words that are values in some columns."""


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        where: table and line.
        folder: that its paths are relative to.
        columns: columns of the table.
        cells: values by field; empty where not stated.
        told: health by further columns: ill or not, and in which word.
    """

    where: str
    folder: Path
    columns: Columns
    cells: Mapping[str, str]
    told: Sequence[tuple[bool, str]]

    def text(self, field: str) -> str:
        """Return a cell; empty where the table has no such column."""
        return self.cells.get(field, "")

    def file(self, field: str) -> Path | None:
        """Return the file that a cell names; None for an empty one."""
        text = self.text(field)
        if not text:
            return None
        path = self.folder / text
        # Windows separates folders by backslashes.
        turned = self.folder / text.replace("\\", "/")
        return turned if "\\" in text and not is_there(path) else path

    @property
    def image(self) -> Path:
        """The image.

        Raises:
            InputError: the cell is empty.
        """
        path = self.file("image")
        if path is None:
            raise InputError("column image is empty; fill it in")
        return path

    @property
    def split(self) -> str:
        """The split by our name, empty where none is given."""
        text = self.text("split").casefold()
        return SPLITS.get(text, text)


def scans_of_rows(
    source: Path,
    what: str,
    sequence: str,
    make: Callable[[TableRow, Found], RawScan],
    fields: Sequence[str] = COLUMNS,
    holds: Callable[[str], bool] = is_image,
) -> Found:
    """List what the rows of a table stand for.

    Args:
        source: `.csv` or `.tsv`.
        what: kind of image in messages: `scan`, `slice`.
        sequence: sequence of a scan for which nothing states it.
        make: the scan of a row; its sequence is empty if unknown.
        fields: see `columns_of`.
        holds: see `columns_of`.

    Raises:
        InputError: columns or a row that cannot be understood, with its line; or no row.
    """
    header, rows = read_table(source)
    columns = columns_of(source, header, rows, fields, holds)
    found = Found(f"a table of {what}s")
    if columns.unknown:
        found.notes.append(f"columns left aside: {', '.join(columns.unknown)}")
    for line, row in enumerate(rows, start=2):
        if not any(value.strip() for value in row.values()):
            continue
        where = f"{source} line {line}"
        cells = {known: _cell(known, row[name]) for known, name in columns.taken.items()}
        said = [(ill[row[name].strip()], row[name].strip()) for name, ill in columns.health.items()]
        told = [(ill, text) for ill, text in said if ill is not None]
        try:
            scan = make(TableRow(where, source.parent, columns, cells, told), found)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if not scan.sequence:
            scan = replace(scan, sequence=sequence)
            found.assumed.add(scan.image)
        found.scans.append(scan)
    if not found.scans:
        raise InputError(
            f"{source}: lists no {what}; add one row per {what}, with its file in 'image'"
        )
    return found


def _cell(column: str, text: str) -> str:
    """Return a cell; empty if it has a word for a missing value."""
    plain = text.strip()
    words = NOBODY if column in ("lesion_mask", "brain_mask", "split") else NOBODY - _SAID
    return "" if plain.casefold() in words else plain
