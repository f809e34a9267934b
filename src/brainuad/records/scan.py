"""Record of a prepared scan: `scans/<subject>_<sequence>.json` of a cohort folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from brainuad.errors import InputError
from brainuad.records.fields import from_plain

VERSION = 2
"""Version of the file. Files of version 0 do not state theirs."""

DROPPED = ("native_axes", "space", "spacing_mm", "shape", "source_image")
"""Keys of versions 0 and 1 that no step reads."""

STEPS = ("skullstrip", "bias", "between", "atlas", "deform")
"""Steps of the preparation that report something, in their order."""


@dataclass(frozen=True)
class Step:
    """One step of the preparation.

    Attributes:
        seconds: duration.
        found: other values that the step reports, by name.
    """

    seconds: float
    found: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "Step":
        """Return the step that reports these values, its `seconds` among them."""
        found = {name: value for name, value in report.items() if name != "seconds"}
        return cls(report.get("seconds", 0.0), found)


@dataclass(frozen=True)
class Normalised:
    """Intensity normalisation of a scan.

    Attributes:
        image: normalised volume, relative to the cohort folder.
        stamp: fingerprint of the preparation and the normaliser.
        by: the normaliser, as text.
    """

    image: str
    stamp: str
    by: str


@dataclass(frozen=True)
class Origin:
    """Source of a scan, for other commands that prepare into the same cohort folder.

    Attributes:
        source: folder or table that the user gave, absolute.
        by: fingerprint of the steps and the normaliser; scans of one cohort have the same.
        image: the raw scan, absolute.
        lesion_mask: its label, absolute; None without one.
        healthy: whether the subject has no lesion.
        split: `train`, `val` or `test`.
        site: site of the acquisition.
        pathology: free text.
    """

    source: str
    by: str
    image: str
    lesion_mask: str | None
    healthy: bool
    split: str
    site: str
    pathology: str


@dataclass(frozen=True)
class ScanRecord:
    """Record of a scan: how it was prepared, and what was measured.

    Paths are relative to the cohort folder, but for those of raw scans.

    Attributes:
        subject: person, or a slice of one.
        sequence: `T1w`, `T2w`, `FLAIR`, ….
        image: prepared volume before normalisation.
        brain_mask: on the grid of `image`.
        lesion_mask: on the grid of `image`; None without a label.
        transform: way back to the native space; None where both share one.
        warp: displacement field on that way; None without one.
        native_image: raw scan as NIfTI, absolute.
        native_spacing_mm: voxel size of the raw scan.
        steps: step name to what it reports, for the steps that were taken.
        quality: measure name to its value, see `brainuad.preparation.quality.measures`.
        notes: oddities of the raw file, in words.
        sides_known: whether the raw header tells the left from the right.
        native_lesion_mask: label of a slice as NIfTI.
        person: whose slice it is; empty where `subject` is the person.
        stamp: fingerprint of the raw files and the preparation.
        compared: fingerprint of the scans that it was compared with, left and right.
        normalised: None until its intensities are normalised.
        origin: None until it is listed in the cohort.
        version: version of the file format.
    """

    subject: str
    sequence: str
    image: str
    brain_mask: str
    lesion_mask: str | None
    transform: str | None
    warp: str | None
    native_image: str
    native_spacing_mm: tuple[float, ...]
    steps: Mapping[str, Step] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sides_known: bool = True
    native_lesion_mask: str | None = None
    person: str = ""
    stamp: str = ""
    compared: str = ""
    normalised: Normalised | None = None
    origin: Origin | None = None
    version: int = VERSION

    @property
    def name(self) -> str:
        """Start of the names of its files."""
        return f"{self.subject}_{self.sequence}"

    @property
    def seconds(self) -> float:
        """Duration of all steps."""
        return sum(step.seconds for step in self.steps.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "ScanRecord":
        """Return the record of plain values, of this version or an older one.

        Args:
            values: content of the file.
            where: path of the file, for the message.

        Raises:
            InputError: not a record, or one of a newer version.
        """
        if not isinstance(values, dict) or not is_record(values):
            raise InputError(f"{where}: not the record of a prepared scan; prepare it again")
        version = values.get("version", 0)
        if version not in range(VERSION + 1):
            raise InputError(
                f"{where}: version {version!r:.20}, expected at most {VERSION}; update brainuad"
            )
        values = _from_version_0(values) if version == 0 else values
        values = {key: value for key, value in values.items() if key not in DROPPED}
        values["version"] = VERSION
        measured = values.get("quality")
        if isinstance(measured, dict):
            # JSON has no NaN: null stands for a measure that could not be taken.
            values["quality"] = {name: v for name, v in measured.items() if v is not None}
        try:
            for name, kind in (("normalised", Normalised), ("origin", Origin)):
                if values.get(name) is not None:
                    values[name] = from_plain(kind, values[name], f"{where}: {name}")
            if isinstance(steps := values.get("steps"), dict):
                values["steps"] = {
                    name: from_plain(Step, step, f"{where}: {name}") for name, step in steps.items()
                }
            return from_plain(cls, values, where)
        except InputError as error:
            raise InputError(f"{error}; prepare it again") from None


def is_record(values: Mapping[str, Any]) -> bool:
    """Return whether a JSON file beside a scan is a record; sidecars of BIDS are none."""
    return {"subject", "sequence", "image", "brain_mask"} <= values.keys()


def _from_version_0(values: Mapping[str, Any]) -> dict[str, Any]:
    """Group the keys of version 0: steps, normalisation and origin stood side by side."""
    new = dict(values)
    new["steps"] = {}
    for name in STEPS:
        report = new.pop(name, None)
        if isinstance(report, dict):
            new["steps"][name] = asdict(Step.of(report))
    image, stamp, how = (new.pop(name, None) for name in ("scan", "normalised", "normalise"))
    if image is not None and stamp is not None:
        new["normalised"] = {"image": image, "stamp": stamp, "by": how or ""}
    source, by, row = (new.pop(name, None) for name in ("source", "by", "row"))
    if isinstance(row, dict) and source is not None and by is not None:
        new["origin"] = {"source": source, "by": by, **row}
    return new
