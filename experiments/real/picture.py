"""The picture of the README: the stroke of median average precision, its map and its mask.

    python -m experiments.real.picture RUN

takes a finished run of `python -m experiments.real soop --methods fpi_shapes` and writes
`docs/images/stroke.png`: scan, anomaly map, and mask beside the outline drawn by hand.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from brainuad.reporting.run_folder import read_run
from brainuad.volumes.nifti import read_mask, read_volume

mpl.use("Agg")
from matplotlib import pyplot as plt

OUT = Path(__file__).parents[2] / "docs" / "images" / "stroke.png"


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    run = read_run(folder)
    if run.cohort is None:
        sys.exit(f"{folder}: not a finished run, or its cohort is gone")
    scores = pd.read_csv(folder / "scores.csv")
    clear = scores[(scores.metric == "auprc") & (scores.pathology == "clear stroke")]
    subject = clear.sort_values("value").subject.iloc[len(clear) // 2]
    scan = next(one for one in run.cohort.scans if one.subject == subject)
    found = read_volume(folder / f"{subject}_anomaly.nii.gz")
    mask = read_mask(folder / f"{subject}_mask.nii.gz", like=found)[..., 0]
    image = read_volume(scan.native_image).array[..., 0]
    truth = read_mask(scan.native_lesion_mask, like=found)[..., 0]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.9), facecolor="black")
    titles = ("FLAIR of a person", "anomaly map", "mask (yellow), by hand (cyan)")
    for axis, title in zip(axes, titles, strict=True):
        axis.imshow(_upright(image), cmap="gray", vmax=np.quantile(image[image > 0], 0.998))
        axis.set_title(title, color="white", fontsize=10)
        axis.axis("off")
    score = _upright(found.array[..., 0])
    axes[1].imshow(score, cmap="inferno", alpha=np.clip(score / score.max(), 0, 1))
    axes[2].contour(_upright(mask), [0.5], colors="yellow", linewidths=1.2)
    axes[2].contour(_upright(truth), [0.5], colors="cyan", linewidths=1.2)
    figure.tight_layout(pad=0.4)
    figure.savefig(OUT, dpi=90)
    print(f"{OUT}: {subject}, AP {clear.value.median():.3f}")


def _upright(plane: np.ndarray) -> np.ndarray:
    """Return a plane with anterior at the top and the patient's left at the right."""
    return np.flipud(plane.T)


if __name__ == "__main__":
    main()
