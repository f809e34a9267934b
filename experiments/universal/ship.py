"""Puts a trained model of experiment=universal into the package.

    python -m experiments.universal.ship runs/universal/FLAIR-0 --scores experiments/real

writes `src/brainuad/shipped/universal-FLAIR.zip` and its entry in `models.json`: weights as
float16, hash, size, and the scores on people that `python -m experiments.real` measured. The
statistics of the synthetic training scans are left out: they would flag every real one.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from brainuad.machine.files import write_json
from brainuad.machine.read import read_json
from brainuad.model.export import export_model
from brainuad.model.model_file import read_card
from brainuad.preparation.recipes import changed, default
from brainuad.shipped import DEFAULT, FOLDER, INDEX

SOURCE = (
    "experiment=universal on synthetic scans of 10 of the 14 label maps at hand of SynthSeg's "
    "training set, with lesion shapes of SOOP and of the Ljubljana 3D-MR-MS set"
)
DATA = "Apache-2.0 (label maps), CC0 (SOOP), CC BY 4.0 (Ljubljana)"
LICENCE = "Apache-2.0"
PREPARATION = {"T1w": ["preparation.steps.bias.iterations=[40,40,30,20]"]}
"""Changes of the default one. A T1w lesion has grey matter's value: what is left of a bias field
hides it, so the field may be less smooth (METHODS_MORE.md, section 9.8)."""

UNTESTED = {"FLAIR": ["PDw"]}
"""Further sequences that a model takes: on synthetic PD scans FLAIR's does best (synthetic.md)."""

METRICS = {"AP": "AP", "Dice, fixed": "Dice"}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder of the training")
    parser.add_argument("--scores", type=Path, help="folder of tables, a folder a cohort")
    arguments = parser.parse_args(argv)
    name = arguments.run.name.partition("-")[0]
    path = FOLDER / f"{DEFAULT}-{name}.zip"
    # Names and measures of synthetic scans say nothing of people.
    nobody: dict[str, Any] = {
        "subjects": {},
        "statistics": None,
        "cohort": "synthetic scans",
        "about": SOURCE,
    }
    if name in PREPARATION:
        spacing = read_card(arguments.run).run["data"]["spacing_mm"]
        nobody["preparation"] = changed(default(spacing), PREPARATION[name]).to_json()
    card = export_model(arguments.run, path, LICENCE, half=True, **nobody)
    content = path.read_bytes()
    entry = {
        "name": DEFAULT,
        "sequence": card.sequence,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "source": SOURCE,
        "data_licence": DATA,
        "licence": LICENCE,
        "scores": {} if arguments.scores is None else measured(arguments.scores, card.sequence),
    }
    if name in UNTESTED:
        entry["untested"] = UNTESTED[name]
    others = [one for one in read_json(INDEX)["models"] if one["file"] != path.name]
    models = sorted([*others, entry], key=lambda one: one["file"])
    write_json(INDEX, {"models": models})
    print(f"{path}: {len(content) / 1e6:.2f} MB")
    return 0


def measured(folder: Path, sequence: str) -> dict[str, dict[str, float]]:
    """Means over the people of each cohort of a sequence: AP, Dice at 0.5, and how many people."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*/results.csv")):
        table = pd.read_csv(path)
        own = table[(table.method == DEFAULT) & (table.sequence == sequence)]
        own = own[own.metric.isin(METRICS)]
        for row in own[own.group == "all"].itertuples():
            cohort = found.setdefault(f"{row.cohort} {row.sequence}", {"people": int(row.n)})
            cohort[METRICS[row.metric]] = round(float(row.mean), 3)
    return found


if __name__ == "__main__":
    sys.exit(main())
