"""Which runs the benchmark is made of, from `settings.yaml`."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from brainuad.errors import InputError
from experiments.runs import ROOT, finished, train_command

SETTINGS = Path(__file__).with_name("settings.yaml")
REAL_DATA = "BRAINUAD_REAL_DATA"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        cohort: its name in the settings.
        method: its name there, and in the tables.
        sequence: of the scans.
        seed: of the training.
        learns: whether there is something to train.
        out: the folder, relative to the repository where it lies in it.
        experiment: of `train.py`.
        options: of the run, `key=value`.
        prepare: the function of `cohorts.py` that makes its cohort; empty for none.
        model_of: the run whose model is tested here; None to train one.
        trained_as: the run whose model is scored here in another way; None to train one.
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
        """For people."""
        return f"{self.cohort}/{self.method}/{self.sequence}-{self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether it needs no more work."""
        return finished(ROOT / self.out)

    def command(self, source: Path | None) -> list[str]:
        """What trains it.

        Args:
            source: its cohort folder, where it is a prepared one.

        Raises:
            InputError: another method's model is to be scored, and is not there yet.
        """
        given = [] if source is None else [f"data.source={source}"]
        if self.trained_as is not None:
            if not finished(ROOT / self.trained_as):
                raise InputError(f"{self.trained_as}: not finished, and its model is scored here")
            given.append(f"ckpt={self.trained_as / 'checkpoints' / 'last.ckpt'}")
        return train_command(
            self.experiment, self.out, self.sequence, self.seed, [*given, *self.options]
        )


@dataclass(frozen=True)
class Plan:
    """The runs, in the order in which they are done.

    Attributes:
        runs: of all cohorts that can be run here.
        skipped: cohort to the reason why it is left out.
        settings: what they were made from.
        folder: of the run folders.
    """

    runs: tuple[Run, ...]
    skipped: dict[str, str]
    settings: dict[str, Any]
    folder: Path


def read_settings(path: Path = SETTINGS) -> dict[str, Any]:
    """The settings file as plain values.

    Raises:
        InputError: it is not there, no YAML, or lacks a part.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as settings ({error})") from None
    parts = ("baseline", "methods", "sizes", "cohorts")
    lacking = [part for part in parts if not isinstance(found, dict) or not found.get(part)]
    if lacking:
        raise InputError(f"{path}: has no {', '.join(lacking)}; see {SETTINGS}")
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
    """The runs of a size: every method on every cohort, sequence and seed.

    Args:
        settings: of `read_settings`.
        size: `small` or `full`, or another one of the settings.
        cohorts: only these; all for none, and so for the next three.
        methods: only these.
        sequences: only these.
        seeds: instead of the size's own.
        options: more `key=value` for every run, behind the settings' own.
        folder: of the run folders, instead of the size's own.
        only_read: nothing is to be run: a cohort counts whose data are gone, if it has run folders.

    Raises:
        InputError: a name that the settings do not have.
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
        read = only_read and (ROOT / folder / name).is_dir()
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


def cohort_folder(
    run: Run, folder: Path, makers: Mapping[str, Callable[[Path, Path], Path]]
) -> Path | None:
    """The prepared cohort of a run, made at the first call; None where `train.py` has its own.

    Args:
        run: of a plan.
        folder: of the plan.
        makers: name to a function from the real data and a folder to the cohort in it.
    """
    if not run.prepare:
        return None
    return makers[run.prepare](Path(os.environ.get(REAL_DATA, "")), ROOT / folder / "cohorts")


def _chosen(kind: str, names: Sequence[str], known: dict[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in known:
            raise InputError(f"there is no {kind} {name}; choose of {', '.join(known)}")
    return {name: value for name, value in known.items() if not names or name in names}


def _with_second_readings(
    methods: Mapping[str, Any], size: str, again: Sequence[str]
) -> dict[str, Any]:
    """The methods, and `<method>_common` behind each published one.

    That is the model of the published preset, scored with the options `again`. Other experiments
    have the common chain anyway.
    """
    lines: dict[str, Any] = {}
    for method, line in methods.items():
        lines[method] = line
        if again and line.get(size, "").partition(" ")[0].endswith("_paper"):
            words = " ".join([line[size], *again])
            lines[f"{method}_common"] = {**line, size: words, "of": line.get("of", method)}
    return lines


def _lacking(cohort: dict[str, Any]) -> str:
    """What a cohort needs and is not here."""
    if cohort.get("real") and not os.environ.get(REAL_DATA):
        return f"{REAL_DATA} is not set to the folder of real scans"
    needs = cohort.get("needs")
    if needs and not (ROOT / needs).exists():
        return f"{needs} is not there; its configuration in configs/data says how it is made"
    return ""


def _relative(path: Path) -> Path:
    """Runs start in the repository's root, and tables shall not name the folders above it."""
    path = path.absolute() if path.is_absolute() else ROOT / path
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
