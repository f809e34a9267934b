"""The laptop presets of StRegA, MAD-AD and AutoPaint on the embedded cohort.

    python -m experiments.presets.study --sequences T2w FLAIR T1w --seeds 0

trains each shipped preset, scores the first stage of MAD-AD by its own error beside it, with
`--sampler` scores the model of MAD-AD on T2w with other options of its sampler, and writes
`results.md` and `results.csv` beside this file. Finished runs are kept.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from brainuad.benchmark.groups import group_means, paired_tests, read_subjects, to_table
from brainuad.benchmark.runs import changed, embedded, finished, train, variant
from brainuad.benchmark.tables import write_results
from brainuad.methods.autoencoder import KLAutoencoder
from brainuad.methods.madad import MADAD
from brainuad.metrics.statistics import summarise
from brainuad.model.model import Model
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
PRESETS = ("strega", "madad", "autopaint")
STAGE = "autoencoder of madad"

SAMPLER: dict[str, dict[str, Any]] = {
    "ten steps, as the paper": {"sampling": {"steps": 10}},
    "three steps": {"sampling": {"steps": 3}},
    "mask threshold 0.3": {"sampling": {"mask_threshold": 0.3}},
    "mask threshold 0.8": {"sampling": {"mask_threshold": 0.8}},
    "every cell moves": {"sampling": {"mask_threshold": 1.1}},
    "predicted mask as the score": {"scores_by": "mask"},
}
"""Other options of MAD-AD's detection, of the same weights."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/presets"))
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR", "T1w"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sampler", action="store_true", help="also other options of MAD-AD's")
    parser.add_argument("--finished-only", action="store_true", help="train nothing")
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    tables, sampler = [], []
    for preset in arguments.presets:
        for sequence in arguments.sequences:
            for seed in arguments.seeds:
                out = arguments.runs / f"{preset}-{sequence}-{seed}"
                if arguments.finished_only and not finished(out):
                    continue
                train(preset, out, sequence, seed, arguments.options)
                found = [read_subjects(out)]
                if preset == "madad":
                    found.append(scored(out, STAGE, sequence, first_stage))
                    if arguments.sampler and (sequence, seed) == ("T2w", arguments.seeds[0]):
                        sampler = [read_subjects(out, "madad"), read_subjects(out, "madad_clean")]
                        for name, options in SAMPLER.items():
                            load = partial(changed, options=options)
                            sampler.append(scored(out, name, sequence, load))
                where = {"preset": preset, "sequence": sequence, "seed": seed}
                tables.append(pd.concat(found).assign(**where))
    table = pd.concat(tables)
    columns = ["preset", "sequence", "seed", "subject", "pathology", "contrast", "method"]
    write_results(HERE / "results.csv", table[[*columns, "metric", "value"]])
    text = report(table, pd.concat(sampler) if sampler else None)
    (HERE / "results.md").write_text(text)
    print(text)


def scored(out: Path, name: str, sequence: str, load: Any) -> pd.DataFrame:
    """Scores of what `load` makes of a run's model, behind the run's own chain."""
    cohort, chain = embedded(out / "model.ckpt"), ["postprocess=madad"]
    return read_subjects(variant(out, name, cohort, sequence, load, chain), name)


def first_stage(checkpoint: Path) -> Model:
    """Return the autoencoder of a model as a method by its own error."""
    model = Model.load(checkpoint)
    assert isinstance(model.method, MADAD)
    model.method = KLAutoencoder(model.method.first_stage, model.method.residual)
    return model


def report(table: pd.DataFrame, sampler: pd.DataFrame | None) -> str:
    """Tables by preset, sequence and group with paired tests, and the options of the sampler."""
    text = (
        "# Results\n\nWritten by `study.py`; do not edit. Means over subjects; each preset has its "
    )
    text += "own chain, which its controls share.\n"
    for (preset, sequence), part in table.groupby(["preset", "sequence"], sort=False):
        means = [group_means(p).assign(seed=seed) for seed, p in part.groupby("seed")]
        text += f"\n## {preset}, {sequence}\n\n{to_table(pd.concat(means))}\n"
        others = [name for name in part.method.unique() if name not in (preset, "madad_clean")]
        text += paired_tests(part, preset, [o for o in others if o != "oracle_reconstruction"])
    if sampler is None:
        return text
    text += "\n## The sampler of MAD-AD, T2w\n\nThe same weights. Mean over all lesions with 95 % "
    text += "bootstrap interval over subjects.\n\n"
    rows = []
    for name in sampler.method.unique():
        cells = []
        for metric in ("AP", "Dice", "⌈Dice⌉"):
            here = sampler[(sampler.method == name) & (sampler.metric == metric)]
            found = summarise(here.value.to_numpy(float))
            cells.append(f"{found.mean:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})")
        rows.append([name, *cells])
    return text + to_markdown(["", "AP", "Dice", "⌈Dice⌉"], rows) + "\n"


if __name__ == "__main__":
    main()
