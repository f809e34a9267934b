"""Detection of left–right flipped scans by the mean asymmetry of the other subjects.

The atlas cannot tell, where it is its own mirror image as nilearn's MNI152 is. People can: in most
the right frontal and the left occipital lobe reach further (Yakovlevian torque; Toga & Thompson
2003, Nature Reviews Neuroscience 4), so the average of the other subjects has a side.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.preparation.atlas import BrainAtlas
from brainuad.preparation.records import Key, Records
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.resample import resample_like

GAIN = "cohort_mirrored_gain"
"""Measure of `ScanRecord.quality`."""

SPACING_MM = 4.0
SMOOTH_MM = 6.0
"""Standard deviation: gyri differ from one person to the next, the shape of the lobes does not."""


def compare_with_mirror(records: Records, atlas: BrainAtlas, out: Path, least: int) -> Failures:
    """Compare each prepared brain with the average of the other subjects, sequence by sequence.

    The correlation with the average's mirror image less that with the average is, but for its
    scale, the inner product of the two antisymmetric parts `f(x) - f(-x)`, because all the rest is
    the same on both sides. The gain is their correlation, negated: 1 for a mirrored brain that is
    lopsided as the others are, -1 for one that lies right, about 0 where there is no telling.

    Each volume is read once; its antisymmetric part takes less than 1 MB. Nothing is done where the
    same scans were compared before.

    Args:
        records: records of the cohort. They are replaced by records with the measure `GAIN`.
        atlas: atlas; the middle of its brain is the plane of symmetry.
        out: cohort folder.
        least: smallest number of subjects of a sequence that are compared.

    Returns:
        Subject and reason of those that could not be compared; they lose their records.
    """
    grid = mirror_grid(atlas)
    failures = Failures()
    for sequence in sorted({sequence for _, sequence in records}):
        own = {key: record for key, record in sorted(records.items()) if key[1] == sequence}
        stamps = {record.subject: record.stamp for record in own.values()}
        stamp = fingerprint(stamps, least, SPACING_MM, SMOOTH_MM)
        if all(record.compared == stamp for record in own.values()):
            continue
        parts: dict[Key, np.ndarray] = {}
        for key, record in own.items() if len(own) >= least else ():
            with failures.catching(record.subject, out / record.image):
                volume = read_volume(out / record.image)
                mask = read_mask(out / record.brain_mask, like=volume)
                parts[key] = lopsided(volume, mask, grid)
            if key not in parts:
                del records[key]
        total = sum(parts.values(), np.zeros(grid.array.shape))
        for key in own.keys() & records.keys():
            quality = {name: value for name, value in own[key].quality.items() if name != GAIN}
            if len(parts) >= least:
                quality[GAIN] = -_correlation(parts[key], total - parts[key])
            records[key] = replace(own[key], quality=quality, compared=stamp)
    return failures


def mirror_grid(atlas: BrainAtlas) -> Volume:
    """Return a coarse grid over the atlas's brain whose first axis reversed is its mirror image."""
    points = np.argwhere(atlas.brain_mask)
    world = points @ atlas.image.affine[:3, :3].T + atlas.image.affine[:3, 3]
    middle = world.mean(axis=0)
    steps = np.ceil(np.abs(world - middle).max(axis=0) / SPACING_MM).astype(int) + 2
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = middle - SPACING_MM * steps
    return Volume(np.zeros(2 * steps + 1, np.float32), affine)


def lopsided(volume: Volume, brain_mask: np.ndarray, grid: Volume) -> np.ndarray:
    """Return the antisymmetric part of a brain on `grid`, of norm 1 (0 for a symmetric one).

    A brain that registration left a little off the plane of the mirror is no lopsided one: what a
    small shift along x and small turns about y and z would change, to first order, is taken out.

    Args:
        volume: prepared volume, any scale of intensities.
        brain_mask: `(D, H, W)` bool.
        grid: result of `mirror_grid`.
    """
    median = float(np.median(volume.array[brain_mask])) if brain_mask.any() else 0.0
    # In units of the median, so that both the outline and the ventricles speak; clipped, so that
    # a vessel or a lesion does not.
    whole = np.where(brain_mask, np.clip(volume.array / (median or 1.0), 0, 2), 0)
    sigma = SMOOTH_MM / np.array(volume.spacing_mm)
    smooth = ndimage.gaussian_filter(whole.astype(np.float32), sigma)
    coarse = resample_like(smooth, volume.affine, grid).astype(np.float64)
    part = coarse - coarse[::-1]
    dx, dy, dz = np.gradient(coarse + coarse[::-1])
    x, y, z = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in part.shape], indexing="ij")
    moves = np.stack([dx, y * dx - x * dy, z * dx - x * dz], axis=-1).reshape(-1, 3)
    basis, _ = np.linalg.qr(moves)
    part = part - (basis @ (part.ravel() @ basis)).reshape(part.shape)
    size = float(np.linalg.norm(part))
    # A norm as small as rounding errors counts as symmetric.
    return part / size if size > 1e-5 * np.linalg.norm(coarse) else np.zeros_like(part)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two antisymmetric arrays, whose means are 0."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 0.0
