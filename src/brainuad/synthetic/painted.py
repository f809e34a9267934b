"""Copies of healthy scans with synthetic lesions, as files."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from brainuad.cohorts.load import read_channels
from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.synthetic.lesions.contract import Corruption, outline
from brainuad.synthetic.lesions.shapes import with_spacing
from brainuad.volumes.nifti import read_mask, write_volume

_ATTEMPTS = 20


def paint(
    image: np.ndarray,
    brain: np.ndarray,
    spacing_mm: Sequence[float],
    corruption: Corruption,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One corruption of a scan, in 3D; of one plane, in that plane.

    Where the corruption needs another image, it gets the scan's own mirror image: so what is
    painted does not depend on which other subjects are there.

    Args:
        image: `(D, H, W)` or, of several channels, `(C, D, H, W)` in [0, 1]; D goes from left to
            right.
        brain: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel, one per axis.
        corruption: its lengths are in mm.
        seed: random seed of its draws.

    Returns:
        The painted image, float32, and where the lesion is, bool.

    Raises:
        InputError: an empty brain, or nothing could be painted into it.
    """
    if not brain.any():
        raise InputError("the brain mask of a scan to paint in is empty; make it again")
    if brain.ndim == 3 and brain.shape[2] == 1:
        # A slice is painted as an image: a lesion has no extent across it.
        plane, there = paint(image[..., 0], brain[..., 0], spacing_mm[:2], corruption, seed)
        return plane[..., None], there[..., None]
    painter = with_spacing(corruption, [float(length) for length in spacing_mm])
    inside = torch.from_numpy(np.stack([brain, brain[::-1]]))[:, None]
    pair = torch.from_numpy(np.stack([image, np.flip(image, -brain.ndim)]).astype(np.float32))
    pair = pair if image.ndim > brain.ndim else pair[:, None]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_ATTEMPTS):
        corrupted = painter(pair * inside, inside, generator)
        lesion = outline(corrupted.share)[0, 0].numpy()
        # Tissue from elsewhere may not have been tissue there; then another draw is made.
        if lesion.any():
            found = corrupted.image[0].numpy().reshape(image.shape)
            return np.where(brain, found, image).astype(np.float32), lesion
    raise InputError(f"nothing was painted in {_ATTEMPTS} draws; is the brain as large as asked?")


def painted_scans(
    scans: Sequence[Scan], draws: int, cache_dir: Path, corruption: Corruption
) -> tuple[list[Scan], Failures]:
    """Painted copies of healthy scans, as files, so that they are seen as any scan is.

    What is painted depends on the corruption, the subject's name and the number of the draw alone,
    so every model, seed and fold meets the same ones.

    Args:
        scans: healthy, of one sequence or of the same channels.
        draws: copies of a scan.
        cache_dir: they are kept in `painted/` there, and found again by the corruption.
        corruption: corruption of `brainuad.synthetic.lesions`, in mm.

    Returns:
        The copies, and (subject, reason) of the scans that could not be read or painted.
    """
    painted: list[Scan] = []
    failures = Failures()
    for scan in scans:
        with failures.catching(scan.subject):
            painted += [painted_copy(scan, draw, cache_dir, corruption) for draw in range(draws)]
    return painted, failures


def painted_copy(scan: Scan, draw: int, cache_dir: Path, corruption: Corruption) -> Scan:
    """One copy of `painted_scans`; made unless it is there.

    Raises:
        InputError: the scan cannot be read or painted.
    """
    folder = Path(cache_dir) / "painted"
    key = fingerprint(scan.subject, scan.images, corruption)
    name = f"{scan.subject}_{scan.sequence}_{key}_{draw}"
    images = [folder / f"{name}{f'_{i}' if i else ''}.nii.gz" for i in range(len(scan.images))]
    truth = folder / f"{name}_lesion.nii.gz"
    if not images[0].is_file():
        volumes = read_channels(scan)
        brain = read_mask(scan.brain_mask, like=volumes[0])
        seed = zlib.crc32(f"{scan.subject} {draw}".encode())
        arrays = [volume.array for volume in volumes]
        whole = np.stack(arrays) if len(arrays) > 1 else arrays[0]
        try:
            painted, lesion = paint(whole, brain, volumes[0].spacing_mm, corruption, seed)
        except InputError as error:
            raise InputError(f"{scan.image}: {error}") from None
        write_volume(truth, lesion, volumes[0].affine, np.uint8)
        # The first image comes last: one that is there has its truth, and its other channels.
        painted = painted.reshape(-1, *brain.shape)
        for path, array in [*zip(images, painted, strict=True)][::-1]:
            write_volume(path, array, volumes[0].affine)
    subject = f"{scan.subject}_painted{draw}"
    copy = replace(scan, subject=subject, image=images[0], lesion_mask=truth, native_image=None)
    channels = zip(scan.channels, images, strict=False)
    return replace(copy, channels=tuple(replace(row, image=path) for row, path in channels))
