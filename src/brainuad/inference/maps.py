"""From a detector and scans to files: anomaly maps, then masks in native space.

Every file is written atomically and a second run does only what is missing; a scan that cannot
be read is listed, and the others go on.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.progress import track

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine import ranks
from brainuad.machine.files import remove, write_json
from brainuad.machine.read import read_json
from brainuad.model.detect import KINDS
from brainuad.types import Detection
from brainuad.volumes.nifti import read_volume, write_volume

Failures = list[tuple[str, str]]


@dataclass(frozen=True)
class Written:
    """What a pass over scans left: the failures and how long a volume took.

    Attributes:
        failures: (subject, one-line reason).
        seconds_per_volume: mean over the volumes of this pass; 0 when all were there already.
    """

    failures: Failures
    seconds_per_volume: float


def write_maps(
    scans: Sequence[Scan],
    out: Path,
    score: Callable[[Scan], Detection],
    stamp: str,
    title: str,
    trained_on: Collection[str] = (),
    keep_input: bool = False,
) -> Written:
    """Writes `<subject>_anomaly.nii.gz` of each scan, on its prepared grid; ranks share the scans.

    Beside it `_reconstruction` (of the first channel) and `_uncertainty` where the method makes
    them.

    Args:
        scans: of one sequence.
        out: folder of the maps.
        score: from a scan to its maps, `(C, D, H, W)`.
        stamp: of the model; maps of another model, or of other scans, are made anew.
        title: for the progress bar.
        trained_on: subjects that must not be scored; kept beside the maps for the evaluation.
        keep_input: also write `_input`, what the method saw, where that is not the scan itself.
    """
    record = out / "maps.json"
    stamp = _stamp(stamp, scans)
    if ranks.rank() == 0 and _stamp_in(record) != stamp:
        remove_maps(out, scans)
        write_json(record, {"stamp": stamp, "trained_on": sorted(trained_on)})
    ranks.barrier()
    failures: Failures = []
    seconds: list[float] = []
    for scan in track(ranks.share(scans), description=escape(title)):
        target = out / f"{scan.subject}_anomaly.nii.gz"
        if target.is_file():
            continue
        start = time.perf_counter()
        try:
            found = score(scan)
            affine = read_volume(scan.image).affine
        except InputError as error:
            failures.append((scan.subject, str(error)))
            continue
        beside = {"reconstruction": found.reconstruction, "uncertainty": found.uncertainty}
        if keep_input:
            beside["input"] = load_scan(scan)[0]
        for kind, array in beside.items():
            if array is not None:
                write_volume(out / f"{scan.subject}_{kind}.nii.gz", array[0].numpy(), affine)
        # The map comes last: a subject that has one is done.
        write_volume(target, found.anomaly_map[0].numpy(), affine)
        seconds.append(time.perf_counter() - start)
    failures, seconds = ranks.gather(failures), ranks.gather(seconds)
    return Written(failures, float(np.mean(seconds)) if seconds else 0.0)


def remove_maps(folder: Path, scans: Sequence[Scan]) -> None:
    """Removes the maps of scans, or all where `maps.json` says that they are ours; and no more."""
    record = folder / "maps.json"
    for kind in KINDS:
        own = [folder / f"{scan.subject}_{kind}.nii.gz" for scan in scans]
        for path in folder.glob(f"*_{kind}.nii.gz") if record.is_file() else own:
            remove(path)
    remove(record)
    # A folder that holds something else stays.
    with contextlib.suppress(OSError):
        folder.rmdir()


def read_trained_on(maps: Path) -> set[str]:
    """Subjects that the model of these maps was trained on; empty for foreign maps."""
    record = maps / "maps.json"
    return (
        set(read_json(record, "make the maps again").get("trained_on") or ())
        if record.is_file()
        else set()
    )


def _stamp_in(record: Path) -> str | None:
    if not record.is_file():
        return None
    try:
        found = read_json(record).get("stamp")
    except InputError:
        # Damaged: the maps are made anew.
        return None
    return str(found)


def _stamp(model: str, scans: Sequence[Scan]) -> str:
    """Hash of the model and of the scans' names, places, sizes and times."""
    digest = hashlib.sha256(model.encode())
    for scan in scans:
        for path in (*scan.images, scan.brain_mask):
            stat = path.stat() if path.is_file() else None
            about = (scan.subject, str(path), stat and (stat.st_size, stat.st_mtime_ns))
            digest.update(repr(about).encode())
    return digest.hexdigest()
