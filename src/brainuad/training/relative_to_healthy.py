"""Scores relative to those of the healthy training brains: `relative=healthy`."""

from collections.abc import Iterator, Sequence

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.cohorts.places import shared_grid
from brainuad.errors import InputError
from brainuad.inference.maps import fill
from brainuad.machine import ranks
from brainuad.machine.failures import Failures
from brainuad.machine.text import say
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.model.model import Model
from brainuad.settings.instantiate import instantiate
from brainuad.training.settings import RunSettings
from brainuad.types import Volume
from brainuad.volumes.grids import EXACT, grid_of, lay
from brainuad.volumes.nifti import read_mask


def make_relative(settings: RunSettings, model: Model, cohort: Cohort, failures: Failures) -> None:
    """Score the healthy training scans, and make the model's scores relative to theirs.

    Ranks share the scans. Their maps are kept in the run folder until all are made, so that an
    interrupted run reuses them.

    Args:
        settings: settings of the run; `relative` configures the statistics.
        model: trained model; gets `relative`.
        cohort: cohort of the run.
        failures: gets the scans that could not be scored.

    Raises:
        InputError: the scans lie on several grids, or none could be scored.
    """
    scans = cohort.select("train", settings.sequence, healthy=True)
    maps = MapFolder(settings.out / "healthy_maps")
    fill(maps, scans, model.on_device(), failures, "scoring healthy brains")
    ranks.barrier()
    relative: RelativeToHealthy = instantiate(settings.relative)
    relative.measure(_maps(scans, maps))
    ranks.barrier()
    model.relative = relative
    if ranks.rank() == 0:
        maps.clear(scan.subject for scan in scans)


def _maps(scans: Sequence[Scan], folder: MapFolder) -> Iterator[tuple[Volume, np.ndarray]]:
    """Yield map and brain mask of each scan that has one, on one grid by their affines."""
    scored = [scan for scan in scans if folder.has(scan.subject)]
    if not scored:
        return
    grid, said = shared_grid(scored)
    if grid is None:
        raise InputError(f"relative: {said}; register the cohort, or set relative=none")
    if said:
        say(said)
    for scan in scored:
        volume = folder.map(scan.subject)
        brain_mask = read_mask(scan.brain_mask, like=volume)
        if grid_of(volume).apart(grid) > EXACT:
            array, inside = (
                lay(part.astype(np.float32), volume.affine, grid)
                for part in (volume.array, brain_mask)
            )
            volume, brain_mask = Volume(array, grid.affine), inside >= 0.5
        yield volume, brain_mask
