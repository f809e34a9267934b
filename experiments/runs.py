"""Runs of train.py, and what else a trained model can be asked, for the studies beside it."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brainuad.cohorts.manifest import Cohort, read_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.maps import fill
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model

ROOT = Path(__file__).parents[1]


def train_command(
    experiment: str, out: Path, sequence: str, seed: int, options: Sequence[str]
) -> list[str]:
    """The command of a run; the same command again goes on where it was interrupted."""
    command = [sys.executable, "train.py", f"experiment={experiment}", f"data.sequence={sequence}"]
    return [*command, f"seed={seed}", f"paths.output_dir={out}", "ckpt=last", *options]


def finished(out: Path) -> bool:
    """Whether a run came to its end: the report is the last that it writes."""
    return (out / "report.html").is_file()


def train(experiment: str, out: Path, sequence: str, seed: int, options: Sequence[str]) -> None:
    """One run of a shipped experiment; goes on where it was interrupted."""
    if not finished(out):
        command = train_command(experiment, out, sequence, seed, options)
        subprocess.run(command, check=True, cwd=ROOT)


def embedded(checkpoint: Path) -> Cohort:
    """The embedded cohort that a model was trained on."""
    name = read_checkpoint(checkpoint)["brainuad"]["cohort"]
    return read_cohort(next((ROOT / "cache" / "cohorts").glob(f"{name}*")))


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
    """Scores what `load` makes of the run's model, into the folder that is returned."""
    out = run / "variants" / name
    if (out / "scores.csv").is_file():
        return out
    model = load(run / "model.ckpt").on_device()
    scans = [*cohort.select("val", sequence), *cohort.select("test", sequence)]
    fill(MapFolder(out / "maps"), scans, model, [], name)
    command = [sys.executable, "evaluate.py", f"maps='{out / 'maps'}'", f"name='{name}'"]
    command += ["data=folder", f"data.source={cohort.root}", f"data.sequence={sequence}"]
    command += ["controls=none", f"paths.output_dir='{out}'", *options]
    subprocess.run(command, check=True, cwd=ROOT)
    return out
