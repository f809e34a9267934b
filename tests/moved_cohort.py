"""A tiny cohort whose scans lie elsewhere natively: turned, anisotropic, moved and deformed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tiny import AFFINE, SHAPE, write_tiny_cohort

from brainuad.cohorts.manifest import Cohort, write_cohort
from brainuad.preparation.register.demons import Warp, invert, write_warp
from brainuad.types import Volume
from brainuad.volumes.native_space import read_way, to_native
from brainuad.volumes.nifti import read_volume, write_volume

NATIVE_SHAPE = (30, 26, 16)
NATIVE_SPACING = (2.6, 3.4, 4.5)
REACH_MM = 4.0


def turned(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    """An affine in RAS mm: turned about x, y and z, then moved."""
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*np.deg2rad(degrees).tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(euler.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = shift
    return matrix


def smooth_field() -> sitk.Image:
    """A displacement field of one wave along each axis, fading out at the edge of its grid."""
    shape, spacing, room = (28, 32, 24), 3.0, 2
    places = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
    window = np.prod([np.sin(np.pi * place) for place in places], axis=0)
    waves = [np.sin(2 * np.pi * place + phase) for phase, place in enumerate(places)]
    array = np.stack([REACH_MM * window * wave for wave in waves], axis=-1)
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, 3), True)
    image.SetSpacing([spacing] * 3)
    # ITK's axes x and y point the other way.
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    start = -room * spacing
    image.SetOrigin([-start, -start, start])
    return image


def write_moved_cohort(root: Path) -> Cohort:
    """The cohort of `write_tiny_cohort`, with a native image and a way there for each scan."""
    cohort = write_tiny_cohort(root, sick=1)
    field = smooth_field()
    write_warp(root / "warp.nii.gz", Warp(field, invert(field)))
    scans = []
    for index, scan in enumerate(cohort.scans):
        transform = root / f"{scan.subject}_transform.txt"
        np.savetxt(transform, turned((6, -4, 8 + index), (5, -7, 3)))
        affine = turned((-5, 9, 3), (0, 0, 0)) @ np.diag([*NATIVE_SPACING, 1])
        # Its middle is where the brain's went.
        middle = np.loadtxt(transform) @ AFFINE @ [*np.array(SHAPE) / 2, 1]
        affine[:3, 3] = middle[:3] - affine[:3, :3] @ (np.array(NATIVE_SHAPE) / 2)
        like = Volume(np.zeros(NATIVE_SHAPE, np.float32), affine)
        names = {"native_image": (scan.image, 1), "native_lesion_mask": (scan.lesion_mask, 0)}
        paths = {"transform": transform, "warp": root / "warp.nii.gz"}
        for name, (prepared, order) in names.items():
            if prepared is None:
                continue
            array = read_volume(prepared).array
            way = read_way(paths["transform"], paths["warp"])
            found = to_native(array, AFFINE, like, way, order)
            target = root / f"{scan.subject}_{name}.nii.gz"
            write_volume(target, found, affine, np.float32 if order else np.uint8)
            paths[name] = target
        scans.append(replace(scan, **paths))
    return write_cohort(root, scans, {"name": "moved"})
