"""Record of a run: `provenance.json` of a run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from brainuad.records.fields import from_plain, known_values

VERSION = 1
"""Version of the file. Files of version 0 do not state theirs."""


@dataclass(frozen=True)
class CohortIdentity:
    """The cohort of a run.

    Attributes:
        name: name of the cohort.
        path: its folder, absolute.
        split_hash: hash of its splits.
    """

    name: str = ""
    path: str | None = None
    split_hash: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """The model file of a run.

    Attributes:
        path: relative to the run folder.
        sha256: hash of the weights.
    """

    path: str = ""
    sha256: str = ""


@dataclass
class RunRecord:
    """Command, data, durations and failures of a run. The run fills it in as it proceeds.

    Attributes:
        command: as it was typed.
        commit: commit of the checkout; None for an installed package.
        dirty: whether the checkout had changes that were not committed.
        versions: package to version.
        python: version of Python.
        platform: operating system.
        device: name of the GPU, or `cpu`.
        threads: threads of a process.
        seed: seed of the training.
        precision: precision of `training` and `detection`.
        method: name of the method.
        sequence: sequence of the scans, or one per channel.
        cohort: the cohort.
        parameters: number of trainable parameters.
        time_started: local time, ISO 8601.
        fit_s: seconds until the model was trained.
        duration_s: seconds of the whole run.
        ranks: number of processes.
        wall_time_per_volume_s: mean seconds of a detection.
        peak_memory_bytes: largest memory of the process, on its GPU where it used one.
        checkpoint: the model file.
        painted: mean average precision of painted lesions, see `brainuad.label_free.objective`.
        notes: remarks for the reader, in words.
        error: error that stopped the run.
        failures: subject and reason of what could not be done.
    """

    command: str = ""
    commit: str | None = None
    dirty: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    platform: str = ""
    device: str = ""
    threads: int | None = None
    seed: int | None = None
    precision: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    sequence: str | Sequence[str] = ""
    cohort: CohortIdentity = field(default_factory=CohortIdentity)
    parameters: int | None = None
    time_started: str = ""
    fit_s: float | None = None
    duration_s: float | None = None
    ranks: int | None = None
    wall_time_per_volume_s: float | None = None
    peak_memory_bytes: int | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    painted: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    failures: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the version; what is not known is left out."""
        usual = asdict(RunRecord())
        said = {key: value for key, value in asdict(self).items() if value != usual[key]}
        return {"version": VERSION, **said, "failures": list(self.failures)}

    @classmethod
    def from_json(cls, values: Any, where: str) -> "RunRecord":
        """Return the record in a file; keys of other versions are left out.

        Args:
            values: as they were read; a stranger may have written them.
            where: file, for the message.

        Raises:
            InputError: no object, or a value of another type.
        """
        known = known_values(cls, values, where)
        for name, kind in (("cohort", CohortIdentity), ("checkpoint", Checkpoint)):
            if isinstance(own := known.get(name), Mapping):
                place = f"{where}: {name}"
                known[name] = from_plain(kind, known_values(kind, own, place), place)
        return from_plain(cls, known, where)
