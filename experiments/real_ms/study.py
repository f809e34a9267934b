"""The intensity baseline on real multiple sclerosis, scored in each scan's native space.

    BRAINUAD_REAL_DATA=FOLDER python experiments/real_ms/study.py

writes `results.md` and `<sequence>/scores.csv` and `lesions.csv` beside this file.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from brainuad.benchmark.tables import write_results
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.inference.maps import fill
from brainuad.machine import provenance
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.methods.intensity import IntensityDetector
from brainuad.model.model import Model
from brainuad.postprocess.components import RemoveSmall
from brainuad.postprocess.erode import ErodeBrainMask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.smooth import Median
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.preparation.from_folder import folder_cohort
from brainuad.records.run import RunRecord
from brainuad.reporting.tables import COMPANIONS, SHOWN, summary_rows, to_markdown
from brainuad.volumes.tiling import VolumeTiling

HERE = Path(__file__).parent
FILES = {"FLAIR": "FLAIR", "T2w": "T2", "T1w": "T1"}
THRESHOLD = 0.99
"""Threshold of equalised intensity: 1 % of every brain is above it, without a fit."""

CHAINS = {
    "raw map": Postprocess([], HealthyThreshold(), []),
    "as postprocess=default": Postprocess(
        [Median(5.0), ErodeBrainMask(3.0)], HealthyThreshold(), [RemoveSmall(50.0)]
    ),
}
INTRODUCTION = """# Results

Written by `study.py`; do not edit. Two patients, so read the tables as a worked case, not as an
estimate. There is no healthy scan of these sequences from this scanner, so the healthy threshold
is not fitted: 0.99 is what fits every brain whose intensities are equalised, before
post-processing.
"""


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        sys.exit("BRAINUAD_REAL_DATA is not set: give the folder of real scans")
    text = INTRODUCTION
    for sequence in FILES:
        with tempfile.TemporaryDirectory() as folder:
            text += f"\n## {sequence}\n" + score(Path(root), sequence, Path(folder))
    write_text(HERE / "results.md", text)
    print(text)


def score(root: Path, sequence: str, folder: Path) -> str:
    """Prepares, detects and scores one sequence; the tables of both chains."""
    rows = [
        {
            "subject": patient.name.replace(" ", "_"),
            "image": patient / f"{FILES[sequence]}.nii.gz",
            "lesion_mask": patient / "GOLD_STANDARD.nii.gz",
            "sequence": sequence,
            "pathology": "ms",
            "healthy": "false",
            "split": "test",
        }
        for patient in sorted((root / "openms_mni_1mm").iterdir())
    ]
    pd.DataFrame(rows).to_csv(folder / "openms.csv", index=False)
    cohort = folder_cohort(folder / "openms.csv", folder / "cache", sequence, spacing_mm=1.0)
    scans = cohort.select("test", sequence)
    maps = folder / "maps"
    failures = Failures()
    control = Model(IntensityDetector(), None, VolumeTiling())
    fill(MapFolder(maps), scans, control, failures, "intensity")
    text = ""
    for title, chain in CHAINS.items():
        found = evaluate_maps(
            cohort, sequence, {"intensity": maps}, chain, thresholds={"intensity": THRESHOLD}
        )
        if bad := [*failures, *found.failures]:
            sys.exit(f"could not be scored: {bad}")
        text += f"\n{title}:\n"
        for columns in (SHOWN, COMPANIONS):
            header, cells = summary_rows(found.summary, columns=columns)
            kept = [i for i, cell in enumerate(cells[0]) if i == 0 or cell != "–"]
            table = [[row[i] for i in kept] for row in cells]
            text += "\n" + to_markdown([header[i] for i in kept], table)
        part = found.scores[found.scores.metric.isin(["auprc", "lesion_ml"])]
        wide = part.pivot_table(index=["subject", "contrast"], columns="metric", values="value")
        wide = wide.reset_index().round(3).astype(str)
        text += "\nEach patient:\n\n" + to_markdown(list(wide.columns), wide.to_numpy().tolist())
        if title == "as postprocess=default":
            out = HERE / sequence
            shutil.rmtree(out, ignore_errors=True)
            write_evaluation(found, out, RunRecord(**provenance.describe()))
            shutil.rmtree(out / "false_positives", ignore_errors=True)
            for name in ("curves.npz", "summary.json"):
                (out / name).unlink()
            for path in out.glob("*.csv"):
                write_results(path, pd.read_csv(path))
    return text


if __name__ == "__main__":
    main()
