"""Reorientation of the array axes to RAS; its inverse is `native.to_native`."""

import nibabel as nib

from brainuad.types import Volume


def to_ras(volume: Volume) -> Volume:
    """Permutes and flips the axes to the closest RAS order; no voxel value changes.

    Args:
        volume: any axis order, oblique affines included (the obliqueness stays in the affine).
    """
    image = nib.as_closest_canonical(nib.nifti1.Nifti1Image(volume.array, volume.affine))
    return Volume(image.get_fdata(dtype="float32"), image.affine)
