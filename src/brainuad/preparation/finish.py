"""The end of a preparation: intensities, comparisons and the manifest of all that lies in a cohort.

Several commands may prepare scans into one cohort folder, see `brainuad.preparation.made`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad.cohorts.copies import copies_of
from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, read_cohort, write_cohort
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.sources import write_list
from brainuad.errors import CannotWrite, InputError
from brainuad.machine.files import remove, write_json
from brainuad.machine.guard import Failures, guarded
from brainuad.machine.read import read_json
from brainuad.machine.room import Room
from brainuad.preparation.made import Key, Made, is_done, key_of
from brainuad.preparation.normalise.cohort import (
    Records,
    fitted,
    normalised_path,
    record_path,
    write_normalised,
)
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality.left_right import compare_with_mirror
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.slices import SlicePreparation
from brainuad.settings.describe import recipe_of


@dataclass
class Finish:
    """Normalises, compares and lists the scans of a cohort; may be called again.

    Attributes:
        raw: scans of the command, with splits.
        preparation: their steps.
        normalise: of intensities.
        limits: of the quality flags.
        made: what lies in the cohort folder.
        stamps: scan to what decides its preparation.
        spaces: what was said of the scans' spaces.
        room: that is kept for all of this.
        again: whether scans of other sources came while it was at work.
        lost: whether another command, which did not know of a scan of this one yet, wrote the
            manifest meanwhile.
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
    lost: bool = False

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
        failures = [failure for failure in before if failure[0] in left]
        others = self.made.others(self.raw)
        scans = [*self.raw, *(scan for scan, _ in others)]
        if others:
            # In one order, whichever command comes last.
            scans.sort(key=key_of)
        records: Records = own | {key_of(scan): record for scan, record in others}
        levels, bad = fitted(scans, records, self.normalise, out)
        if self.again and any(how != self.normalise for how in levels.values()):
            # Two commands that learned from other scans may have written the same file.
            for record in records.values():
                record.pop("normalised", None)
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
                self._listed(scans, listed, levels, [])
                return
            except CannotWrite:
                # The manifest takes room, too: the last scan is normalised again the next time.
                _, record = records.popitem()
                if not new:
                    raise
                remove(self.made.out / record["scan"])

    def _normalised(self, levels: Mapping[str, Normalise]) -> Records:
        """The records of as many of this command's scans as the disk takes."""
        records: Records = {}
        scans = {key_of(scan): scan for scan in self.raw}
        for key, record in self._own().items():
            scan = scans[key]
            new = "scan" not in record
            try:
                write_normalised([scan], {key: record}, levels, self.made.out)
            except CannotWrite:
                # An image that no record tells of; one of an earlier run stays.
                if new:
                    remove(normalised_path(scan, self.made.out))
                break
            records[key] = record
        return records

    def _own(self) -> Records:
        """The records of this command's scans; one of other files is of a scan that failed."""
        out = self.made.out
        return {
            key_of(scan): read_json(record_path(scan, out), "delete it and prepare it again")
            for scan in self.raw
            if is_done(scan, self.stamps[key_of(scan)], out)
        }

    def _listed(
        self,
        scans: Sequence[RawScan],
        records: Records,
        levels: Mapping[str, Normalise],
        failures: Failures,
    ) -> Cohort:
        out, source = self.made.out, self.made.source
        normalised = [scan for scan in scans if "scan" in records.get(key_of(scan), {})]
        steps = self.preparation
        if isinstance(steps, Preparation) and (atlas := steps.load_atlas()):
            compared = [records[key_of(scan)] for scan in normalised]
            failures += compare_with_mirror(compared, atlas, out, self.limits.cohort_subjects)
        copies = copies_of(normalised)
        done: dict[Key, tuple[RawScan, Scan]] = {}
        flags: dict[str, list[str]] = {}
        for scan in normalised:
            key, record = key_of(scan), records[key_of(scan)]
            if "scan" not in record:
                continue
            with guarded(failures, scan.subject, scan.image):
                said = [*self.limits.flags(record["quality"]), *copies.get(key, ())]
                done[key] = scan, row_of(scan, record, out)
                if said:
                    flags["_".join(key)] = said
        own = {key_of(scan) for scan in self.raw}
        everybody = write_list(out, "failures", ("subject", "reason"), failures, source)
        if not own & done.keys():
            reason = failures[0][1] if failures else "no scan"
            raise InputError(f"{source}: no scan could be prepared; the first: {reason}")
        sources = sorted({str(source), *(records[key]["source"] for key in done.keys() - own)})
        info = {
            "name": source.stem if len(sources) == 1 else out.name,
            "source": "; ".join(sources),
            "recipe": {
                "steps": recipe_of(steps),
                "normalise": {name: recipe_of(how) for name, how in levels.items()},
                "limits": recipe_of(self.limits),
            },
            "flags": flags,
            "failures": everybody,
            **({"spaces": list(self.spaces)} if self.spaces else {}),
        }
        cohort = write_cohort(out, [row for _, row in done.values()], info)
        # Last, so that the scans of a source that does not go with the others stay out of theirs.
        self.lost = False
        for key, (scan, _) in done.items():
            if key in own and (noted := self.made.noted(records[key], scan)) != records[key]:
                write_json(record_path(scan, out), noted)
                self.lost = True
        # Who writes from now on has seen the records.
        self.lost = self.lost and not done.keys() <= set(map(key_of, read_cohort(out).scans))
        return replace(cohort, info=info | {"failures": failures})


def row_of(scan: RawScan, record: dict[str, Any], out: Path) -> Scan:
    """Return the row of a prepared scan in the manifest."""
    # The label of a 2D image is a NIfTI of ours.
    own = record.get("native_lesion_mask")
    label = out / own if own else scan.lesion_mask
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=out / record["scan"],
        brain_mask=out / record["brain_mask"],
        lesion_mask=out / record["lesion_mask"] if record["lesion_mask"] else None,
        healthy=scan.healthy,
        split=scan.split,
        site=scan.site,
        pathology=scan.pathology,
        native_image=Path(record["native_image"]).absolute(),
        native_lesion_mask=label.absolute() if label else None,
        transform=out / record["transform"] if record["transform"] else None,
        warp=out / record["warp"] if record["warp"] else None,
        person=record.get("person", ""),
    )
