"""Measure which lesions a trained model finds: a grid of sizes, contrasts and places.

brainuad-report difficulty runs/strega/NAME
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import postprocessed
from brainuad.inference.maps import fill
from brainuad.label_free.run_model import model_of_run
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.metrics.voxel import average_precision
from brainuad.postprocess.pipeline import Postprocess
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.shapes import DepthBand, Ellipsoids, Soft
from brainuad.synthetic.painted import painted_copy
from brainuad.volumes.nifti import read_mask

RADII_MM = (4.0, 8.0, 16.0)
CONTRASTS = (-0.4, -0.2, 0.2, 0.4)
PLACES = {"cortex": (0.0, 8.0), "deep": (15.0, 1000.0)}
BORDER_MM = 1.4


class Cell(NamedTuple):
    """A kind of lesion.

    Attributes:
        radius_mm: half axes of the ellipsoid, to a tenth.
        contrast: share of the brain's range of intensities; negative is darker.
        place: key of `PLACES`: depth of its centre below the brain's surface, mm.
    """

    radius_mm: float
    contrast: float
    place: str

    def corruption(self) -> Corruption:
        """Return the corruption that paints such a lesion."""
        radius = 0.9 * self.radius_mm, 1.1 * self.radius_mm
        shape = Ellipsoids(radius, region=DepthBand(PLACES[self.place], 1), spacing_mm=1)
        size = abs(self.contrast)
        bright = float(self.contrast > 0)
        return IntensityShift(Soft(shape, BORDER_MM, 1), (size, size), bright)


CELLS = tuple(Cell(*values) for values in product(RADII_MM, CONTRASTS, PLACES))


def measure_difficulty(
    run: Path, draws: int = 3, device_name: str = "auto"
) -> tuple[pd.DataFrame, Failures]:
    """Paint the grid into the run's healthy validation subjects and score the model's maps.

    The lesions of a cell are distributed over the subjects. They depend on subject, cell and draw
    only, so models with the same validation subjects get the same ones. It writes
    `RUN/difficulty.csv`, one row per lesion: `subject`, the cell, `draw`, `volume_ml`, `ap`
    (average precision inside the brain) and `recall` (share of the lesion in the mask at the run's
    healthy threshold; NaN if it has none). Both are on the prepared grid.

    Args:
        run: run folder with `model.ckpt` and `config.yaml`.
        draws: number of lesions per cell.
        device_name: as `device`.

    Returns:
        The table, and (subject, reason) of the failures.

    Raises:
        InputError: not such a folder, its cohort is gone, or no lesion could be scored.
    """
    folder, model = model_of_run(run, device_name)
    assert folder.cohort is not None
    card = model.card
    names = set((card.subjects or {}).get("val", ()))
    scans = [s for s in folder.cohort.scans if s.who in names and s.healthy]
    scans = [scan for scan in scans if scan.sequence == card.sequence]
    if not scans:
        raise InputError(f"{run}: the cohort lacks its healthy validation subjects; bring it back")
    made, failures = _paint_cells(scans, draws, model.runtime.folder)
    copies = [scan for _, _, scan in made]
    maps = MapFolder(run / "difficulty")
    fill(maps, copies, model, failures, "difficulty")
    rows = []
    for cell, draw, scan in made:
        if maps.has(scan.subject):
            found = _scored(scan, maps, model.postprocess, card.threshold)
            subject = scan.subject.split("__")[0]
            rows.append({"subject": subject, **cell._asdict(), "draw": draw, **found})
    if not rows:
        raise InputError(f"{run}: no painted scan could be scored: {failures[0][1]}")
    table = pd.DataFrame(rows)
    write_text(run / "difficulty.csv", csv_text(table))
    # The table has their content.
    maps.clear(scan.subject for scan in copies)
    return table, failures


def _paint_cells(
    scans: list[Scan], draws: int, cache_dir: Path
) -> tuple[list[tuple[Cell, int, Scan]], Failures]:
    """Return painted copies with their cells, each with its own name, and the failures."""
    made, failures = [], Failures()
    for number, (cell, draw) in enumerate(product(CELLS, range(draws))):
        scan = scans[number % len(scans)]
        with failures.catching(scan.subject):
            copy = painted_copy(scan, draw, cache_dir, cell.corruption())
            made.append((cell, draw, replace(copy, subject=f"{scan.subject}__{number}")))
    return made, failures


def _scored(
    scan: Scan, maps: MapFolder, postprocess: Postprocess, threshold: float | None
) -> dict[str, float]:
    score, brain = postprocessed(scan, maps, postprocess)
    assert scan.lesion_mask is not None
    lesion = read_mask(scan.lesion_mask, like=score)
    recall = float("nan")
    if threshold is not None:
        found = postprocess.segment(score.array, brain, score.spacing_mm, threshold)
        recall = float((found & lesion).sum() / lesion.sum())
    return {
        "volume_ml": round(float(lesion.sum() * np.prod(score.spacing_mm) / 1000), 4),
        "ap": average_precision(score.array[brain], lesion[brain]),
        "recall": recall,
    }
