"""MAD-AD for a CPU on the embedded cohort, beside its controls and without parts of it.

    python -m experiments.madad_prototypes.study

trains the shipped preset for each sequence and seed, and the ablations on T2w, and writes
`results.md` and `results.csv` beside this file. Finished runs are kept, and the seeds of a sequence
share its first stage. Its controls are made of its own parts: `autoencoder` is the error of the
first stage in the model's own residual, `autoencoder by pixel` without that one's average, and
`prototype` the healthy mean that the network corrects, uncorrected.
"""

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from brainuad.benchmark.groups import group_means, paired_tests, read_subjects, to_table
from brainuad.benchmark.madad_parts import CONTROLS
from brainuad.benchmark.runs import changed, embedded, train, variant
from brainuad.benchmark.tables import write_results
from brainuad.metrics.statistics import summarise
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
UNHINTED = "without the healthy prototype"
TRAINED = {
    UNHINTED: ["model.prototypes=null", "model.network.hints=0"],
    "patches of 1 cell": ["model.patches.sizes=[1]", "model.patches.probabilities=[1.0]"],
    "T = 100": ["model.num_timesteps=100"],
    "independent noise in each cell": ["model.noise=null"],
    "noise of mean 0 and covariance 1": ["model.latent_noise=false"],
}
"""Ablations that train anew; the first in every sequence, for it is the diffusion by itself."""

DETECTED: dict[str, dict[str, Any]] = {
    "sampled where the mask head says": {"scores_by": "residual"},
    "sampled without the mask head: every cell moves": {
        "scores_by": "residual",
        "sampling": {"mask_threshold": 1.1},
    },
    "predicted mask as the score": {"scores_by": "mask"},
    "against the input": {"reference": "input"},
}
"""Ablations of a trained model."""

SAMPLED = ("patches of 1 cell", "T = 100")
"""Names in `TRAINED` that are also scored as published, by the sampler and the mask head."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/madad_prototypes"))
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR", "T1w"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ablation-seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--detected-only", action="store_true", help="no ablation that trains anew")
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    runs, tables = arguments.runs, []
    for sequence in arguments.sequences:
        for seed in arguments.seeds:
            out = runs / f"{sequence}-{seed}"
            train("madad_prototypes", out, sequence, seed, arguments.options)
            frames, cohort = [read_subjects(out)], embedded(out / "model.ckpt")
            for name, load in CONTROLS.items():
                scored = variant(out, name, cohort, sequence, load)
                frames.append(read_subjects(scored, name))
            if seed in arguments.ablation_seeds and not arguments.detected_only:
                frames.append(ablation(runs, UNHINTED, sequence, seed, arguments.options))
            tables.append(pd.concat(frames).assign(sequence=sequence, seed=seed))
    shipped = pd.concat(tables)
    for seed in arguments.ablation_seeds:
        out = runs / f"T2w-{seed}"
        cohort = embedded(out / "model.ckpt")
        for name, options in DETECTED.items():
            load = partial(changed, options=options)
            found = read_subjects(variant(out, name, cohort, "T2w", load), name)
            tables.append(found.assign(sequence="T2w", seed=seed))
        for name in [] if arguments.detected_only else [n for n in TRAINED if n != UNHINTED]:
            found = ablation(runs, name, "T2w", seed, arguments.options)
            tables.append(found.assign(sequence="T2w", seed=seed))
    table = pd.concat(tables)
    columns = ["sequence", "seed", "subject", "pathology", "contrast", "method", "metric", "value"]
    write_results(HERE / "results.csv", table[columns])
    text = report(shipped, table[table.seed.isin(arguments.ablation_seeds)])
    (HERE / "results.md").write_text(text)
    print(text)


def ablation(
    runs: Path, name: str, sequence: str, seed: int, options: Sequence[str]
) -> pd.DataFrame:
    """Scores of one of `TRAINED`, and of its sampler."""
    out = runs / "-".join([*re.findall(r"\w+", name), sequence, str(seed)])
    train("madad_prototypes", out, sequence, seed, [*TRAINED[name], *options, f"name='{name}'"])
    found = [read_subjects(out, name)]
    if name in SAMPLED:
        sampled = f"{name} sampled"
        load = partial(changed, options={"scores_by": "residual"})
        scored = variant(out, sampled, embedded(out / "model.ckpt"), sequence, load)
        found.append(read_subjects(scored, sampled))
    return pd.concat(found)


def report(table: pd.DataFrame, ablation: pd.DataFrame) -> str:
    """Tables by sequence and group, paired tests, and the ablations."""
    text = "# Results\n\nWritten by `study.py`; do not edit. Means over subjects, then mean ± "
    text += "standard deviation over seeds.\n"
    for sequence, part in table.groupby("sequence", sort=False):
        means = [group_means(p).assign(seed=seed) for seed, p in part.groupby("seed")]
        text += f"\n## {sequence}\n\n{to_table(pd.concat(means))}\n"
        text += paired_tests(part, "madad_prototypes", ("intensity", *CONTROLS, UNHINTED))
    if ablation.empty:
        return text
    text += "\n## Without parts of it, T2w\n\nMean over all lesions with 95 % bootstrap interval "
    text += f"over subjects; {ablation.seed.nunique()} seed(s), a subject's mean over them.\n\n"
    part = ablation[ablation.sequence == "T2w"]
    rows = []
    for name in part.method.unique():
        cells = []
        for metric in ("AP", "Dice", "⌈Dice⌉"):
            here = part[(part.method == name) & (part.metric == metric)]
            found = summarise(here.groupby("subject").value.mean().to_numpy(float))
            cells.append(f"{found.mean:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})")
        rows.append([name, *cells])
    text += to_markdown(["", "AP", "Dice", "⌈Dice⌉"], rows) + "\n"
    parts = [name for name in part.method.unique() if name != "madad_prototypes"]
    return text + paired_tests(part, "madad_prototypes", parts)


if __name__ == "__main__":
    main()
