"""MAD-AD on real T1: trained on healthy slabs, tested on painted and on real lesions.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.madad_real_t1.study

takes the cohort of `experiments/strega_painted` (45 healthy slabs at the level of the basal
ganglia; fold 0: 15 subjects with a painted anomaly to test on), adds that level of the real T1 of
a glioma and of two multiple sclerosis patients, trains, and writes `results.md` and `results.csv`
beside this file.
"""

import argparse
import os
import subprocess
from pathlib import Path

import pandas as pd

from brainuad.benchmark.groups import read_subjects
from brainuad.benchmark.madad_parts import CONTROLS
from brainuad.benchmark.runs import program, variant
from brainuad.benchmark.slabs import RIM, deal, prepare, with_real_lesions
from brainuad.benchmark.tables import write_results
from brainuad.cohorts.manifest import read_cohort
from brainuad.metrics.statistics import paired_wilcoxon, summarise
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
SIZES = [
    "data.slice_size=[160,192]",
    "first_stage.max_epochs=20",
    "first_stage.model.autoencoder.network.channels=[32,64]",
    "first_stage.model.autoencoder.network.num_res_blocks=[2,2]",
    "first_stage.model.autoencoder.network.attention_levels=[false,false]",
]
"""Frames of 160 x 192 mm at 1 mm and the paper's cells of 8 mm: one halving more than at 2 mm."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/madad_real_t1"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    real = Path(os.environ["BRAINUAD_REAL_DATA"])
    painted = deal(prepare(real, arguments.runs, arguments.jobs), 0)
    cohort = with_real_lesions(painted, real, arguments.runs)
    out = arguments.runs / "madad"
    if not (out / "report.html").is_file():
        command = [program("train"), "experiment=madad_prototypes", "data=folder", *SIZES, *RIM]
        command += [f"data.source={cohort}", "data.sequence=T1w", f"paths.output_dir={out}"]
        command += [f"max_epochs={arguments.epochs}", "ckpt=last", *arguments.options]
        subprocess.run(command, check=True)
    frames, tested = [read_subjects(out)], read_cohort(cohort)
    for name, load in CONTROLS.items():
        scored = variant(out, name, tested, "T1w", load, RIM)
        frames.append(read_subjects(scored, name))
    table = pd.concat(frames)
    columns = ["subject", "pathology", "contrast", "method", "metric", "value"]
    write_results(HERE / "results.csv", table[columns])
    text = report(table)
    (HERE / "results.md").write_text(text)
    print(text)


def report(table: pd.DataFrame) -> str:
    """AP and Dice of the painted subjects with intervals, and of each real case."""
    text = "# Results\n\nWritten by `study.py`; do not edit. Painted: mean with 95 % bootstrap "
    text += "interval over subjects. One seed.\n\n"
    rows = []
    real = sorted(table[table.pathology != "painted"].subject.unique())
    for metric in ("AP", "Dice", "⌈Dice⌉"):
        for method in table.method.unique():
            part = table[(table.metric == metric) & (table.method == method)]
            painted = part[part.pathology == "painted"].value.to_numpy(float)
            found = summarise(painted)
            cells = [f"{found.mean:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})"]
            values = part.set_index("subject").value
            cells += [f"{values[name]:.3f}" if name in values else "-" for name in real]
            rows.append([metric, method, *cells])
    count = table[table.pathology == "painted"].subject.nunique()
    text += to_markdown(["metric", "method", f"painted (n={count})", *real], rows)
    ap = table[(table.metric == "AP") & (table.pathology == "painted")]
    ap = ap.pivot(index="subject", columns="method", values="value")
    text += "\nAP of the painted subjects, madad against the others, paired Wilcoxon:\n\n"
    others = [name for name in ("intensity", *CONTROLS) if name in ap]
    rows = []
    for other in others:
        p = paired_wilcoxon(ap["madad"].to_numpy(), ap[other].to_numpy())
        rows.append([other, f"{(ap['madad'] - ap[other]).mean():+.3f}", f"{p:.2g}"])
    return text + to_markdown(["against", "difference", "p"], rows)


if __name__ == "__main__":
    main()
