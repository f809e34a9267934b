"""Compare HypAD's score with plain and normalised differences of the same VAE on real strokes.

    python -m experiments.hypad.study --runs runs/real/soop

takes the VAE of `python -m experiments.real soop` as it is trained; only the score changes.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from scipy.stats import mannwhitneyu
from torch import Tensor

from brainuad.benchmark.tables import write_results
from brainuad.cohorts.load import load_scan
from brainuad.machine.failures import Failures
from brainuad.methods.parts.hyperbolic import certainty
from brainuad.methods.parts.residuals import needs
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.metrics.voxel import average_precision
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.tables import to_markdown
from brainuad.volumes.nifti import read_volume

HERE = Path(__file__).parent
DRAWS = {"n_samples": 8}
BRIGHTER = {"sign": "positive", "_partial_": True}
PARTS = "brainuad.methods.parts"
VARIANTS = {
    "vae": {},
    "mean of draws": DRAWS,
    "in standard deviations": {
        **DRAWS,
        "residual": {"_target_": f"{PARTS}.residuals.mahalanobis", **BRIGHTER},
    },
    "hypad": {
        **DRAWS,
        "residual": {"_target_": f"{PARTS}.hyperbolic.hyperbolic", **BRIGHTER},
    },
}
"""Name in the table: options of the trained VAE."""

BASELINE, TESTED = "brightness", "hypad"
UNSURE, LEAST = 0.2, 0.02
MARKED = 0.98
"""Quantile of the brain's scores above which pixels of the plain map are components."""

INTRODUCTION = """# Results

Written by `python -m experiments.hypad.study`; do not edit. Mean AP over {count} strokes of \
`soop` [95 % bootstrap interval], on the prepared grid after the map steps of \
`postprocess=default`, with the VAE of seed 0. The difference is to HypAD's score, by \
Wilcoxon's signed-rank test over people, corrected by Holm.

"""


@needs("std")
def spread(image: Tensor, reconstruction: Tensor, brain_mask: Tensor, std: Tensor) -> Tensor:
    """Return the standard deviation of the draws in place of a residual."""
    return std.mean(1, keepdim=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/real/soop"), help="run folders")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    parser.add_argument("--work", type=Path, default=Path("cache"), help="folder of the cache")
    parser.add_argument("--limit", type=int, help="use this many strokes, evenly spread")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = arguments.runs / "vae" / "FLAIR-0"
    cohort = read_run(run).cohort
    if cohort is None:
        sys.exit(f"{run}: no run, or its cohort is gone; run experiments.real soop first")
    plain = Model.load(run, Runtime(batch_size=32, cache=arguments.work))
    sick = [scan for scan in cohort.select("test", "FLAIR") if scan.lesion_mask is not None]
    if arguments.limit:
        sick = sick[:: max(len(sick) // arguments.limit, 1)]
    models = {name: plain.with_options(options).on_device() for name, options in VARIANTS.items()}
    unsure = plain.with_options(VARIANTS["hypad"]).on_device()
    unsure.method.residual = spread
    rows, components = [], []
    for scan in plain.views(sick, Failures()):
        lesion = read_volume(scan.lesion_mask).array > 0
        image, brain_mask = load_scan(scan)
        brain, found = brain_mask[0].numpy(), read_volume(scan.image)
        lesion &= brain
        if not lesion.any():
            continue
        score = partial(plain.postprocess.score, brain_mask=brain, spacing_mm=found.spacing_mm)
        maps = {
            name: score(model.detect_scan(scan).anomaly_map[0].numpy())
            for name, model in models.items()
        }
        maps[BASELINE] = score(image[0].numpy())
        row = {name: average_precision(part[brain], lesion[brain]) for name, part in maps.items()}
        rows.append({"subject": scan.subject, **row})
        # Certainty of what the plain map marks.
        std = unsure.detect_scan(scan).anomaly_map[0].clamp_min(LEAST)
        sure = certainty(std, UNSURE).numpy()
        plain_map = maps["vae"]
        marked, count = ndimage.label(plain_map > np.quantile(plain_map[brain], MARKED))
        for number in range(1, count + 1):
            part = marked == number
            if part.sum() > 1:
                true = bool(lesion[part].any())
                facts = {
                    "true": true,
                    "certainty": sure[part].mean(),
                    "error": plain_map[part].mean(),
                }
                components.append({"subject": scan.subject, **facts})
    table, parts = pd.DataFrame(rows), pd.DataFrame(components)
    write_results(arguments.out / "results.csv", table)
    text = INTRODUCTION.format(count=len(table)) + compared(table) + "\n" + separated(parts)
    (arguments.out / "results.md").write_text(text)
    print(text)


def compared(table: pd.DataFrame) -> str:
    """Return the table of the scores, each tested against HypAD's."""
    others = [name for name in table if name not in ("subject", TESTED)]
    pairs = {name: table[name] - table[TESTED] for name in others}
    ps = holm([paired_wilcoxon(d.to_numpy(), 0 * d.to_numpy()) for d in pairs.values()])
    tests = {TESTED: ["–", "–"]}
    for (name, difference), p in zip(pairs.items(), ps, strict=True):
        tests[name] = [f"{difference.mean():+.3f}", f"{p:.2g}"]
    cells = []
    for name in table.columns.drop("subject"):
        own = summarise(table[name].to_numpy(float))
        cells.append([name, f"{own.mean:.3f} [{own.ci_low:.3f}, {own.ci_high:.3f}]", *tests[name]])
    return to_markdown(["score", "AP", "difference", "p"], cells) + "\n"


def separated(parts: pd.DataFrame) -> str:
    """Say whether certainty and error separate true components from false ones."""
    areas = {}
    for name in ("certainty", "error"):
        true, false = (parts.loc[parts.true == side, name] for side in (True, False))
        areas[name] = mannwhitneyu(true, false).statistic / (len(true) * len(false))
    return (
        f"Of {len(parts)} components of the brightest 2 % of the VAE's own map "
        f"{parts.true.mean():.0%} touch a stroke. The area under the ROC curve for telling these "
        f"from the others is {areas['certainty']:.2f} by certainty and {areas['error']:.2f} by "
        "mean error; 0.5 is chance.\n"
    )


if __name__ == "__main__":
    main()
