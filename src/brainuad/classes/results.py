"""Read the marked scans of a folder of `brainuad-predict`, or of a run folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.machine.links import follow_no_links
from brainuad.model.findings import numbered
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.viewer.rows import SUBJECTS, read_rows
from brainuad.types import Volume
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.planes import filled
from brainuad.volumes.read import read_native


@dataclass(frozen=True)
class MarkedScan:
    """A scan with its findings; axes RAS.

    Attributes:
        image: the scan.
        labels: `(D, H, W)` number of the finding of each voxel, 0 outside.
        brain_mask: `(D, H, W)` bool.
    """

    image: Volume
    labels: np.ndarray
    brain_mask: np.ndarray


@dataclass(frozen=True)
class Marked:
    """A scan that can be read.

    Attributes:
        scan_id: its name.
        subject: name of the person.
        read: reads its volumes; may raise an `InputError`.
    """

    scan_id: str
    subject: str
    read: Callable[[], MarkedScan]


def marked_scans(results: Path) -> list[Marked]:
    """Return the scans of a folder that have a mask, in the order of their names.

    Args:
        results: folder of `brainuad-predict`, or run folder with the masks of its test scans.

    Raises:
        InputError: neither, or there is no mask.
    """
    follow_no_links(results)
    found = _predicted(results) if (results / SUBJECTS).is_file() else _of_run(results)
    if not found:
        raise InputError(f"{results}: no masks; predict the scans again, or repeat the training")
    return sorted(found, key=lambda one: one.scan_id)


def _predicted(results: Path) -> list[Marked]:
    found = []
    for row in read_rows(results):
        if row.image is None or row.files.anomaly is None or row.files.mask is None:
            continue
        files = (row.image, row.files.anomaly, row.files.mask)
        found.append(Marked(row.scan_id, row.subject, partial(_read_predicted, *files)))
    return found


def _of_run(results: Path) -> list[Marked]:
    run = read_run(results)
    if run.cohort is None:
        raise InputError(f"{results}: its cohort cannot be read, so there are no scans to describe")
    maps = MapFolder(results / "prepared")
    found = []
    for scan in run.cohort.scans:
        wanted = scan.split == "test" and run.sequence in ("", scan.sequence)
        mask = maps.file(scan.subject, "mask")
        if not wanted or not mask.is_file() or not maps.has(scan.subject):
            continue
        files = (scan.image, maps.file(scan.subject), mask, scan.brain_mask)
        found.append(Marked(scan.subject, scan.who, partial(_read_prepared, *files)))
    return found


def _read_predicted(image: Path, anomaly: Path, mask: Path) -> MarkedScan:
    scan = read_native(image)
    score, marked = (_on_grid(path, scan) for path in (anomaly, mask))
    # The map is 0 outside the brain, and may be so inside.
    brain = filled(to_ras(Volume((score > 0).astype(np.uint8), scan.affine)).array > 0)
    return _marked(scan, score, marked > 0, brain)


def _read_prepared(image: Path, anomaly: Path, mask: Path, brain_mask: Path) -> MarkedScan:
    scan = read_volume(image)
    score, marked = (_on_grid(path, scan) for path in (anomaly, mask))
    brain = to_ras(Volume(read_mask(brain_mask, like=scan).astype(np.uint8), scan.affine)).array
    return _marked(scan, score, marked > 0, brain > 0)


def _marked(scan: Volume, score: np.ndarray, mask: np.ndarray, brain: np.ndarray) -> MarkedScan:
    # As the table of findings numbers them.
    numbers = numbered(mask, score).astype(np.float32)
    labels = to_ras(Volume(numbers, scan.affine)).array.astype(np.int32)
    return MarkedScan(to_ras(scan), labels, brain | (labels > 0))


def _on_grid(path: Path, scan: Volume) -> np.ndarray:
    volume = read_volume(path)
    require_same_grid(path, volume, scan)
    return volume.array
