"""All data sets by name."""

from brainuad.errors import InputError

from . import (
    anatomies,
    atlas2,
    bids_healthy,
    bmad,
    brats2020,
    brats2021,
    brats2023,
    isles2022,
    ixi,
    madad,
    medianomaly,
    mood,
    openms,
    unitransad,
    wmh2017,
)
from .dataset import Dataset

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        ixi.DATASET,
        bids_healthy.DATASET,
        mood.DATASET,
        brats2020.DATASET,
        brats2021.DATASET,
        brats2023.DATASET,
        openms.DATASET,
        openms.LONGITUDINAL,
        wmh2017.DATASET,
        atlas2.DATASET,
        isles2022.DATASET,
        bmad.DATASET,
        medianomaly.DATASET,
        medianomaly.BRAIN_TUMOR_SET,
        madad.DATASET,
        unitransad.DATASET,
        anatomies.DATASET,
    )
}


def get(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        InputError: unknown.
    """
    if name not in DATASETS:
        raise InputError(f"{name}: unknown data set; known are {', '.join(DATASETS)}")
    return DATASETS[name]
