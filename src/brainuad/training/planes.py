"""Cohorts of slices (`data=slices`) and the methods that suit them."""

from torch import nn

from brainuad.cohorts.manifest import Cohort
from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.volumes.nifti import open_nifti
from brainuad.volumes.tiling import PlanesTiling, SliceTiling, Tiling

_CUBES = (nn.Conv3d, nn.ConvTranspose3d)


def holds_slices(cohort: Cohort) -> bool:
    """Return whether a cohort's scans are one plane thick, by its first readable scan."""
    for scan in cohort.scans:
        if scan.image.is_file():
            return open_nifti(scan.image).shape[2:] == (1,)
    return False


def refuse_volume_method(cohort: Cohort, detector: AnomalyDetector, tiling: Tiling) -> None:
    """Refuse to train a method on slices that needs volumes.

    Raises:
        InputError: its network takes volumes, or its tiling cuts slices of other planes.
    """
    if not holds_slices(cohort):
        return
    remedy = "take an experiment in slices, such as experiment=strega, or a cohort of volumes"
    if any(isinstance(part, _CUBES) for part in detector.modules()):
        raise InputError(
            f"{cohort.root}: its scans are slices, and this method's network takes volumes; "
            f"{remedy}"
        )
    sliced = isinstance(tiling, SliceTiling) and tiling.plane != "axial"
    if sliced or isinstance(tiling, PlanesTiling):
        raise InputError(
            f"{cohort.root}: its scans are slices, which have no other planes; set tiling=axial"
        )
