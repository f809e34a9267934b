"""A cohort of 2D images: `data=slices`."""

from collections.abc import Callable
from pathlib import Path

from brainuad.cohorts.find import refuse_missing
from brainuad.cohorts.find_slices import find_slices
from brainuad.cohorts.manifest import MANIFEST, Cohort, read_cohort
from brainuad.machine.locks import lock
from brainuad.preparation.from_folder import (
    HELD_OUT,
    PERCENTILES,
    cache_folder,
    cohort_given,
    planned,
)


def slices_cohort(
    source: Path | None,
    cache_dir: Path,
    sequence: str,
    pixel_mm: float = 1.0,
    spacing_mm: float | None = 2.0,
    low_percentile: float = PERCENTILES[0],
    high_percentile: float = PERCENTILES[1],
    val_fraction: float = HELD_OUT,
    test_fraction: float = HELD_OUT,
    seed: int = 0,
    limit: int | None = None,
    allow_unused: bool = False,
    jobs: int = 1,
    check: Callable[[Cohort], None] | None = None,
) -> Cohort:
    """A cohort folder as it is, or one made from a folder or a CSV of 2D images.

    A slice becomes a volume of one plane (`brainuad.volumes.planes`). The unit of splits is the
    person.

    Args:
        source: cohort folder, folder or `.csv`; see `brainuad.cohorts.slices.find_slices`.
        cache_dir: folder of prepared cohorts; found again by the source's content.
        sequence: sequence of a slice whose name or row does not state it.
        pixel_mm: edge length of a pixel if neither the row nor the file states it.
        spacing_mm: edge length of the prepared pixels in mm; None for each image's own.
        low_percentile: percentile of the brain's intensity that becomes 0.
        high_percentile: percentile that becomes 1.
        val_fraction: share of the people without a lesion in any slice.
        test_fraction: share of them.
        seed: random seed of the splits.
        limit: largest number of slices per split, healthy and not; None for all.
        allow_unused: go on where a mask belongs to nobody.
        jobs: processes.
        check: refuses the cohort as it will be, before any scan is prepared; None for no check.

    Raises:
        InputError: nothing to read, a person in two splits, or no slice could be prepared.
    """
    from brainuad.preparation.cohort import prepare_cohort
    from brainuad.preparation.normalise.intensity import Percentile
    from brainuad.preparation.quality.measures import Limits
    from brainuad.preparation.slices import SlicePreparation

    source, ready = cohort_given(source, limit)
    if ready is not None:
        return ready
    steps = SlicePreparation(spacing_mm, pixel_mm)
    found = find_slices(source, sequence, pixel_mm)
    refuse_missing(found)
    shares = (seed, val_fraction, test_fraction)
    raw = planned(found, source, shares, limit, allow_unused, check)
    normalise = Percentile(low_percentile, high_percentile)
    out = cache_folder(cache_dir, source, raw, (steps, normalise))
    with lock(out):
        if (out / MANIFEST).is_file():
            return read_cohort(out)
        return prepare_cohort(raw, steps, normalise, Limits(), out, source, jobs)
