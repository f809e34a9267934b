"""Runs of `brainuad-train`, and scores of a trained model that was changed.

Relative paths start in the working directory, as they do for every command.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brainuad.cohorts.manifest import Cohort, read_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.maps import fill
from brainuad.machine.failures import Failures
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model


def program(name: str) -> str:
    """Return the path of a console command of this environment, such as `brainuad-train`."""
    return str(Path(sys.executable).with_name(f"brainuad-{name}"))


def train_command(
    experiment: str, out: Path, sequence: str, seed: int, options: Sequence[str]
) -> list[str]:
    """Return the command of a run; repeating it continues an interrupted run."""
    words = [f"experiment={experiment}", f"data.sequence={sequence}", f"seed={seed}"]
    return [program("train"), *words, f"paths.output_dir={out}", "ckpt=last", *options]


def finished(out: Path) -> bool:
    """Return whether a run is complete; the report is the last file that it writes."""
    return (out / "report.html").is_file()


def train(experiment: str, out: Path, sequence: str, seed: int, options: Sequence[str]) -> None:
    """Train a shipped experiment, or continue it, unless it is finished."""
    if not finished(out):
        subprocess.run(train_command(experiment, out, sequence, seed, options), check=True)


def embedded(checkpoint: Path) -> Cohort:
    """Return the embedded cohort that a model was trained on."""
    name = read_checkpoint(checkpoint)["brainuad"]["cohort"]
    return read_cohort(next(Path("cache/cohorts").glob(f"{name}*")))


def changed(checkpoint: Path, options: dict[str, Any]) -> Model:
    """Return a trained model with other options of detection."""
    return Model.load(checkpoint).with_options(options)


def variant(
    run: Path,
    name: str,
    cohort: Cohort,
    sequence: str,
    load: Callable[[Path], Model],
    options: Sequence[str] = (),
) -> Path:
    """Score a changed model of a run in a folder of its own, once.

    Args:
        run: run folder.
        name: method name in the scores, and name of the folder.
        cohort: cohort whose validation and test scans are scored.
        sequence: sequence of the scans.
        load: returns the changed model from the checkpoint.
        options: further words of `brainuad-evaluate`.

    Returns:
        The folder with `scores.csv`.
    """
    out = run / "variants" / name
    if (out / "scores.csv").is_file():
        return out
    model = load(run / "model.ckpt").on_device()
    scans = [*cohort.select("val", sequence), *cohort.select("test", sequence)]
    fill(MapFolder(out / "maps"), scans, model, Failures(), name)
    command = [program("evaluate"), f"maps='{out / 'maps'}'", f"name='{name}'"]
    command += ["data=folder", f"data.source={cohort.root}", f"data.sequence={sequence}"]
    command += ["controls=none", f"paths.output_dir='{out}'", *options]
    subprocess.run(command, check=True)
    return out
