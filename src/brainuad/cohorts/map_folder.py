"""A folder of maps, one set per subject, with a record of the model that made them."""

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from brainuad.errors import InputError
from brainuad.machine.files import remove, write_json
from brainuad.machine.read import read_json
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume

KINDS = ("anomaly", "reconstruction", "uncertainty", "input", "mask")
"""Maps of a subject: `SUBJECT_KIND.nii.gz`, on the grid of the prepared scan."""


@dataclass(frozen=True)
class MapFolder:
    """Anomaly maps and what belongs to them; `maps.json` is there where brainuad made them.

    Attributes:
        path: folder.
    """

    path: Path

    def file(self, subject: str, kind: str = "anomaly") -> Path:
        """Return the place of a subject's map, which may not be there yet."""
        return self.path / f"{subject}_{kind}.nii.gz"

    def has(self, subject: str) -> bool:
        """Return whether the subject is done: its anomaly map is written last."""
        return self.file(subject).is_file()

    def map(self, subject: str) -> Volume:
        """Read a subject's anomaly map; other programs may write `.nii` as well.

        Raises:
            InputError: no map, two of them, or an unreadable one.
        """
        packed = self.file(subject)
        plain = packed.with_suffix("")
        if packed.is_file() and plain.is_file():
            raise InputError(f"{packed}: there is {plain.name} as well; keep one map per subject")
        return read_volume(plain if plain.is_file() else packed)

    def read(self, subject: str, kind: str) -> Volume | None:
        """Read another map of a subject; None where there is none."""
        path = self.file(subject, kind)
        return read_volume(path) if path.is_file() else None

    @property
    def record(self) -> Path:
        """Name of the file with the fingerprint of the model."""
        return self.path / "maps.json"

    @property
    def trained_on(self) -> set[str]:
        """Subjects that the model of these maps was trained on; empty for foreign maps."""
        if not self.record.is_file():
            return set()
        return set(read_json(self.record, "make the maps again").get("trained_on") or ())

    @property
    def stamp(self) -> str | None:
        """Return the fingerprint of the model and the scans; None if it cannot be read."""
        with contextlib.suppress(InputError):
            return str(read_json(self.record).get("stamp")) if self.record.is_file() else None
        # Damaged: the maps are made anew.
        return None

    def begin(self, stamp: str, subjects: Iterable[str], trained_on: Collection[str]) -> None:
        """Remove the maps of another model or of other scans, and record the present ones."""
        if self.stamp != stamp:
            self.clear(subjects)
            self.describe(stamp, trained_on)

    def describe(self, stamp: str, trained_on: Collection[str]) -> None:
        """Record the fingerprint of the maps, and who must not be scored with them."""
        write_json(self.record, {"stamp": stamp, "trained_on": sorted(trained_on)})

    def clear(self, subjects: Iterable[str]) -> None:
        """Remove the maps of subjects, all maps if `maps.json` is there, and the empty folder."""
        names = list(subjects)
        for kind in KINDS:
            own = [self.file(subject, kind) for subject in names]
            for path in self.path.glob(f"*_{kind}.nii.gz") if self.record.is_file() else own:
                remove(path)
        remove(self.record)
        # A folder that holds something else stays.
        with contextlib.suppress(OSError):
            self.path.rmdir()
