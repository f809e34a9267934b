"""Say which kinds of synthetic lesions are of use on a cohort, without a training.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.eap.kinds RUN

paints the lesions of a run of `fpi` into its training slices, as the training does, and fits the
expected anomaly posterior with other tissue in outlines of real strokes as the known anomalies.
"""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from brainuad.benchmark.tables import write_results
from brainuad.machine.files import write_text
from brainuad.methods.fpi import FPI
from brainuad.methods.parts.lesion_weights import LesionWeights
from brainuad.model.model import Model
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.tables import to_markdown
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.mixture import kinds_of
from brainuad.synthetic.lesions.shapes import Soft
from brainuad.synthetic.masks.from_lesions import LesionHoles
from brainuad.tiles.cache import brain_tiles

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
BATCH = 16

INTRODUCTION = """# Kinds

Written by `python -m experiments.eap.kinds`; do not edit. Mean expected anomaly posterior of the \
500 lesions that `fpi` paints into training slices of `soop`, mean ± standard deviation over \
{count} draws. Stand-ins for real anomalies: 50 strokes, painted in outlines of real ones. About \
0.05 or less is a lesion that looks healthy to the classifier, or that is like no tissue. Sizes \
and strengths are thirds.

"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder of fpi")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    arguments = parser.parse_args()
    real = os.environ.get("BRAINUAD_REAL_DATA")
    if not real:
        sys.exit("set BRAINUAD_REAL_DATA to the folder of real scans")
    torch.set_num_threads(1)
    model, cohort = Model.load(arguments.run), read_run(arguments.run).cohort
    if cohort is None or not isinstance(model.method, FPI):
        sys.exit(f"{arguments.run}: no run of fpi, or its cohort is gone")
    batches = list(brain_tiles(cohort.select("train", "FLAIR", healthy=True), model.tiling))
    image, brain_mask = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    holes = LesionHoles(Path(real) / "soop_lesion_shapes_mni", radius=(0.02, 0.3), most=4)
    strokes = IntensityShift(Soft(holes, 0.02), (0.05, 0.75), 0.92, (0.2, 1.0))
    rows = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        rows.append(fitted(strokes, model.method, image, brain_mask, seed))
    table = pd.DataFrame(rows, index=pd.Index(SEEDS, name="seed"))
    write_results(arguments.out / "kinds.csv", table.reset_index())
    cells = [
        [name.removeprefix("eap/"), f"{values.mean():.3f} ± {values.std():.3f}"]
        for name, values in table.items()
    ]
    text = INTRODUCTION.format(count=len(SEEDS)) + to_markdown(["lesions", "posterior"], cells)
    write_text(arguments.out / "kinds.md", text + "\n")


def fitted(
    strokes: IntensityShift, method: FPI, image: Tensor, brain_mask: Tensor, seed: int
) -> dict[str, float]:
    """Return the mean posterior of each kind, from batches as a training draws them."""
    weights = LesionWeights(strokes, seed=seed)
    while not weights.is_fitted:
        drawn = torch.randint(len(image), (BATCH,))
        given = image[drawn], brain_mask[drawn]
        weights(method.corruption(*given), *given)
    return weights.checks(kinds_of(method.corruption))


if __name__ == "__main__":
    main()
