"""How well a model finds anomalies painted into healthy validation brains: no lesion label needed.

What sweeps maximise. The validation loss would not do: it says how well healthy brains are
reconstructed, and a model that reconstructs lesions too has the best one. The healthy threshold's
share of false positives would not do either: a map of zeros is perfect. The labelled test subjects
must not. So ellipsoids of random place, size and brightness are painted into the scans of healthy
*validation* subjects, and the mean over them of the average precision of the post-processed map
ranks models and settings. It is not an estimate of the AP on real lesions.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from scipy import ndimage

from brainuad.checkpoint import weights_hash
from brainuad.data.manifest import Cohort, Scan
from brainuad.data.nifti import read_mask, read_volume, write_volume
from brainuad.detection import model_score, write_maps
from brainuad.errors import InputError
from brainuad.inputs import as_input
from brainuad.instantiate import instantiate
from brainuad.methods.detector import AnomalyDetector
from brainuad.metrics.statistics import summarise
from brainuad.metrics.voxel import average_precision
from brainuad.postprocess.pipeline import Postprocess

MARGIN_MM = 6.0
RADII_MM = (6.0, 20.0)
SHIFTS = (0.15, 0.5)
BORDER_MM = 1.4


def paint(
    image: np.ndarray,
    brain: np.ndarray,
    spacing_mm: Sequence[float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of 6 to 20 mm half axes, darker or brighter, with a soft border.

    Args:
        image: `(D, H, W)` in [0, 1].
        brain: `(D, H, W)` bool.
        spacing_mm: of a voxel, an axis each.
        rng: of place, size and brightness.

    Returns:
        The painted image and the ellipsoid inside the brain, bool.

    Raises:
        InputError: an empty brain.
    """
    spacing = np.asarray(spacing_mm, float)
    if not brain.any():
        raise InputError("the brain mask of a scan to paint in is empty; make it again")
    depth = ndimage.distance_transform_edt(brain, sampling=spacing)
    inside = np.argwhere(depth > min(MARGIN_MM, 0.5 * depth.max()))
    centre = inside[rng.integers(len(inside))]
    radii = rng.uniform(*RADII_MM, 3) / spacing
    offset = (np.indices(image.shape) - centre[:, None, None, None]) / radii[:, None, None, None]
    shape = ((offset**2).sum(axis=0) < 1) & brain
    low, high = np.percentile(image[brain], [2, 98])
    shift = rng.choice([-1, 1]) * rng.uniform(*SHIFTS) * (high - low)
    share = ndimage.gaussian_filter(shape.astype(float), BORDER_MM / spacing) * brain
    return np.clip(image + share * shift, 0, 1).astype(np.float32), shape


def painted_scans(
    scans: Sequence[Scan], draws: int, cache_dir: Path
) -> tuple[list[Scan], list[tuple[str, str]]]:
    """Painted copies of healthy scans, as files, so that they are seen as any scan is.

    What is painted depends on the subject's name and the number of the draw alone, so every model,
    seed and fold meets the same ones.

    Args:
        scans: healthy, one sequence.
        draws: anomalies a scan, each in a copy of its own.
        cache_dir: they are kept in `painted/` there.

    Returns:
        The copies, and (subject, reason) of the scans that could not be read.
    """
    painted: list[Scan] = []
    failures: list[tuple[str, str]] = []
    for scan in scans:
        try:
            painted += [_painted(scan, draw, Path(cache_dir) / "painted") for draw in range(draws)]
        except InputError as error:
            failures.append((scan.subject, str(error)))
    return painted, failures


def measure(
    cfg: DictConfig,
    detector: AnomalyDetector,
    cohort: Cohort,
    out: Path,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    """Puts the objective of a run, its mean over painted scans and how sure it is, into `record`.

    Args:
        cfg: of the run; `painted_draws` is the number of anomalies a scan.
        detector: trained.
        cohort: of the run.
        out: run folder; the maps are kept in `painted/` there.
        record: gets `painted`: `draws` and the fields of `Summary`.

    Returns:
        (subject, reason) of what failed.
    """
    from brainuad.detection import device

    scans = cohort.select("val", cfg.data.sequence, healthy=True)
    copies, failures = painted_scans(scans, cfg.painted_draws, cfg.paths.cache_dir)
    tissue, postprocess = instantiate(cfg.input.tissue), instantiate(cfg.postprocess)
    seen, bad = as_input(copies, tissue, cfg.paths.cache_dir, cfg.jobs)
    how = cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    score = model_score(detector, instantiate(cfg.tiling), *how)
    stamp = f"{weights_hash(detector)} {cfg.predict_precision}"
    written = write_maps(seen, out / "painted", score, stamp, "painted")
    maps = [(scan, out / "painted" / f"{scan.subject}_anomaly.nii.gz") for scan in seen]
    values = [painted_ap(scan, path, postprocess) for scan, path in maps if path.is_file()]
    found = summarise(np.array(values, float))
    record["painted"] = {"draws": cfg.painted_draws, **found._asdict()}
    print(f"val/painted_AP: {found.mean:.4f} [{found.ci_low:.4f}, {found.ci_high:.4f}]")
    return [*failures, *bad, *written.failures]


def painted_ap(scan: Scan, anomaly_map: Path, postprocess: Postprocess) -> float:
    """Average precision of a painted scan's map, inside the brain and after post-processing."""
    volume = read_volume(anomaly_map)
    inside = read_mask(scan.brain_mask, like=volume)
    score = postprocess.score(volume.array, inside, volume.spacing_mm)
    assert scan.lesion_mask is not None
    return average_precision(score[inside], read_mask(scan.lesion_mask, like=volume)[inside])


def _painted(scan: Scan, draw: int, folder: Path) -> Scan:
    """One copy; made unless it is there."""
    stat = scan.image.stat() if scan.image.is_file() else None
    about = (scan.subject, str(scan.image.absolute()), stat and (stat.st_size, stat.st_mtime_ns))
    digest = hashlib.sha256(repr(about).encode()).hexdigest()[:12]
    name = f"{scan.subject}_{scan.sequence}_{digest}_{draw}"
    image, truth = folder / f"{name}.nii.gz", folder / f"{name}_lesion.nii.gz"
    if not image.is_file():
        volume = read_volume(scan.image)
        brain = read_mask(scan.brain_mask, like=volume)
        rng = np.random.default_rng([zlib.crc32(scan.subject.encode()), draw])
        array, lesion = paint(volume.array, brain, volume.spacing_mm, rng)
        write_volume(truth, lesion, volume.affine, np.uint8)
        # The image comes last: one that is there has its truth.
        write_volume(image, array, volume.affine)
    subject = f"{scan.subject}_painted{draw}"
    return replace(scan, subject=subject, image=image, lesion_mask=truth, native_image=None)
