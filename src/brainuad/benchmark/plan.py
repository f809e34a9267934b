"""The runs of a benchmark, from its settings file."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from brainuad.benchmark.runs import finished, train_command
from brainuad.errors import InputError

Maker = Callable[[Path, Path], Path]
"""Makes a cohort: from the folder of real scans and the folder of cohorts to the cohort folder."""

REAL_DATA = "BRAINUAD_REAL_DATA"
"""Environment variable with the folder of real scans."""


@dataclass(frozen=True)
class Run:
    """One training, or one test of a trained model, in a run folder.

    Attributes:
        cohort: name of the cohort in the settings.
        method: name of the method in the settings and tables.
        sequence: sequence of the scans.
        seed: seed of the training.
        learns: whether there is something to train.
        out: run folder, relative to the working directory if it is inside.
        experiment: name of a shipped experiment.
        options: `key=value` words of the run.
        prepare: name of the function that makes the cohort; empty for none.
        model_of: run folder whose model is tested here; None to train one.
        trained_as: run folder whose model is scored with other options; None to train one.
    """

    cohort: str
    method: str
    sequence: str
    seed: int
    learns: bool
    out: Path
    experiment: str
    options: tuple[str, ...]
    prepare: str = ""
    model_of: Path | None = None
    trained_as: Path | None = None

    @property
    def name(self) -> str:
        """Return the name of the run in tables and messages."""
        return f"{self.cohort}/{self.method}/{self.sequence}-{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Return whether the run is complete."""
        return finished(self.out)

    def command(self, source: Path | None) -> list[str]:
        """Return the command that trains and scores.

        Args:
            source: cohort folder, if `prepare` makes one.

        Raises:
            InputError: the model of `trained_as` is not there yet.
        """
        given = [] if source is None else [f"data.source={source}"]
        if self.trained_as is not None:
            if not finished(self.trained_as):
                raise InputError(f"{self.trained_as}: not finished, and its model is scored here")
            given.append(f"ckpt={self.trained_as / 'checkpoints' / 'last.ckpt'}")
        return train_command(
            self.experiment, self.out, self.sequence, self.seed, [*given, *self.options]
        )


@dataclass(frozen=True)
class Plan:
    """The runs, in the order of execution.

    Attributes:
        runs: runs of all cohorts whose data are there.
        skipped: names of the other cohorts, with the reason.
        settings: settings that the plan follows.
        folder: parent of the run folders.
    """

    runs: tuple[Run, ...]
    skipped: dict[str, str]
    settings: dict[str, Any]
    folder: Path


