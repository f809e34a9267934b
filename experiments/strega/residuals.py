"""Compare the compact ceVAE's residual in lesions, healthy tissue and fluid.

    python experiments/strega/residuals.py RUN [RUN …]

For each run folder and pathology: the mean absolute residual in lesions, in healthy tissue and in
healthy CSF, and the AP of the residual with either sign, behind the run's post-processing. Writes
`residuals.md` beside this file. It looks at test labels: an explanation, not a setting to choose.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

from brainuad.cohorts.manifest import read_cohort
from brainuad.metrics import voxel
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import instantiate
from brainuad.volumes.nifti import read_mask, read_volume

HERE = Path(__file__).parent
COLUMNS = (
    "mean abs r, lesion",
    "mean abs r, healthy",
    "mean abs r, CSF",
    "AP abs",
    "AP positive",
    "AP negative",
)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = [row for run in parser.parse_args().runs for row in explain(run)]
    text = "# Residuals\n\nWritten by `residuals.py`; do not edit. r = input - reconstruction, of "
    text += "the tissue map or the intensities, whichever the method sees; CSF: healthy voxels of "
    text += "an intensity below 0.25 (FLAIR, T1w) or above 0.6 (T2w).\n\n"
    text += to_markdown(["sequence", "method", "lesion", *COLUMNS], rows)
    (HERE / "residuals.md").write_text(text)
    print(text)


def explain(run: Path) -> list[list[str]]:
    """A row a pathology of one run."""
    record = json.loads((run / "provenance.json").read_text())
    postprocess = instantiate(yaml.safe_load((run / "config.yaml").read_text())["postprocess"])
    found = defaultdict(list)
    for scan in read_cohort(Path(record["cohort"]["path"])).select(
        "test", record["sequence"], healthy=False
    ):
        image = read_volume(scan.image)
        brain, lesion = read_mask(scan.brain_mask), read_mask(scan.lesion_mask)
        reconstruction = read_volume(
            run / "prepared" / f"{scan.subject}_reconstruction.nii.gz"
        ).array
        kept = run / "prepared" / f"{scan.subject}_input.nii.gz"
        seen = read_volume(kept).array if kept.is_file() else image.array
        residual = (seen - reconstruction) * brain
        healthy = brain & ~lesion
        dark = record["sequence"] != "T2w"
        csf = healthy & (image.array < 0.25 if dark else image.array > 0.6)
        values = [np.abs(residual)[where].mean() for where in (lesion, healthy, csf)]
        for part in (np.abs(residual), residual.clip(0), (-residual).clip(0)):
            score = postprocess.score(part, brain, image.spacing_mm)
            values.append(voxel.average_precision(score[brain], lesion[brain]))
        found[scan.pathology].append(values)
    return [
        [
            record["sequence"],
            record["method"],
            pathology,
            *(f"{mean:.3f}" for mean in np.mean(values, axis=0)),
        ]
        for pathology, values in found.items()
    ]


if __name__ == "__main__":
    main()
