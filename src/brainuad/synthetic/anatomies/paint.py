"""Lesions painted into an image, with the contrast that real ones have.

Medians over white matter of real lesions: FLAIR 1.35 (multiple sclerosis), 1.4 to 1.9 (white matter
hyperintensities), 1.5 to 1.8 (gliomas), 1.4 (acute strokes, 0.9 to 1.75); T2w 1.5 to 2.25; T1w 0.7
to 0.85, gliomas 0.37 to 0.7.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.classes import CLASSES
from brainuad.synthetic.anatomies.contrast import Contrast
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.lesions import Part
from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import blurred

SPREAD = {"FLAIR": 0.10, "T2w": 0.18, "T1w": 0.12, "PD": 0.08, "free": 0.12}
"""Standard deviation of the texture inside a lesion, as a share of its intensity."""

T1_LOSS = {"ms": 0.5, "wmh": 0.55}
"""Loss of T1w signal for each unit of FLAIR gain."""

T1_LOSSES = {"stroke": (0.15, 0.6), "oedema": (0.2, 0.55), "core": (0.3, 0.8), "rim": (0.1, 0.5)}
"""Range of the loss of T1w signal where FLAIR does not decide it."""

T2_GAIN, PD_GAIN = 1.8, 0.5
"""Gain on T2w and PD for each unit of FLAIR gain."""

LEAST_CHANGE = 0.04
"""Share of white matter's intensity below which a change is no lesion: nobody sees it."""


class Painted(NamedTuple):
    """An image with lesions.

    Attributes:
        image: `(D, H, W)`.
        share: `(D, H, W)` share of lesion in each voxel, 0 where nothing changed visibly.
    """

    image: Tensor
    share: Tensor


def level(draws: Draws, part: Part, contrast: Contrast) -> Tensor | float:
    """Draw a part's intensity over white matter's: 1 for no change.

    Args:
        draws: random numbers.
        part: part of a lesion.
        contrast: contrast of the scan.
    """
    kind, sequence = part.kind, contrast.sequence
    size = part.gain.abs() if isinstance(part.gain, Tensor) else abs(part.gain)
    if kind == "cyst":
        csf = float(contrast.means[CLASSES.index("sulcal CSF")])
        # Fluid of a lesion holds protein, so that FLAIR does not suppress all of it.
        found: Tensor | float = csf / contrast.white * draws.uniform(0.9, 1.4)
    elif sequence == "FLAIR":
        found = 1 + part.gain
    elif sequence == "T2w":
        # What is dark on FLAIR is fluid, which is bright on T2w.
        found = 1 + T2_GAIN * size + (draws.uniform(0, 0.6) if kind == "core" else 0.0)
    elif sequence == "PD":
        found = 1 + PD_GAIN * size
    elif sequence == "T1w":
        lost = T1_LOSS[kind] * size if kind in T1_LOSS else draws.uniform(*T1_LOSSES[kind])
        found = 1 - lost
    else:
        change = draws.uniform(0.15, 0.8) * contrast.sign * (1 if draws.chance(0.8) else -1)
        # In a scan whose white matter is bright already there is less room above.
        found = 1 + change * (1 if contrast.white < 0.5 or change < 0 else 0.5)
    return found


def paint(
    draws: Draws, image: Tensor, anatomy: Anatomy, contrast: Contrast, parts: Sequence[Part]
) -> Painted:
    """Paint lesions, one part after the other.

    Args:
        draws: random numbers.
        image: `(D, H, W)` noise-free healthy image.
        anatomy: anatomy of the head.
        contrast: contrast of the scan.
        parts: see `lesions.draw_lesions`.
    """
    spread = SPREAD[contrast.sequence]
    tissue = (1 - anatomy.csf - anatomy.share("vessels", "bone", "soft tissue")).clamp(0, 1)
    painted, total = image, torch.zeros_like(image)
    for part in parts:
        relative = level(draws, part, contrast)
        texture = 1 + spread * part.texture
        flat = contrast.white * relative * texture
        scaled = image * relative * texture
        target = torch.lerp(flat + torch.zeros_like(image), scaled, part.kept).clamp_min(0)
        share = part.share * (anatomy.brain.clamp(0, 1) if part.in_csf else tissue)
        painted = torch.lerp(painted, target, share.clamp(0, 1))
        total = torch.maximum(total, share)
    change = (painted - image).abs()
    # Smoothed too: texture that crosses the healthy value makes no hole in a lesion.
    around = blurred(change[None, None], image.new_tensor([1.0]))[0, 0]
    seen = torch.maximum(change, around) >= LEAST_CHANGE * contrast.white
    return Painted(painted, total * seen)
