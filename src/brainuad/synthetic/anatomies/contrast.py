"""Contrast: from tissue shares to the image of a sequence.

Values of T1w, T2w, FLAIR and PD are medians and ranges over real scans, relative to white matter:
6 IXI heads, 45 T1w slabs, 15 elderly people, 2 with multiple sclerosis, 5 with white matter
hyperintensities and 2 with a tumour. Classes that no truth outlines (plexus, vessels, bone, soft
tissue) have textbook values. A contrast is drawn by sequence or free. Networks trained on the first
do far better on that sequence; free contrast is for scans of an unknown one.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.classes import CLASSES, GREY, WHITE
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import between

SEQUENCES = ("FLAIR", "T2w", "T1w", "PD")
FREE = "free"

Range = tuple[float, float, float]
Place = tuple[float, float, float]


def _relative() -> dict[str, dict[str, Range]]:
    table: dict[str, dict[str, Range]] = {}
    with Path(__file__).with_name("relative.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for sequence, name, low, usual, high in rows:
            table.setdefault(sequence, {})[name] = (float(low), float(usual), float(high))
    return table


RELATIVE = _relative()
"""Sequence to class to lowest, usual and highest value, white matter being 1."""

WHITE_VALUE = {"T1w": 0.80, "T2w": 0.27, "FLAIR": 0.50, "PD": 0.75}
"""Intensity of white matter, so that a healthy brain lies in 0 to 1."""

DEVIATION = {"T1w": (0.035, 0.04), "T2w": (0.10, 0.13), "FLAIR": (0.085, 0.12), "PD": (0.03, 0.04)}
"""Standard deviations of texture in white and in grey matter, relative to white matter."""

TRACTS = {"T1w": 0.05, "T2w": -0.03, "FLAIR": -0.05, "PD": -0.02}
"""Excess of the corpus callosum over other white matter."""

CALLOSUM_MM = ((0.0, 22.0, 10.0), (0.0, -8.0, 24.0), (0.0, -38.0, 14.0))
"""Genu, body and splenium of the corpus callosum in MNI152 space."""


@dataclass(frozen=True)
class Contrast:
    """Intensities of one scan.

    Attributes:
        sequence: one of `SEQUENCES`, or `free`.
        means: `(16,)` of the classes, 0 to about 1.
        background: intensity of air.
        fine, coarse: `(2, D, H, W)` unit-variance textures of white and of grey matter.
        deviations: standard deviations of each texture in white and in grey, of white's mean.
        tracts: excess of the corpus callosum, as a share of white matter.
    """

    sequence: str
    means: Tensor
    background: float
    fine: Tensor
    coarse: Tensor
    deviations: tuple[tuple[float, float], tuple[float, float]]
    tracts: float

    @property
    def white(self) -> float:
        """Mean of cerebral white matter."""
        return float(self.means[0])

    @property
    def sign(self) -> float:
        """Return 1 where water is bright (grey above white), -1 where it is dark."""
        if self.sequence == FREE:
            return 1.0 if self.means[1] > self.means[0] else -1.0
        return -1.0 if self.sequence == "T1w" else 1.0


def draw_contrast(
    draws: Draws,
    size: tuple[int, int, int],
    spacing_mm: float,
    sequence: str,
    jitter: float = 0.03,
) -> Contrast:
    """Draw the contrast of a scan.

    Args:
        draws: random numbers.
        size: `(D, H, W)`.
        spacing_mm: edge length of a voxel.
        sequence: one of `SEQUENCES`, or `free`.
        jitter: standard deviation of each class's value about the measured range, as a share.

    Raises:
        ValueError: an unknown sequence.
    """
    if sequence == FREE:
        means = _free_means(draws)
        deviation = (draws.uniform(0.02, 0.08), draws.uniform(0.02, 0.1))
        tracts = draws.uniform(-0.08, 0.08)
    elif sequence in RELATIVE:
        table = RELATIVE[sequence]
        values = [draws.triangular(*table[name]) * (1 + draws.normal(0, jitter)) for name in table]
        values[0] = 1.0
        means = torch.tensor(values) * WHITE_VALUE[sequence]
        deviation, tracts = DEVIATION[sequence], TRACTS[sequence] * draws.uniform(0, 2)
    else:
        known = ", ".join((*SEQUENCES, FREE))
        raise ValueError(f"sequence is '{sequence}'; use one of {known}")
    share = draws.uniform(0.3, 0.8)
    scale = draws.uniform(0.7, 1.3)
    fine = draws.field(size, spacing_mm, draws.uniform(1.5, 3.0), 2)
    coarse = draws.field(size, spacing_mm, draws.uniform(5.0, 15.0), 2)
    deviations = tuple(
        tuple(scale * part * one for one in deviation) for part in (share**0.5, (1 - share) ** 0.5)
    )
    background = 0.0 if draws.chance(0.5) else draws.uniform(0, 0.05)
    means = means.clamp_min(0).to(draws.device)
    return Contrast(sequence, means, background, fine, coarse, deviations, tracts)  # type: ignore[arg-type]


def render(anatomy: Anatomy, contrast: Contrast) -> Tensor:
    """Return the noise-free image of a healthy head, `(D, H, W)`; 0 to about 1."""
    tissues = anatomy.tissues
    size = anatomy.size
    image = (contrast.means @ tissues.flatten(1)).reshape(size)
    image = image + contrast.background * (1 - tissues.sum(0)).clamp(0, 1)
    white, grey = tissues[list(WHITE)].sum(0), tissues[list(GREY)].sum(0)
    (fine_white, fine_grey), (coarse_white, coarse_grey) = contrast.deviations
    texture = white * (fine_white * contrast.fine[0] + coarse_white * contrast.coarse[0])
    texture = texture + grey * (fine_grey * contrast.fine[1] + coarse_grey * contrast.coarse[1])
    # The head outside the brain is no homogeneous paste either.
    rest = tissues[CLASSES.index("soft tissue")]
    texture = texture + rest * 0.25 * contrast.fine[0]
    callosum = near(anatomy, CALLOSUM_MM, 12.0)
    texture = texture + contrast.tracts * tissues[0] * callosum
    return (image + contrast.white * texture).clamp_min(0)


def near(anatomy: Anatomy, places_mm: Sequence[Place], width_mm: float) -> Tensor:
    """Return the sum of Gaussians about MNI152 places, each 1 at its own, `(D, H, W)`."""
    # At half the resolution: a tenth of the time, and as smooth.
    total = torch.zeros_like(anatomy.coarse_places[0])
    for place in places_mm:
        x, y, z = (
            (axis - middle).square()
            for axis, middle in zip(anatomy.coarse_places, place, strict=True)
        )
        total += torch.exp((x + y + z) * (-0.5 / width_mm**2))
    return between(total[None, None], anatomy.size, ends=False)[0, 0]


def both_sides(places_mm: Sequence[Place]) -> tuple[Place, ...]:
    """Return MNI152 places and their mirror images on the other side."""
    return (*places_mm, *((-x, y, z) for x, y, z in places_mm))


def _free_means(draws: Draws) -> Tensor:
    """Return means of any contrast. Classes of one tissue stay close, deep grey lies between."""
    white, grey, csf, bone, soft, other = (draws.uniform(0.1, 0.9) for _ in range(6))
    while abs(white - grey) < 0.05:
        grey = draws.uniform(0.1, 0.9)
    values = {
        "white": white,
        "cortex": grey,
        "cerebellar white": white,
        "cerebellar cortex": grey,
        "sulcal CSF": csf,
        "ventricles": csf,
        "hippocampus": grey,
        "brainstem": white,
        "plexus": 0.5 * (grey + csf),
        "vessels": other,
        "bone": bone,
        "soft tissue": soft,
    }
    for name in ("thalamus", "caudate", "putamen", "pallidum"):
        values[name] = white + (grey - white) * draws.uniform(-0.2, 1.1)
    return torch.tensor(
        [values[name] + (draws.normal(0, 0.03) if name != "white" else 0.0) for name in CLASSES]
    )
