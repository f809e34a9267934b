"""Folders of anomaly maps, filled by a scorer.

Every file is written atomically, and a second run does only what is missing. A scan that cannot be
read is listed, and the others are scored.
"""

import time
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from rich.markup import escape
from rich.progress import track

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.machine import ranks
from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.types import Detection
from brainuad.volumes.header import read_header
from brainuad.volumes.nifti import write_volume


class Scorer(Protocol):
    """A model or control that turns a prepared scan into maps."""

    @property
    def fingerprint(self) -> str:
        """All that decides a map beside the scan, as text."""

    def views(self, scans: Sequence[Scan], failures: Failures) -> Sequence[Scan]:
        """Return the scans with the scorer's input; those that fail are left out."""

    def detect_scan(self, scan: Scan) -> Detection:
        """Return the maps of one of `views`, `(C, D, H, W)`, on the CPU."""


def fill(
    folder: MapFolder,
    scans: Sequence[Scan],
    scorer: Scorer,
    failures: Failures,
    title: str,
    trained_on: Collection[str] = (),
) -> float:
    """Write the maps of scans, each on its prepared grid; ranks share the scans.

    `anomaly` is always written; `reconstruction` (of the first channel) and `uncertainty` where the
    scorer makes them; `input` where its input is not the scan.

    Args:
        folder: folder to fill; maps of another scorer, or of other scans, are removed first.
        scans: scans of one sequence.
        scorer: scores the scans.
        failures: gets each scan that could not be scored.
        title: title of the progress bar.
        trained_on: subjects that must not be scored, recorded beside the maps for the evaluation.

    Returns:
        Mean seconds per volume; 0 where all maps existed.
    """
    seen = scorer.views(scans, failures)
    if ranks.rank() == 0:
        files = [(scan.subject, *scan.seen, scan.brain_mask) for scan in seen]
        stamp = fingerprint(scorer.fingerprint, files)
        folder.begin(stamp, [scan.subject for scan in seen], trained_on)
    ranks.barrier()
    own, seconds = Failures(), []
    for scan in track(ranks.share(seen), description=escape(title)):
        if folder.has(scan.subject):
            continue
        start = time.perf_counter()
        with own.catching(scan.subject):
            _write(folder, scan, scorer.detect_scan(scan))
            seconds.append(time.perf_counter() - start)
    failures += ranks.gather(own)
    seconds = ranks.gather(seconds)
    return float(np.mean(seconds)) if seconds else 0.0


def _write(folder: MapFolder, scan: Scan, found: Detection) -> None:
    affine = read_header(scan.image).affine
    beside = {"reconstruction": found.reconstruction, "uncertainty": found.uncertainty}
    if scan.view:
        beside["input"] = load_scan(scan)[0]
    for kind, array in beside.items():
        if array is not None:
            write_volume(folder.file(scan.subject, kind), array[0].numpy(), affine)
    # The map is written last: a subject with a map is done.
    write_volume(folder.file(scan.subject), found.anomaly_map[0].numpy(), affine)
