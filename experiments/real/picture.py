"""The picture of the README: the stroke of median average precision, its map and its mask.

    python -m experiments.real.picture RUN

takes a finished run of `python -m experiments.real soop --methods fpi_shapes` and writes
`docs/images/stroke.png`: scan, anomaly map, and mask beside the outline drawn by hand.
"""

import sys
from pathlib import Path

import pandas as pd

from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.run_folder import read_run
from brainuad.volumes.nifti import read_mask, read_volume

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
    # From the anterior at the top and the patient's left at the right.
    panels = [
        Panel(image, "FLAIR of a person"),
        Panel(image, "anomaly map", heat=found.array[..., 0]),
        Panel(image, "mask (yellow), by hand (cyan)", outlines=[(mask, "yellow"), (truth, "cyan")]),
    ]
    OUT.write_bytes(draw_grid([panels], width=270, scale=1.0, size=10).png())
    print(f"{OUT}: {subject}, AP {clear.value.median():.3f}")


if __name__ == "__main__":
    main()
