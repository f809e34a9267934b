"""Explain StRegA's results on painted anomalies: contrast in its input, and reconstruction.

    python experiments/strega_painted/explain.py

reads the runs that `study.py` left and writes `explain.md` beside this file, and `explain.png`
(pictures of real scans) into the folder of the runs. It looks at test labels: an explanation, not
a setting to choose.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from study import HERE, METHODS

from brainuad.benchmark.slabs import FOLDS
from brainuad.cohorts.manifest import read_cohort
from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.metrics import voxel
from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import instantiate
from brainuad.volumes.nifti import read_mask, read_volume

COLUMNS = {
    "kept": "anomaly kept",
    "change": "change of the input, lesion",
    "signed": "mean r, lesion",
    "lesion": "mean abs r, lesion",
    "healthy": "mean abs r, healthy",
    "ratio": "lesion / healthy",
    "perfect": "AP, perfect reconstruction",
}
KEPT = 1 / 6
"""Half the step between two tissue classes: a smaller change of the input is no other class."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/strega_painted"))
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(FOLDS)))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    runs, names = arguments.runs, arguments.methods
    done = [(name, runs / f"{name}-{fold}") for name in names for fold in arguments.folds]
    table = pd.DataFrame([row for name, run in done for row in look(name, run)])
    text = "# Why\n\nWritten by `explain.py`; do not edit. Means over the anomalies of "
    text += f"{len(arguments.folds)} of {FOLDS} folds. r = input - reconstruction. "
    text += "`anomaly kept`: share of its voxels at which what the method sees differs from the "
    text += "twin's by over half a tissue class (1/6). `AP, perfect "
    text += "reconstruction`: of the difference to the twin, behind the same post-processing.\n\n"
    rows = []
    for name in dict.fromkeys(table.method):
        for group in ("all", "dark", "iso", "bright"):
            part = table[(table.method == name) & (table.group.eq(group) | (group == "all"))]
            rows.append(
                [name, f"{group} (n={len(part)})", *(f"{part[c].mean():.3f}" for c in COLUMNS)]
            )
    text += to_markdown(["method", "anomaly", *COLUMNS.values()], rows)
    text += "\nReconstruction of healthy validation subjects, mean absolute error in the brain, "
    text += "and how many of the latent dimensions are in use:\n\n"
    rows = [healthy(name, [run for n, run in done if n == name]) for name in names]
    text += to_markdown(
        ["method", "reconstruction", "mean training image", "squares painted over", "in use"], rows
    )
    (HERE / "explain.md").write_text(text)
    draw(runs, names)
    print(text)


def look(name: str, run: Path) -> list[dict[str, object]]:
    """A row an anomaly of one run."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    postprocess = instantiate(config["postprocess"])
    tissue = instantiate(config["input"]["tissue"])

    def seen(path: Path, brain: np.ndarray) -> np.ndarray:
        volume = read_volume(path)
        return tissue.of(volume.array, brain, volume.spacing_mm) if tissue else volume.array

    record = json.loads((run / "provenance.json").read_text())
    rows = []
    for scan in read_cohort(Path(record["cohort"]["path"])).select("test", "T1w", healthy=False):
        assert scan.twin is not None
        brain, lesion = read_mask(scan.brain_mask), read_mask(scan.lesion_mask)
        volume = read_volume(scan.image)
        given = run / "prepared" / f"{scan.subject}_input.nii.gz"
        image = read_volume(given).array if given.is_file() else volume.array
        change = np.abs(image - seen(scan.twin, brain)) * brain
        path = run / "prepared" / f"{scan.subject}_reconstruction.nii.gz"
        residual = (image - read_volume(path).array) * brain
        perfect = postprocess.score(change, brain, volume.spacing_mm)[brain]
        found = {
            "kept": (change[lesion] > KEPT).mean(),
            "change": change[lesion].mean(),
            "signed": residual[lesion].mean(),
            "lesion": np.abs(residual[lesion]).mean(),
            "healthy": np.abs(residual[brain & ~lesion]).mean(),
            "perfect": voxel.average_precision(perfect, lesion[brain]),
        }
        found["ratio"] = found["lesion"] / found["healthy"]
        bright = scan.contrast or 0.0
        group = "iso" if abs(bright) <= ISO_CONTRAST else "bright" if bright > 0 else "dark"
        rows.append({"method": name, "group": group, **found})
    return rows


def draw(runs: Path, names: list[str]) -> None:
    """Three anomalies: what each method sees, rebuilds and misses; the anomaly's outline in red."""
    cohort = read_cohort(runs / "fold0").select("test", "T1w", healthy=False)
    scans = sorted(cohort, key=lambda scan: scan.contrast or 0.0)
    scans = [scans[0], scans[len(scans) // 2], scans[-1]]
    rows = []
    for scan in scans:
        row = []
        lesion = read_mask(scan.lesion_mask)
        cut = int(lesion.sum((0, 1)).argmax())
        for name in names:
            prepared = runs / f"{name}-0" / "prepared"
            given = prepared / f"{scan.subject}_input.nii.gz"
            image = read_volume(given if given.is_file() else scan.image).array[..., cut]
            rebuilt = read_volume(prepared / f"{scan.subject}_reconstruction.nii.gz").array[
                ..., cut
            ]
            shown = (image, rebuilt, np.abs(image - rebuilt))
            marked, title = [(lesion[..., cut], "red")], name * (not rows)
            row += [
                Panel(array, title * (array is image), top=top, outlines=marked)
                for array, top in zip(shown, (1, 1, 0.5), strict=True)
            ]
        rows.append(row)
    (runs / "explain.png").write_bytes(draw_grid(rows, width=120, scale=1.0).png())


def healthy(name: str, runs: list[Path]) -> list[str]:
    """Return the results of the runs' own checks of the latent space."""
    found = [json.loads((run / "checks.json").read_text()) for run in runs]
    errors = [
        np.mean([record[f"error/{key}"] for record in found])
        for key in ("clean/reconstruction", "clean/mean_image", "painted/reconstruction")
    ]
    used = " ".join(f"{record['in_use']:.0f}/{record['latent_dim']:.0f}" for record in found)
    return [name, *(f"{error:.4f}" for error in errors), used]


if __name__ == "__main__":
    main()
