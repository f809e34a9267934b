"""A scan as the model sees it, with its way back: prepared now, or taken from a cohort folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.errors import InputError
from brainuad.model.suitability import in_mni, measures_of, quality_of
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.types import Space, Volume
from brainuad.volumes.native_space import read_way
from brainuad.volumes.nifti import read_mask, read_volume


@dataclass(frozen=True)
class PreparedScan:
    """A scan in the space of the model.

    Attributes:
        image: `(D, H, W)` in [0, 1], zero outside the brain.
        brain_mask: on its grid, bool.
        space: the way from `image` to the scan as it came, a NIfTI file.
        in_mni: whether the prepared world is MNI's.
        measures: see `suitability.measures_of`.
        flags: what the preparation found odd, in words.
        seconds: that its steps took, 0 where it was prepared before.
    """

    image: Volume
    brain_mask: np.ndarray
    space: Space
    in_mni: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def native(self) -> Path:
        """The scan as it came."""
        assert self.space.native is not None
        return self.space.native


def from_record(record: Mapping[str, Any], folder: Path, recipe: Mapping[str, Any]) -> PreparedScan:
    """A scan that `prepare_subject` left in `folder`, normalised.

    Args:
        record: what was done to it.
        folder: its paths are relative to this one.
        recipe: see `brainuad.preparation.recipes`.

    Raises:
        InputError: its intensities cannot be normalised.
    """
    volume = read_volume(folder / record["image"])
    brain_mask = read_mask(folder / record["brain_mask"], like=volume)
    normalise = instantiate(recipe["normalise"], packages=PREPARATION)
    try:
        image = normalise(volume.array, brain_mask)
    except ValueError as error:
        raise InputError(f"{record['native_image']}: {error}; check that it shows a head") from None
    limits = instantiate(recipe["limits"], packages=PREPARATION)
    seen = Volume(image, volume.affine)
    laid = in_mni(recipe)
    return PreparedScan(
        image=seen,
        brain_mask=brain_mask,
        space=Space(Path(record["native_image"]), read_way(folder / record["transform"])),
        in_mni=laid,
        measures=measures_of(
            seen, brain_mask, record["quality"], record["native_spacing_mm"], laid
        ),
        flags=tuple(limits.flags(record["quality"])),
        seconds=sum(
            step["seconds"]
            for step in record.values()
            if isinstance(step, dict) and "seconds" in step
        ),
    )


def from_cohort(scan: Scan, cohort: Cohort, recipe: Mapping[str, Any]) -> PreparedScan:
    """A scan of a cohort folder, prepared already.

    Raises:
        InputError: unreadable, grids differ, an empty mask, or a constant brain.
    """
    image, brain_mask = (item[0].numpy() for item in load_scan(scan))
    affine = read_volume(scan.image).affine
    quality, native_spacing = quality_of(cohort, scan)
    volume = Volume(image, affine)
    laid = in_mni(recipe)
    limits = instantiate(recipe["limits"], packages=PREPARATION)
    return PreparedScan(
        image=volume,
        brain_mask=brain_mask,
        space=Space((scan.native_image or scan.image).absolute(), scan.space.way),
        in_mni=laid,
        measures=measures_of(volume, brain_mask, quality, native_spacing, laid),
        flags=tuple(limits.flags(quality)) if quality else (),
    )