def read_settings(path: Path) -> dict[str, Any]:
    """Read a settings file as plain values.

    Raises:
        InputError: the file is not there, is no YAML, or lacks a part.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as settings ({error})") from None
    parts = ("baseline", "methods", "sizes", "cohorts")
    lacking = [part for part in parts if not isinstance(found, dict) or not found.get(part)]
    if lacking:
        raise InputError(f"{path}: has no {', '.join(lacking)}; see docs/benchmark.md")
    return found


def make_plan(
    settings: dict[str, Any],
    size: str,
    *,
    cohorts: Sequence[str] = (),
    methods: Sequence[str] = (),
    sequences: Sequence[str] = (),
    seeds: Sequence[int] = (),
    options: Sequence[str] = (),
    folder: Path | None = None,
    only_read: bool = False,
) -> Plan:
    """Return the runs of a size: every method on every cohort, sequence and seed.

    Args:
        settings: content of a settings file.
        size: name of a size in the settings.
        cohorts: names of the cohorts; all if empty, as for the next two.
        methods: names of the methods.
        sequences: names of the sequences.
        seeds: seeds in place of the size's own.
        options: more `key=value` words for every run, after those of the settings.
        folder: parent of the run folders, in place of the size's own.
        only_read: keep a cohort whose data are gone if it has run folders.

    Raises:
        InputError: a name is not in the settings.
    """
    of_size = _chosen("size", [size], settings["sizes"])[size]
    folder = _relative(folder or Path(of_size["runs"]))
    known = {s for cohort in settings["cohorts"].values() for s in cohort.get("sequences", ())}
    wanted = _chosen("sequence", sequences, dict.fromkeys(sorted(known)))
    chosen_methods = _chosen("method", methods, settings["methods"])
    chosen = _chosen("cohort", cohorts, settings["cohorts"])
    runs, skipped = [], {}
    for name, cohort in chosen.items():
        if "pool" in cohort:
            continue
        read = only_read and (folder / name).is_dir()
        if (reason := _lacking(cohort)) and not read:
            skipped[name] = reason
            continue
        present = [s for s in cohort["sequences"] if s in wanted]
        lines = _with_second_readings(chosen_methods, size, of_size.get("again", []))
        for sequence, (method, line) in product(present, lines.items()):
            if method in cohort.get("without", ()):
                continue
            if size not in line:
                raise InputError(f"method {method} has no experiment of size {size}; add one")
            experiment, *own = line[size].split()
            here = cohort.get("methods", {}).get(method, {}).get(size, [])
            learns = line.get("learns", True)
            all_seeds = list(seeds) or of_size["seeds"]
            # In this order: what is behind overrides what is before it.
            words = [*of_size["options"], *cohort.get("options", []), *own, *here, *options]
            for seed in all_seeds if learns else all_seeds[:1]:
                place = Path(method) / f"{sequence}-{seed}"
                trained = cohort.get("models_of")
                tested = folder / trained / place if trained else None
                if "model" in line:
                    tested = Path(line["model"]) / place.name
                other = None if tested else line.get("of")
                runs.append(
                    Run(
                        name,
                        method,
                        sequence,
                        seed,
                        learns,
                        folder / name / place,
                        experiment,
                        (f"name={method}", "controls=none", *words),
                        cohort.get("prepare", ""),
                        tested,
                        folder / name / other / place.name if other else None,
                    )
                )
    return Plan(tuple(runs), skipped, settings, folder)


def cohort_folder(run: Run, folder: Path, makers: Mapping[str, Maker]) -> Path | None:
    """Return the prepared cohort of a run, made at the first call; None if the run makes its own.

    Args:
        run: run of a plan.
        folder: parent of the run folders.
        makers: functions that make cohorts, by name.

    Raises:
        InputError: there is no function of that name.
    """
    if not run.prepare:
        return None
    if run.prepare not in makers:
        known = ", ".join(makers)
        raise InputError(f"{run.cohort}: prepare={run.prepare} is unknown; choose of {known}")
    real = Path(os.environ.get(REAL_DATA, ""))
    return makers[run.prepare](real, (folder / "cohorts").absolute())


def _chosen(kind: str, names: Sequence[str], known: dict[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in known:
            raise InputError(f"there is no {kind} {name}; choose of {', '.join(known)}")
    return {name: value for name, value in known.items() if not names or name in names}


def _with_second_readings(
    methods: Mapping[str, Any], size: str, again: Sequence[str]
) -> dict[str, Any]:
    """Return the methods, with `<method>_common` after each published preset.

    `<method>_common` is the model of the preset, scored with the options `again`. Other experiments
    use the common post-processing anyway.
    """
    lines: dict[str, Any] = {}
    for method, line in methods.items():
        lines[method] = line
        if again and line.get(size, "").partition(" ")[0].endswith("_paper"):
            words = " ".join([line[size], *again])
            lines[f"{method}_common"] = {**line, size: words, "of": line.get("of", method)}
    return lines


def _lacking(cohort: dict[str, Any]) -> str:
    """Return the reason why a cohort cannot be run here; empty if it can."""
    if cohort.get("real") and not os.environ.get(REAL_DATA):
        return f"{REAL_DATA} is not set to the folder of real scans"
    needs = cohort.get("needs")
    if needs and not Path(needs).exists():
        return f"{needs} is not there; its configuration in configs/data says how it is made"
    return ""


def _relative(path: Path) -> Path:
    """Return the path from the working directory, so that tables do not name folders above it."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
