"""Content of a cohort folder, by its records.

Each scan's record says which source it is of and how it was prepared, so that whichever command
ends last lists the scans of all.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.fingerprint import short_hash
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.records import Key, key_of, read_record, record_path
from brainuad.preparation.slices import SlicePreparation
from brainuad.records.scan import Origin, ScanRecord
from brainuad.settings.describe import recipe_of

State = list[tuple[Key, str, Origin | None]]
"""Key, stamp and origin of each scan of other sources."""


def prepared_by(preparation: Preparation | SlicePreparation, normalise: Normalise) -> str:
    """Return a hash of what the scans of a cohort have in common, which grids need not be."""
    steps = preparation
    if isinstance(steps, Preparation):
        steps = replace(steps, shared={})
    return short_hash([recipe_of(steps), repr(normalise)])


def is_done(scan: RawScan, stamp: str, out: Path) -> bool:
    """Return whether the scan was prepared from these files in this way and is still there."""
    try:
        record = read_record(record_path(scan, out))
    except InputError:
        # Not there or damaged: it is made anew.
        return False
    return record.stamp == stamp and _files_there(record, out)


def _files_there(record: ScanRecord, out: Path) -> bool:
    kept = [record.image, record.brain_mask, record.lesion_mask, record.native_lesion_mask]
    kept += [record.transform, record.warp]
    return all((out / name).is_file() for name in kept if name)


@dataclass(frozen=True)
class Made:
    """Scans in a cohort folder, by their records.

    Attributes:
        out: cohort folder.
        source: source of the command.
        by: see `prepared_by`.
    """

    out: Path
    source: Path
    by: str

    def others(self, raw: Sequence[RawScan]) -> list[tuple[RawScan, ScanRecord]]:
        """Scans of other sources that were prepared in the same way, with their records.

        Args:
            raw: scans of this command, which replaces those of the same name.
        """
        own = {key_of(scan) for scan in raw}
        return [
            (scan, record)
            for scan, record, by in self._others()
            if key_of(scan) not in own and by == self.by
        ]

    def state(self, raw: Sequence[RawScan]) -> State:
        """Return what decides the manifest beside the scans of this command."""
        return [(key_of(scan), record.stamp, record.origin) for scan, record in self.others(raw)]

    def differing(self) -> int:
        """Count the scans of other sources that were prepared in another way."""
        return sum(by != self.by for _, _, by in self._others())

    def origin(self, scan: RawScan) -> Origin:
        """Return the facts about a scan that other commands need."""
        label = scan.lesion_mask
        return Origin(
            source=str(self.source.absolute()),
            by=self.by,
            image=str(scan.image.absolute()),
            lesion_mask=None if label is None else str(label.absolute()),
            healthy=scan.healthy,
            split=scan.split,
            site=scan.site,
            pathology=scan.pathology,
        )

    def _others(self) -> list[tuple[RawScan, ScanRecord, str]]:
        """Return the finished scans of other sources with their records and `Origin.by`.

        Records that nobody can read are left out.
        """
        found = []
        for path in sorted((self.out / "scans").glob("[!.]*.json")):
            with suppress(InputError):
                record = read_record(path)
                origin, done = record.origin, record.normalised
                if origin is None or done is None or origin.source == str(self.source.absolute()):
                    continue
                if _files_there(record, self.out) and (self.out / done.image).is_file():
                    found.append((_raw(record, origin), record, origin.by))
        return found


def _raw(record: ScanRecord, origin: Origin) -> RawScan:
    return RawScan(
        record.subject,
        record.sequence,
        Path(origin.image),
        healthy=origin.healthy,
        lesion_mask=Path(origin.lesion_mask) if origin.lesion_mask else None,
        split=origin.split,
        site=origin.site,
        pathology=origin.pathology,
    )
