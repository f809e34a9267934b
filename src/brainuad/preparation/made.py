"""What lies in a cohort folder, by its records.

Each scan's record says which source it is of and how it was prepared, so that whichever command
ends last lists the scans of all.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.read import read_json
from brainuad.preparation.normalise.cohort import record_path
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.slices import SlicePreparation
from brainuad.settings.describe import recipe_of

Key = tuple[str, str]
"""Subject and sequence."""

State = list[tuple[Key, str, dict[str, Any]]]
"""Key, stamp and row of each scan of other sources."""

ROW = ("healthy", "split", "site", "pathology")
"""What a record keeps of its scan, beside its files."""


def key_of(scan: RawScan | Scan) -> Key:
    """Return subject and sequence."""
    return scan.subject, scan.sequence


def prepared_by(preparation: Preparation | SlicePreparation, normalise: Normalise) -> str:
    """Return a hash of what the scans of a cohort have in common, which grids need not be."""
    steps = preparation
    if isinstance(steps, Preparation):
        steps = replace(steps, shared={})
    return short_hash([recipe_of(steps), repr(normalise)])


def is_done(scan: RawScan, stamp: str, out: Path) -> bool:
    """Whether the scan was prepared from these files in this way and is still there."""
    try:
        record = read_json(record_path(scan, out))
    except InputError:
        # Not there or damaged: it is made anew.
        return False
    return record.get("stamp") == stamp and _files_there(record, out)


def _files_there(record: Mapping[str, Any], out: Path) -> bool:
    kept = [record.get(key) for key in ("image", "brain_mask", "lesion_mask", "transform", "warp")]
    kept += [record.get("native_lesion_mask")]
    return all((out / name).is_file() for name in kept if name)


@dataclass(frozen=True)
class Made:
    """Scans in a cohort folder, by their records.

    Attributes:
        out: cohort folder.
        source: of the command.
        by: see `prepared_by`.
    """

    out: Path
    source: Path
    by: str

    def others(self, raw: Sequence[RawScan]) -> list[tuple[RawScan, dict[str, Any]]]:
        """Scans of other sources that were prepared in the same way, with their records.

        Args:
            raw: scans of this command, which replaces those of the same name.
        """
        own = {key_of(scan) for scan in raw}
        found = [(self._scan(record), record) for record in self._records()]
        return [
            (scan, record)
            for scan, record in found
            if key_of(scan) not in own and record["by"] == self.by
        ]

    def state(self, raw: Sequence[RawScan]) -> State:
        """What decides the manifest beside the scans of this command."""
        return [(key_of(scan), one["stamp"], one["row"]) for scan, one in self.others(raw)]

    def differing(self) -> int:
        """Count the scans of other sources that were prepared in another way."""
        return sum(record["by"] != self.by for record in self._records())

    def noted(self, record: dict[str, Any], scan: RawScan) -> dict[str, Any]:
        """A record with what other commands have to know of its scan."""
        row = {name: getattr(scan, name) for name in ROW}
        row |= {"image": str(scan.image.absolute()), "lesion_mask": None}
        if scan.lesion_mask is not None:
            row["lesion_mask"] = str(scan.lesion_mask.absolute())
        return record | {"source": str(self.source.absolute()), "by": self.by, "row": row}

    @staticmethod
    def _scan(record: Mapping[str, Any]) -> RawScan:
        row = record["row"]
        label = row["lesion_mask"]
        return RawScan(
            record["subject"],
            record["sequence"],
            Path(row["image"]),
            lesion_mask=Path(label) if label else None,
            **{name: row[name] for name in ROW},
        )

    def _records(self) -> list[dict[str, Any]]:
        """Of other sources, finished; of those that nobody can read nothing is known."""
        found = []
        for path in sorted((self.out / "scans").glob("[!.]*.json")):
            with suppress(InputError, KeyError, TypeError):
                record = read_json(path)
                self._scan(record)
                whole = _files_there(record, self.out) and (self.out / record["scan"]).is_file()
                known = {"by", "stamp"} <= record.keys()
                if whole and known and record["source"] != str(self.source.absolute()):
                    found.append(record)
        return found
