"""One subject of the embedded cohort, from its name and the seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainuad.synthetic.phantom.anatomy import draw_anatomy
from brainuad.synthetic.phantom.contrast import SEQUENCES, draw_acquisition, draw_details, render
from brainuad.synthetic.phantom.pathology import draw_lesion
from brainuad.synthetic.twins import lesion_contrast, scaled_alike


@dataclass(frozen=True)
class PhantomSubject:
    """A synthetic brain, prepared like a real one. Arrays are `(D, H, W)` on one grid.

    Attributes:
        subject: its name.
        affine: `(4, 4)`, voxel to MNI RAS mm.
        brain_mask: bool.
        lesion_mask: bool, exact; empty when healthy.
        images: sequence to float32 in [0, 1], 0 outside the brain.
        twins: the same subject, anatomy, bias and noise without the lesion: the ideal
            reconstruction. Equal to `images` when healthy.
        pathology: `tumour`, `ms`, `stroke`, or None.
        contrast: sequence to the mean over the lesion of image - twin, in standard deviations of
            the twin's brain; NaN when healthy.
    """

    subject: str
    affine: np.ndarray
    brain_mask: np.ndarray
    lesion_mask: np.ndarray
    images: dict[str, np.ndarray]
    twins: dict[str, np.ndarray]
    pathology: str | None
    contrast: dict[str, float]


def make_subject(
    subject: str,
    *,
    seed: int = 0,
    spacing_mm: float = 2.0,
    sequences: Sequence[str] = SEQUENCES,
    pathology: str | None = None,
    anisotropic_share: float = 0.25,
) -> PhantomSubject:
    """Make one subject; the same arguments give the same voxels, bit for bit.

    Args:
        subject: name; with `seed` it decides everything that is drawn.
        seed: random seed of the cohort.
        spacing_mm: edge length of the isotropic voxels in mm, 1 or more.
        sequences: some of `T1w`, `T2w`, `FLAIR`.
        pathology: `tumour`, `ms`, `stroke`, or None for a healthy subject.
        anisotropic_share: share of scans with 3 to 5 mm slices.

    Raises:
        ValueError: unknown sequence or pathology, or a spacing below 1 mm.
    """
    unknown = [name for name in sequences if name not in SEQUENCES]
    if unknown or spacing_mm < 1:
        raise ValueError(
            f"sequences {list(sequences)} at {spacing_mm} mm; use some of {', '.join(SEQUENCES)} "
            "at 1 mm or more"
        )
    anatomy = draw_anatomy(subject, seed, spacing_mm)
    details = draw_details(anatomy, subject, seed)
    inside = anatomy.brain_mask
    lesion = None if pathology is None else draw_lesion(anatomy, pathology, subject, seed)
    lesion_mask = np.zeros_like(inside) if lesion is None else lesion.mask & inside
    images, twins, contrast = {}, {}, {}
    for sequence in sequences:
        acquire = draw_acquisition(anatomy, sequence, subject, seed, anisotropic_share)
        clean = render(anatomy, details, sequence, subject, seed)
        twin = acquire(clean)
        image = twin if lesion is None else acquire(lesion.paint(clean, sequence, spacing_mm))
        images[sequence], twins[sequence] = scaled_alike(image, twin, inside)
        contrast[sequence] = lesion_contrast(images[sequence], twins[sequence], lesion_mask, inside)
    return PhantomSubject(
        subject, anatomy.affine, inside, lesion_mask, images, twins, pathology, contrast
    )


def tiny_subject(
    subject: str, *, seed: int = 0, pathology: str | None = None, spacing_mm: float = 6.0
) -> PhantomSubject:
    """A coarse subject for tests, a fraction of a second."""
    return make_subject(subject, seed=seed, spacing_mm=spacing_mm, pathology=pathology)
