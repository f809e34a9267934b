"""What a trained model finds: lesions of known size, contrast and place, painted on a grid.

brainuad-report difficulty runs/strega/NAME
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.inference.maps import remove_maps, write_maps
from brainuad.machine.cache import cache_folder
from brainuad.machine.files import write_text
from brainuad.machine.links import follow_no_links
from brainuad.machine.text import csv_text, one_line
from brainuad.metrics.voxel import average_precision
from brainuad.model.checkpoint import load_model, weights_hash
from brainuad.model.detect import PRECISIONS, device, model_score
from brainuad.postprocess.pipeline import Postprocess
from brainuad.preparation.model_input import as_input, input_of
from brainuad.settings.build import build
from brainuad.settings.plain import plain
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.shapes import DepthBand, Ellipsoids, Soft
from brainuad.synthetic.painted import painted_copy
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.tiling import Tiling

RADII_MM = (4.0, 8.0, 16.0)
CONTRASTS = (-0.4, -0.2, 0.2, 0.4)
PLACES = {"cortex": (0.0, 8.0), "deep": (15.0, 1000.0)}
BORDER_MM = 1.4


class Cell(NamedTuple):
    """A kind of lesion.

    Attributes:
        radius_mm: of the ellipsoid's half axes, to a tenth.
        contrast: share of the brain's range of intensities; negative is darker.
        place: key of `PLACES`: how deep its centre lies under the brain's surface, mm.
    """

    radius_mm: float
    contrast: float
    place: str

    def corruption(self) -> Corruption:
        """Paints such a lesion."""
        radius = 0.9 * self.radius_mm, 1.1 * self.radius_mm
        shape = Ellipsoids(radius, region=DepthBand(PLACES[self.place], 1), spacing_mm=1)
        size = abs(self.contrast)
        bright = float(self.contrast > 0)
        return IntensityShift(Soft(shape, BORDER_MM, 1), (size, size), bright)


CELLS = tuple(Cell(*values) for values in product(RADII_MM, CONTRASTS, PLACES))


def measure_difficulty(
    run: Path, draws: int = 3, device_name: str = "auto"
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Paints the grid into the run's healthy validation subjects and scores the model's maps.

    The lesions of a cell go round the subjects, and depend on subject, cell and draw alone, so
    models with the same validation subjects meet the same ones. Writes `RUN/difficulty.csv`, a row
    a lesion: `subject`, the cell, `draw`, `volume_ml`, `ap` (average precision inside the brain)
    and `recall` (share of the lesion in the mask at the run's healthy threshold; NaN if it has
    none). On the prepared grid.

    Args:
        run: run folder with `model.ckpt` and `config.yaml`.
        draws: lesions a cell.
        device_name: as `device`.

    Returns:
        The table, and (subject, reason) of what failed.

    Raises:
        InputError: not such a folder, its cohort is gone, or no lesion could be scored.
    """
    from brainuad.reporting.run_folder import read_run

    follow_no_links(run)
    folder = read_run(run)
    if folder.cohort is None or not folder.config:
        raise InputError(f"{run}: its cohort or its config.yaml is gone, so nothing can be painted")
    detector, how = load_model(run), _how(run, folder.config)
    # Not the folder that the run names: it may be somebody else's.
    cache = cache_folder()
    card = detector.card
    names = set(card["subjects"]["val"])
    scans = [s for s in folder.cohort.scans if s.who in names and s.healthy]
    scans = [scan for scan in scans if scan.sequence == card["sequence"]]
    if not scans:
        raise InputError(f"{run}: the cohort lacks its healthy validation subjects; bring it back")
    made, failures = _paint_cells(scans, draws, cache)
    about = {scan.subject: (cell, draw, scan) for cell, draw, scan in made}
    copies = [scan for _, _, scan in made]
    seen, bad = as_input(copies, input_of(card["input"]), cache, how.jobs)
    score = model_score(
        detector,
        build(card["tiling"], kind=Tiling),
        how.batch_size,
        device(device_name),
        how.precision,
    )
    maps = run / "difficulty"
    stamp = f"{weights_hash(detector)} {how.precision}"
    written = write_maps(seen, maps, score, stamp, "difficulty")
    postprocess, rows = build(card["postprocess"], kind=Postprocess), []
    for name, (cell, draw, scan) in about.items():
        path = maps / f"{name}_anomaly.nii.gz"
        if path.is_file():
            found = _scored(scan, path, postprocess, card.get("threshold"))
            rows.append({"subject": name.split("__")[0], **cell._asdict(), "draw": draw, **found})
    if not rows:
        reasons = [*failures, *bad, *written.failures]
        raise InputError(f"{run}: no painted scan could be scored: {reasons[0][1]}")
    table = pd.DataFrame(rows)
    write_text(run / "difficulty.csv", csv_text(table))
    # What they say is in the table now.
    remove_maps(maps, seen)
    return table, [*failures, *bad, *written.failures]


class _How(NamedTuple):
    """How a run detected."""

    jobs: int
    batch_size: int
    precision: str


def _how(run: Path, config: str) -> _How:
    """What `config.yaml` says of detection; it may come from a stranger."""
    try:
        told = plain(yaml.safe_load(config))
        found = _How(
            int(told["jobs"]), int(told["predict_batch_size"]), str(told["predict_precision"])
        )
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{run / 'config.yaml'}: not the settings of a run ({one_line(error)})"
        ) from None
    if found.precision not in PRECISIONS:
        raise InputError(f"{run / 'config.yaml'}: predict_precision is '{found.precision:.60}'")
    return found


def _paint_cells(
    scans: list[Scan], draws: int, cache_dir: Path
) -> tuple[list[tuple[Cell, int, Scan]], list[tuple[str, str]]]:
    """Painted copies with their cells, each under a name of its own; and what failed."""
    made, failures = [], []
    for number, (cell, draw) in enumerate(product(CELLS, range(draws))):
        scan = scans[number % len(scans)]
        try:
            copy = painted_copy(scan, draw, cache_dir, cell.corruption())
        except InputError as error:
            failures.append((scan.subject, f"{cell}: {error}"))
            continue
        made.append((cell, draw, replace(copy, subject=f"{scan.subject}__{number}")))
    return made, failures


def _scored(
    scan: Scan, path: Path, postprocess: Postprocess, threshold: float | None
) -> dict[str, float]:
    volume = read_volume(path)
    brain = read_mask(scan.brain_mask, like=volume)
    assert scan.lesion_mask is not None
    lesion = read_mask(scan.lesion_mask, like=volume)
    score = postprocess.score(volume.array, brain, volume.spacing_mm)
    recall = float("nan")
    if threshold is not None:
        found = postprocess.segment(score, brain, volume.spacing_mm, threshold)
        recall = float((found & lesion).sum() / lesion.sum())
    return {
        "volume_ml": round(float(lesion.sum() * np.prod(volume.spacing_mm) / 1000), 4),
        "ap": average_precision(score[brain], lesion[brain]),
        "recall": recall,
    }
