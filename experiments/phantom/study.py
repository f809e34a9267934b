"""Compare the embedded cohort with real scans: picture, tissue contrast, intensity baseline.

    BRAINUAD_REAL_DATA=FOLDER python experiments/phantom/study.py

writes `results.md`, `contrast.csv` and `baseline.csv` beside this file, and the picture
`docs/images/phantom.jpg`. Without BRAINUAD_REAL_DATA the rows of real scans are missing.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from skimage.filters import threshold_multiotsu

from brainuad.benchmark.tables import write_results
from brainuad.metrics import voxel
from brainuad.preparation.normalise.intensity import Percentile
from brainuad.preparation.skullstrip.extracted import extracted_brain_mask
from brainuad.reporting.tables import to_markdown
from brainuad.synthetic.phantom import SEQUENCES, make_subject
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.resample import resample_spacing

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "images" / "phantom.jpg"
SPACING_MM = 2.0
PATHOLOGIES = ("tumour", "ms", "stroke")


class Case(NamedTuple):
    """A prepared scan: what both kinds of cohort come down to."""

    source: str
    kind: str
    sequence: str
    image: np.ndarray
    brain_mask: np.ndarray
    lesion_mask: np.ndarray


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=24, help="phantoms of each pathology")
    subjects = parser.parse_args().subjects
    picture()
    cases = [*phantom_cases(subjects), *real_cases()]
    contrast = pd.DataFrame(tissue_contrast(case) for case in cases)
    contrast = contrast.groupby(["sequence", "source"]).mean(numeric_only=True).round(3)
    write_results(HERE / "contrast.csv", contrast.reset_index())
    scores = baseline([case for case in cases if case.lesion_mask.any()])
    write_results(HERE / "baseline.csv", scores)
    text = "# Results\n\nWritten by `study.py`; do not edit.\n\n## Intensity baseline\n\n"
    text += to_markdown(list(scores.columns), scores.astype(str).to_numpy().tolist())
    table = contrast.reset_index()
    text += "\n## Tissue contrast\n\n"
    text += to_markdown(list(table.columns), table.astype(str).to_numpy().tolist())
    (HERE / "results.md").write_text(text)
    print(text)


def phantom_cases(subjects: int) -> Iterator[Case]:
    """Phantoms of each pathology; the seed is not the one that cohorts use by default."""
    for pathology in PATHOLOGIES:
        for i in range(subjects):
            made = make_subject(f"{pathology}{i}", seed=1, pathology=pathology)
            for sequence, image in made.images.items():
                yield Case("phantom", pathology, sequence, image, made.brain_mask, made.lesion_mask)


def real_cases() -> Iterator[Case]:
    """Real lesions, at the phantom's resolution and normalised alike."""
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        return
    files = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR"}
    for folder in sorted((Path(root) / "openms_mni_1mm").iterdir()):
        for sequence, name in files.items():
            image, label = folder / f"{name}.nii.gz", folder / "GOLD_STANDARD.nii.gz"
            yield _real_case("ms", sequence, image, label)
    files = {"T1w": "t1", "T2w": "t2", "FLAIR": "fla"}
    for folder in sorted((Path(root) / "tumour_brats_space").iterdir()):
        for sequence, name in files.items():
            image, label = folder / f"{name}.nii.gz", folder / "fused_simple.nii.gz"
            yield _real_case("tumour", sequence, image, label)

    for folder in sorted((Path(root) / "t1_slabs_1mm").iterdir()):
        yield _real_case("", "T1w", folder / "T1.nii.gz", None, folder / "labels.nii.gz")


def _real_case(
    kind: str, sequence: str, image_path: Path, label_path: Path | None, brain: Path | None = None
) -> Case:
    raw = read_volume(image_path)
    inside = read_mask(brain) if brain else extracted_brain_mask(raw.array)
    inside = inside.astype(np.float32)
    label = read_mask(label_path, like=raw).astype(np.float32) if label_path else 0 * inside
    image, mask, lesion = (
        resample_spacing(to_ras(Volume(array, raw.affine)), SPACING_MM).array
        for array in (raw.array * inside, inside, label)
    )
    brain_mask = mask >= 0.5
    image = Percentile(1, 99.9)(image, brain_mask)
    source = "real" if kind else "real, healthy slabs"
    return Case(source, kind, sequence, image, brain_mask, lesion >= 0.5)


