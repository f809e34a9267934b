"""A prepared scan with its way back: prepared now, or read from a cohort folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from brainuad.cohorts.load import load_scan, require_one_grid
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.errors import InputError
from brainuad.model.suitability import measures_of
from brainuad.preparation.records import record_of
from brainuad.records.recipe import Recipe
from brainuad.records.scan import ScanRecord
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build
from brainuad.types import Space, Volume
from brainuad.volumes.native_space import read_way
from brainuad.volumes.nifti import read_mask, read_volume


@dataclass(frozen=True)
class PreparedScan:
    """A scan in the space of the model.

    Attributes:
        image: `(D, H, W)` in [0, 1], zero outside the brain.
        brain_mask: `(D, H, W)` bool, on the grid of `image`.
        space: the way from `image` to the raw scan, a NIfTI file.
        in_mni: True where the prepared world is MNI's.
        measures: result of `suitability.measures_of`.
        flags: quality flags of the preparation, in words.
        notes: oddities of its files, in words; they do not affect its results.
        sides_known: False where the header does not distinguish left from right.
        seconds: duration of its steps, 0 where it was prepared before.
        others: `(D, H, W)` further channels, on the grid of `image`.
        files: prepared image and brain mask of every channel, for models with a normalisation of
            their own; they are read during detection. Empty for `image` as it is.
    """

    image: Volume
    brain_mask: np.ndarray
    space: Space
    in_mni: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sides_known: bool = True
    seconds: float = 0.0
    others: tuple[np.ndarray, ...] = ()
    files: tuple[tuple[Path, Path], ...] = ()

    @property
    def native(self) -> Path:
        """The raw scan."""
        assert self.space.native is not None
        return self.space.native


def from_record(record: ScanRecord, folder: Path, recipe: Recipe) -> PreparedScan:
    """Return a scan that `prepare_subject` left in `folder`, normalised.

    Args:
        record: record of its preparation.
        folder: folder of the paths in the record.
        recipe: the preparation, see `brainuad.preparation.recipes`.

    Raises:
        InputError: its intensities cannot be normalised.
    """
    volume = read_volume(folder / record.image)
    brain_mask = read_mask(folder / record.brain_mask, like=volume)
    own = recipe.normalise.get(record.sequence, recipe.normalise)
    normalise = build(own, RECIPE)
    try:
        image = normalise(volume.array, brain_mask)
    except ValueError as error:
        raise InputError(f"{record.native_image}: {error}; check that it shows a head") from None
    way = read_way(folder / record.transform) if record.transform else ()
    space = Space(Path(record.native_image), way)
    files = ((folder / record.image, folder / record.brain_mask),)
    found = _described(Volume(image, volume.affine), brain_mask, space, record, recipe)
    return replace(found, seconds=record.seconds, files=files)


def from_records(records: Sequence[ScanRecord], folder: Path, recipe: Recipe) -> PreparedScan:
    """Return a scan of several channels that `prepare_subject` left in `folder`.

    Args:
        records: one record per channel, in their order.
        folder: folder of the paths in the records.
        recipe: the preparation, see `brainuad.preparation.recipes`.

    Raises:
        InputError: an error of `from_record`, or the channels lie on different grids.
    """
    first, *others = (from_record(record, folder, recipe) for record in records)
    for other in others:
        require_one_grid(other.native, other.image, first.native, first.image)
    names = [record.sequence for record in records[1:]]
    further = list(zip(names, others, strict=True))
    flags = [f"{name}: {flag}" for name, other in further for flag in other.flags]
    notes = [f"{name}: {note}" for name, other in further for note in other.notes]
    return replace(
        first,
        flags=(*first.flags, *flags),
        notes=(*first.notes, *notes),
        seconds=first.seconds + sum(other.seconds for other in others),
        others=tuple(np.where(first.brain_mask, other.image.array, 0) for other in others),
        files=(*first.files, *(file for other in others for file in other.files)),
    )


def from_cohort(scan: Scan, cohort: Cohort, recipe: Recipe) -> PreparedScan:
    """Return a scan of a prepared cohort folder.

    Raises:
        InputError: unreadable, grids differ, an empty mask, or a constant brain.
    """
    images, masks = load_scan(scan)
    image, brain_mask = images[0].numpy(), masks[0].numpy()
    affine = read_volume(scan.image).affine
    space = Space((scan.native_image or scan.image).absolute(), scan.space.way)
    record = record_of(cohort, scan)
    return replace(
        _described(Volume(image, affine), brain_mask, space, record, recipe),
        others=tuple(other.numpy() for other in images[1:]),
        files=tuple((row.image, row.brain_mask) for row in scan.rows),
    )


def _described(
    image: Volume,
    brain_mask: np.ndarray,
    space: Space,
    record: ScanRecord | None,
    recipe: Recipe,
) -> PreparedScan:
    """Return a scan of one channel with measures, flags and notes of its record."""
    laid = recipe.in_mni
    measures = measures_of(image, brain_mask, record, laid)
    if record is None:
        return PreparedScan(image, brain_mask, space, laid, measures)
    flags = tuple(build(recipe.limits, RECIPE).flags(record.quality))
    return PreparedScan(
        image, brain_mask, space, laid, measures, flags, record.notes, record.sides_known
    )
