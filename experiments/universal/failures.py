"""Show failures of the shipped models on people: the worst cases, and Dice by lesion size.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.universal.failures runs/real

writes `docs/images/universal_failures.jpg` and, here, `people.md` and `slabs.csv`. `runs/real` is
the folder of `python -m experiments.real`. Only scans in the public domain (CC0) are drawn: the
T2w scan of an old stroke (ARC) and FLAIR slices of acute strokes (SOOP). A slice is not a scan, so
it is repeated to a slab of `SLAB` mm: not what the models were made for, and a row of its own.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from brainuad.errors import InputError
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.tables import to_markdown
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras
from experiments.universal.synthetic import Judge
from experiments.universal.synthetic_tables import SIZES

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "images" / "universal_failures.jpg"
SLAB, HEIGHT = 40, 18
"""Thickness of a repeated slice, mm, and its z in MNI152 space. A slab of less than 34 mm
has too few voxels for the network, which halves them five times."""

EVERY = 3
"""One clear stroke of so many is taken, in the order of the index; slices without one all are."""

LARGE, DRAWN = 1000, 3
"""Smallest area of a stroke that may be drawn, in pixels (mm^2), and the number of them drawn."""

AREAS = ((0.5, 3), (3, 10), (10, 30), (30, 200))
"""Areas of strokes in a slice, in cm^2."""

CONTRASTS = ((1.1, 1.3), (1.3, 1.5), (1.5, 9))
"""Contrasts of large strokes, to the rest of the brain."""

POOR = 0.3
"""Dice below which a stroke counts as lost."""

SHADES = 128
"""Colours of the picture: they decide its size."""


class Case(NamedTuple):
    """A row of the picture: `(width, height)` arrays, left of the head first."""

    title: str
    scan: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    map: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of python -m experiments.real")
    arguments = parser.parse_args(argv)
    where = os.environ.get("BRAINUAD_REAL_DATA")
    if not where:
        raise InputError("BRAINUAD_REAL_DATA is not set; set it to the folder of real scans")
    real = Path(where)
    table, cases = slabs(real / "soop")
    write_text(HERE / "slabs.csv", csv_text(table, float_format="%.4g"))
    write_text(HERE / "people.md", people(arguments.runs, table))
    draw([old_stroke(arguments.runs, real), *cases], PICTURE)
    return 0


def slabs(folder: Path) -> tuple[pd.DataFrame, list[Case]]:
    """Score test slices of SOOP as slabs.

    Returns:
        A row per slice, and the worst of those with a large clear stroke and of those without one.
    """
    index = pd.read_csv(folder / "index.csv")
    index = index[(index.usable == 1) & (index.split == "test")]
    clear = (index.lesion_px >= 50) & (index.contrast > 1.1)
    index = pd.concat([index[clear & (index.quiet == 0)][::EVERY], index[index.quiet == 1]])
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -78, -112, HEIGHT - SLAB / 2
    judge = Judge("FLAIR", affine)
    rows, kept = [], {}
    for row in index.itertuples():
        image, truth = (_plane(folder / str(name)) for name in (row.image, row.mask))
        brain, truth = image > 0, (truth > 0) & (image > 0)
        deep = (1, 1, SLAB)
        given = np.tile(image[..., None], deep), np.tile(brain[..., None], deep)
        found = judge.map(judge.seen(*given), given[1])[..., SLAB // 2]
        scored = judge.scored("slab", found[..., None], brain[..., None], truth[..., None])
        mask = (found > 0.5) & brain
        rows.append(
            {
                "subject": row.subject,
                "stroke": not row.quiet,
                "lesion_px": int(truth.sum()),
                "contrast": row.contrast,
                **{name: scored[name] for name in ("ap", "dice")},
                "marked_px": int(mask.sum()),
            }
        )
        kept[row.subject] = Case(str(row.subject), image, truth, mask, found)
    table = pd.DataFrame(rows)
    large = table[table.stroke & (table.lesion_px >= LARGE)].nsmallest(DRAWN, "dice")
    calm = table[~table.stroke].nlargest(1, "marked_px")
    cases = [
        kept[row.subject]._replace(title=f"FLAIR slice, stroke, {row.subject}: Dice {row.dice:.2f}")
        for row in large.itertuples()
    ]
    cases += [
        kept[row.subject]._replace(title=f"FLAIR slice, no stroke, {row.subject}")
        for row in calm.itertuples()
    ]
    return table, cases


def _plane(path: Path) -> np.ndarray:
    """A slice of SOOP as `(157, 189)`: from the left to the right, from the back to the front."""
    return np.asarray(Image.open(path).convert("L"))[::-1].T.astype(np.float32)


def old_stroke(runs: Path, real: Path) -> Case:
    """Return the axial slice of the T2w stroke with the most voxels that are marked wrongly."""
    run = runs / "t2_cases" / "universal" / "T2w-0"
    folder = real / "arc_t2_stroke" / "M2307"
    files = folder / "T2.nii.gz", folder / "lesion.nii.gz"
    made = (run / f"M2307_{kind}.nii.gz" for kind in ("mask", "anomaly"))
    scan, truth, mask, score = (to_ras(read_volume(path)).array for path in (*files, *made))
    wrong = ((truth > 0) != (mask > 0)).sum((0, 1)).argmax()
    scores = pd.read_csv(run / "scores.csv")
    own = scores[(scores.subject == "M2307") & (scores.threshold == "fixed")]
    dice = own[(own.metric == "dice") & (own.method == "universal")].value.item()
    planes = [scan[..., wrong], truth[..., wrong] > 0, mask[..., wrong] > 0, score[..., wrong]]
    return Case(f"T2w scan, old stroke, M2307: Dice {dice:.2f} (whole scan)", *planes)


def people(runs: Path, slab: pd.DataFrame) -> str:
    """The table of Dice at 0.5 by lesion size, people of all cohorts of a sequence together."""
    rows: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(runs.glob("*/universal/*-0/scores.csv")):
        scores = pd.read_csv(path)
        own = scores[scores.method == "universal"].set_index("subject")
        dice = own[(own.threshold == "fixed") & (own.metric == "dice")].value
        size = own[(own.threshold == "none") & (own.metric == "lesion_ml")].value
        found = pd.DataFrame({"dice": dice, "ml": size}).dropna()
        rows.setdefault(path.parent.name.removesuffix("-0"), []).append(found)
    tables = {sequence: pd.concat(rows[sequence]) for sequence in ("FLAIR", "T2w", "T1w")}
    lines = []
    for words, (low, high) in SIZES.items():
        cells = []
        for table in tables.values():
            part = table[(table.ml >= low) & (table.ml < high)].dice
            spread = f"{part.mean():.2f} ({part.min():.2f} to {part.max():.2f}; {len(part)})"
            cells.append(spread if len(part) else "–")
        lines.append([words, *cells])
    sick, calm = slab[slab.stroke], slab[~slab.stroke]
    areas, contrasts = sick.lesion_px / 100, sick.contrast[sick.lesion_px >= LARGE]
    groups = [
        *((f"{low} to {high} cm²", areas.between(low, high, "left")) for low, high in AREAS),
        *(
            (f"large, contrast {low} to {high}", contrasts.between(low, high, "left"))
            for low, high in CONTRASTS
        ),
    ]
    slices = []
    for words, inside in groups:
        dice = sick.dice[inside[inside].index]
        slices.append([words, str(len(dice)), f"{dice.mean():.2f}", str((dice < POOR).sum())])
    return "\n".join(
        [
            "# People\n",
            "Written by `python -m experiments.universal.failures`; do not edit. Dice at 0.5 by "
            "the volume of a person's lesions: mean (lowest to highest; people).\n",
            to_markdown(["lesions", *tables], lines),
            f"Test slices of SOOP, each repeated to a slab of {SLAB} mm: {len(sick)} clear strokes "
            f"(one of {EVERY}), AP {sick.ap.mean():.3f}, Dice at 0.5 {sick.dice.mean():.3f}; "
            f"{len(calm)} slices without a stroke, {calm.marked_px.median() / 100:.1f} cm² marked "
            f"in the median, {calm.marked_px.max() / 100:.1f} at most. The contrast is the median "
            "of the stroke over that of the rest of the brain; large means "
            f"{LARGE // 100} cm² or more.\n",
            to_markdown(["strokes", "slices", "mean Dice", f"Dice below {POOR}"], slices),
        ]
    )


def draw(cases: Sequence[Case], out: Path) -> None:
    """Write the picture: a row per case, in radiological view (the head's left on the right)."""
    rows = []
    for case in cases:
        inside = np.argwhere(case.scan > 0.02 * case.scan.max())
        (left, back), (right, front) = inside.min(0), inside.max(0) + 1
        box = (slice(left, right), slice(back, front))
        scan, truth, mask, score = (part[box][::-1] for part in case[1:])
        rows.append(
            [
                Panel(scan, textwrap.fill(case.title, 34)),
                Panel(scan, "truth", outlines=[(truth, "lime")]),
                Panel(scan, "mask", outlines=[(mask, "red")]),
                Panel(score, "map", top=1.0, colours="magma"),
            ]
        )
    picture = Image.fromarray(draw_grid(rows, scale=1.1).pixels())
    picture.quantize(SHADES).save(out, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
