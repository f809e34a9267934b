"""What a trained detector says of the healthy brains it was trained on: `relative=healthy`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.places import shared_grid
from brainuad.errors import InputError
from brainuad.inference.maps import Failures, remove_maps, write_maps
from brainuad.machine import ranks
from brainuad.machine.text import say
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.model.checkpoint import weights_hash
from brainuad.model.detect import device, model_score
from brainuad.preparation.model_input import as_input, input_of
from brainuad.settings.instantiate import instantiate
from brainuad.types import Volume
from brainuad.volumes.grids import EXACT, grid_of, lay
from brainuad.volumes.nifti import read_mask, read_volume


def make_relative(
    cfg: DictConfig, detector: AnomalyDetector, cohort: Cohort, out: Path
) -> Failures:
    """Scores the healthy training scans, and lets the detector's scores be relative to theirs.

    Ranks share the scans. Their maps are kept in the run folder until all are made, so that an
    interrupted run goes on with them.

    Args:
        cfg: of the run; `relative` says how.
        detector: trained; gets `relative`.
        cohort: of the run.
        out: run folder.

    Returns:
        (subject, reason) of what failed.

    Raises:
        InputError: the scans lie on several grids, or none could be scored.
    """
    scans = cohort.select("train", cfg.data.sequence, healthy=True)
    seen, failures = as_input(scans, input_of(cfg.input), cfg.paths.cache_dir, cfg.jobs)
    how = cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    score = model_score(detector, instantiate(cfg.tiling), *how)
    maps = out / "healthy_maps"
    stamp = f"{weights_hash(detector)} {cfg.predict_precision}"
    written = write_maps(seen, maps, score, stamp, "scoring healthy brains")
    ranks.barrier()
    relative: RelativeToHealthy = instantiate(cfg.relative)
    # The scans as the cohort has them: an error names those, not what the method sees.
    relative.measure(_maps(scans, maps))
    ranks.barrier()
    detector.relative = relative
    if ranks.rank() == 0:
        remove_maps(maps, seen)
    return [*failures, *written.failures]


def _maps(scans: Sequence[Scan], folder: Path) -> Iterator[tuple[Volume, np.ndarray]]:
    """Map and brain mask of each scan that has one, laid on one grid by their affines."""
    scored = {scan: path for scan in scans if (path := _map_of(scan, folder)).is_file()}
    if not scored:
        return
    grid, said = shared_grid(list(scored))
    if grid is None:
        raise InputError(f"relative: {said}; register the cohort, or set relative=none")
    if said:
        say(said)
    for scan, path in scored.items():
        volume = read_volume(path)
        brain_mask = read_mask(scan.brain_mask, like=volume)
        if grid_of(volume).apart(grid) > EXACT:
            array, inside = (
                lay(part.astype(np.float32), volume.affine, grid)
                for part in (volume.array, brain_mask)
            )
            volume, brain_mask = Volume(array, grid.affine), inside >= 0.5
        yield volume, brain_mask


def _map_of(scan: Scan, folder: Path) -> Path:
    return folder / f"{scan.subject}_anomaly.nii.gz"
