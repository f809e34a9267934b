"""The end of a preparation: intensities, comparisons and the manifest of all that lies in a cohort.

Several commands may prepare scans into one cohort folder, see `brainuad.preparation.made`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainuad.cohorts.copies import copies_of
from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, write_cohort
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.sources import write_list
from brainuad.cohorts.split_rules import check_scans
from brainuad.errors import CannotWrite, InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import remove
from brainuad.machine.room import Room
from brainuad.preparation.made import Made, is_done
from brainuad.preparation.normalise.cohort import fitted, write_normalised
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality.left_right import compare_with_mirror
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.records import (
    Key,
    Records,
    key_of,
    normalised_path,
    read_record,
    record_path,
    write_record,
)
from brainuad.preparation.slices import SlicePreparation
from brainuad.records.scan import ScanRecord
from brainuad.settings.describe import recipe_of


@dataclass
class Finish:
    """Normalisation, comparison and manifest of a cohort's scans; may be called again.

    Attributes:
        raw: scans of the command, with splits.
        preparation: their steps.
        normalise: intensity normalisation.
        limits: limits of the quality flags.
        made: content of the cohort folder.
        stamps: scan to what decides its preparation.
        spaces: notes on the scans' spaces.
        room: that is kept for all of this.
        again: whether scans of other sources came while it was at work.
        records: as far as the work came; they are written together at its end.
    """

    raw: Sequence[RawScan]
    preparation: Preparation | SlicePreparation
    normalise: Normalise
    limits: Limits
    made: Made
    stamps: Mapping[Key, str]
    spaces: Sequence[str]
    room: Room
    again: bool = False
    records: Records = field(default_factory=dict)

    def __call__(self, before: Failures) -> Cohort:
        """Write the manifest of all scans that are done.

        Args:
            before: failures of the preparation.

        Returns:
            The cohort, with the failures of this command alone.

        Raises:
            InputError: no scan of this command could be prepared, or one person is in two splits.
        """
        self.room.give_back()
        out, own = self.made.out, self._own()
        left = {scan.subject for scan in self.raw if key_of(scan) not in own}
        # Another command may have done what failed here.
        failures = Failures(failure for failure in before if failure[0] in left)
        others = self.made.others(self.raw)
        scans = [*self.raw, *(scan for scan, _ in others)]
        if others:
            # In one order, whichever command comes last.
            scans.sort(key=key_of)
        records = self.records = own | {key_of(scan): record for scan, record in others}
        levels, bad = fitted(scans, records, self.normalise, out)
        if self.again and any(how != self.normalise for how in levels.values()):
            # Two commands that learned from other scans may have written the same file.
            for key, record in records.items():
                records[key] = replace(record, normalised=None)
        self.again = True
        failures += bad + write_normalised(scans, records, levels, out)
        self.room.give_back(last=True)
        return self._listed(scans, records, levels, failures)

    def what_fits(self) -> None:
        """List the scans that are done, on a disk that takes no more."""
        levels, _ = fitted(self.raw, self._own(), self.normalise, self.made.out)
        self.room.give_back()
        records = self._normalised(levels)
        self.room.give_back(last=True)
        # On a small disk the first scan may need the room of the tables.
        records = records or self._normalised(levels)
        new = not (self.made.out / MANIFEST).is_file()
        others = self.made.others(self.raw)
        scans = [*self.raw, *(scan for scan, _ in others)]
        while records:
            listed = records | {key_of(scan): record for scan, record in others}
            try:
                self._listed(scans, listed, levels, Failures())
                return
            except CannotWrite:
                # The manifest takes room, too: the last scan is normalised again the next time.
                _, record = records.popitem()
                if not new:
                    raise
                if record.normalised:
                    remove(self.made.out / record.normalised.image)

    def _normalised(self, levels: Mapping[str, Normalise]) -> Records:
        """The records of as many of this command's scans as the disk takes."""
        records: Records = {}
        scans = {key_of(scan): scan for scan in self.raw}
        for key, record in self._own().items():
            own = {key: record}
            try:
                write_normalised([scans[key]], own, levels, self.made.out)
            except CannotWrite:
                # An image that no record tells of; one of an earlier run stays.
                if record.normalised is None:
                    remove(normalised_path(scans[key], self.made.out))
                break
            records |= own
        return records

    def _own(self) -> Records:
        """Return the records of this command's scans; one of other files is of a failed scan."""
        out, own = self.made.out, {}
        for scan in self.raw:
            key = key_of(scan)
            if is_done(scan, self.stamps[key], out):
                known = self.records.get(key)
                if known is None or known.normalised is None:
                    known = read_record(record_path(scan, out))
                own[key] = known
        return own

    def _listed(
        self,
        scans: Sequence[RawScan],
        records: Records,
        levels: Mapping[str, Normalise],
        failures: Failures,
    ) -> Cohort:
        out, source = self.made.out, self.made.source
        records = {key: record for key, record in records.items() if record.normalised}
        normalised = [scan for scan in scans if key_of(scan) in records]
        steps = self.preparation
        if isinstance(steps, Preparation) and (atlas := steps.load_atlas()):
            failures += compare_with_mirror(records, atlas, out, self.limits.cohort_subjects)
        copies = copies_of(normalised)
        own = {key_of(scan) for scan in self.raw}
        rows: dict[Key, Scan] = {}
        for scan in normalised:
            key = key_of(scan)
            if key in records:
                with failures.catching(scan.subject, scan.image):
                    rows[key] = row_of(scan, records[key], out)
                    if key in own:
                        records[key] = replace(records[key], origin=self.made.origin(scan))
        # Scans of a source that does not go with the others stay out of their manifest.
        check_scans(list(rows.values()), out / MANIFEST)
        listed: list[Scan] = []
        sources = {str(source)}
        flags: dict[str, list[str]] = {}
        for key, row in rows.items():
            record = records[key]
            with failures.catching(row.subject, row.image):
                said = [*self.limits.flags(record.quality), *copies.get(key, ())]
                # Before the manifest: a command that overwrites it without these scans sees that
                # they came, and writes it again.
                write_record(record, out)
                listed.append(row)
                if said:
                    flags[record.name] = said
                if record.origin and key not in own:
                    sources.add(record.origin.source)
        everybody = write_list(out, "failures", ("subject", "reason"), failures, source)
        if not own & set(map(key_of, listed)):
            reason = failures[0][1] if failures else "no scan"
            raise InputError(f"{source}: no scan could be prepared; the first: {reason}")
        info = {
            "name": source.stem if len(sources) == 1 else out.name,
            "source": "; ".join(sorted(sources)),
            "recipe": {
                "steps": recipe_of(steps),
                "normalise": {name: recipe_of(how) for name, how in levels.items()},
                "limits": recipe_of(self.limits),
            },
            "flags": flags,
            "failures": everybody,
            **({"spaces": list(self.spaces)} if self.spaces else {}),
        }
        cohort = write_cohort(out, listed, info)
        return replace(cohort, info=info | {"failures": failures})


def row_of(scan: RawScan, record: ScanRecord, out: Path) -> Scan:
    """Return the row of a normalised scan in the manifest."""
    # The label of a 2D image is a NIfTI of ours.
    own = record.native_lesion_mask
    label = out / own if own else scan.lesion_mask
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=normalised_path(scan, out),
        brain_mask=out / record.brain_mask,
        lesion_mask=out / record.lesion_mask if record.lesion_mask else None,
        healthy=scan.healthy,
        split=scan.split,
        site=scan.site,
        pathology=scan.pathology,
        native_image=Path(record.native_image).absolute(),
        native_lesion_mask=label.absolute() if label else None,
        transform=out / record.transform if record.transform else None,
        warp=out / record.warp if record.warp else None,
        person=record.person,
    )