def tissue_contrast(case: Case) -> dict[str, object]:
    """Three classes by Otsu outside the lesion, in order of intensity, relative to the middle.

    `cov` is the coefficient of variation within the middle class, `cnr` the distance of the two
    upper classes over the root mean square of their spreads.
    """
    values = case.image[case.brain_mask & ~case.lesion_mask]
    low, high = threshold_multiotsu(values, classes=3)
    parts = values[values < low], values[(values >= low) & (values < high)], values[values >= high]
    mean, spread = [p.mean() for p in parts], [p.std() for p in parts]
    return {
        "source": case.source,
        "sequence": case.sequence,
        "low/mid": mean[0] / mean[1],
        "high/mid": mean[2] / mean[1],
        "cov": spread[1] / mean[1],
        "cnr": (mean[2] - mean[1]) / np.sqrt((spread[1] ** 2 + spread[2] ** 2) / 2),
        "share low": len(parts[0]) / len(values),
        "share high": len(parts[2]) / len(values),
    }


def baseline(cases: list[Case]) -> pd.DataFrame:
    """AP (mean over subjects) and best Dice of equalised intensity: the literature's baseline."""
    rows = []
    groups = sorted({(c.sequence, c.kind, c.source) for c in cases})
    for sequence, kind, source in groups:
        curves = []
        for case in cases:
            if (case.sequence, case.kind, case.source) == (sequence, kind, source):
                inside = case.image[case.brain_mask]
                ranks = np.searchsorted(np.sort(inside), inside, side="right") / inside.size
                curves.append(voxel.curve(ranks, case.lesion_mask[case.brain_mask]))
        shared = voxel.best_shared_threshold(curves)
        dice = [voxel.dice_at(curve, np.array([shared]))[0] for curve in curves]
        own = [voxel.curve_best_dice(curve)[0] for curve in curves]
        ap = [voxel.curve_average_precision(curve) for curve in curves]
        rows.append(
            {
                "sequence": sequence,
                "lesion": kind,
                "source": source,
                "subjects": len(curves),
                "AP": f"{np.mean(ap):.3f} ± {np.std(ap):.3f}",
                "best Dice": f"{np.mean(dice):.3f} ± {np.std(dice):.3f}",
                "best Dice per subject": f"{np.mean(own):.3f} ± {np.std(own):.3f}",
            }
        )
    return pd.DataFrame(rows)


def picture() -> None:
    """Draw two healthy subjects in three planes, then lesions beside their twins."""
    rows = 3 + 3 * len(PATHOLOGIES)
    figure = Figure(figsize=(12, 2.1 * rows), facecolor="black")
    axes = figure.subplots(rows, 6)
    for k in range(2):
        subject = make_subject(f"healthy{k}", seed=1)
        for j, sequence in enumerate(SEQUENCES):
            image = subject.images[sequence]
            x, y, z = (n // 2 for n in image.shape)
            for row, plane in enumerate((image[:, :, z], image[:, y], image[x - 3])):
                _show(axes[row, 2 * j + k], plane)
            axes[0, 2 * j + k].set_title(f"{sequence}, healthy", color="white")
    for row, (pathology, i) in enumerate(((p, i) for p in PATHOLOGIES for i in range(3)), start=3):
        sick = make_subject(f"{pathology}{i}", seed=1, pathology=pathology)
        z = sick.lesion_mask.sum(axis=(0, 1)).argmax()
        for j, sequence in enumerate(SEQUENCES):
            _show(axes[row, 2 * j], sick.twins[sequence][:, :, z])
            _show(axes[row, 2 * j + 1], sick.images[sequence][:, :, z])
            axes[row, 2 * j + 1].contour(
                np.rot90(sick.lesion_mask[:, :, z]), [0.5], colors="orange", linewidths=0.8
            )
            if row == 3:
                for k, word in enumerate(("twin", "lesion")):
                    axes[row, 2 * j + k].set_title(f"{sequence}, {word}", color="white")
    figure.subplots_adjust(0, 0, 1, 0.98, 0.01, 0.01)
    figure.savefig(PICTURE, dpi=50, pil_kwargs={"quality": 85, "optimize": True})


def _show(axis, plane: np.ndarray) -> None:
    axis.imshow(np.rot90(plane), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    axis.axis("off")


if __name__ == "__main__":
    main()
