"""Healthy structures that look like lesions and that no label map holds.

Periventricular caps and rims, the septum, perivascular spaces, CSF that flows, sulci whose signal
is not suppressed, bright insula and cingulate cortex, the posterior limb of the internal capsule.
They are painted as healthy, so that a detector learns to leave them alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.contrast import Contrast, both_sides, near
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import blurred

HORNS_MM = ((16.0, 34.0, 8.0), (24.0, -56.0, 8.0))
"""Tips of the frontal and the occipital horns."""

INSULA_MM = (38.0, 4.0, 0.0)
CINGULATE_MM = (0.0, 10.0, 30.0)
CAPSULE_MM = (23.0, -16.0, 12.0)
SEPTUM_MM = (0.0, 8.0, 14.0)
FLOW_MM = ((0.0, -12.0, 2.0), (0.0, -32.0, -8.0), (0.0, -46.0, -34.0), (4.0, 4.0, 12.0))
"""Third ventricle, aqueduct, fourth ventricle, foramina of Monro."""


@dataclass(frozen=True)
class Structures:
    """Draws of a head. Amounts are shares of white matter's intensity, signs are the sequence's.

    Attributes:
        caps: at the horns.
        rim: along the ventricles' walls.
        cap_mm, rim_mm: widths.
        walls: `(D, H, W)` field that spares some walls.
        septum: at the septum between the lateral ventricles.
        cortex: amount of insula and cingulate cortex.
        capsule: amount of the internal capsule's posterior limb.
        flow: added to CSF at `FLOW_MM` and where `streams` is high.
        sulci: added to sulcal CSF where `streams` is high.
        streams: `(D, H, W)` field.
        spaces: `(D, H, W)` share of perivascular spaces.
        space_value: intensity of the spaces: that of CSF.
    """

    caps: float
    rim: float
    cap_mm: float
    rim_mm: float
    walls: Tensor
    septum: float
    cortex: float
    capsule: float
    flow: float
    sulci: float
    streams: Tensor
    spaces: Tensor
    space_value: float


def draw_structures(draws: Draws, anatomy: Anatomy, contrast: Contrast, age: float) -> Structures:
    """Draw the structures of a scan.

    Args:
        draws: random numbers.
        anatomy: anatomy of the head.
        contrast: contrast of the scan; gives the signs.
        age: 0 for young to 1 for old people, who have more caps, rims and spaces.
    """
    size, spacing = anatomy.size, anatomy.spacing_mm
    sign = contrast.sign * {"T1w": 0.5, "T2w": 1.3, "PD": 0.7}.get(contrast.sequence, 1.0)
    old = 0.4 + 0.6 * age
    flair = contrast.sequence == "FLAIR"
    csf = float(contrast.means[5])
    # In FLAIR flowing CSF is bright, elsewhere it loses signal.
    flow = draws.uniform(0.1, 0.9) if flair else -0.6 * csf / contrast.white * draws.uniform(0, 1)
    spots = draws.field(size, spacing, max(0.8, 0.5 * spacing))
    limit = draws.uniform(2.9, 3.8) - 0.3 * age
    return Structures(
        caps=sign * draws.uniform(0, 0.6) * old,
        rim=sign * draws.uniform(0, 0.35) * old,
        cap_mm=draws.uniform(4, 9),
        rim_mm=draws.uniform(1, 3),
        walls=torch.sigmoid(3 * (draws.field(size, spacing, 12.0)[0] + draws.uniform(-0.5, 1.5))),
        septum=sign * draws.uniform(0, 0.2),
        cortex=sign * draws.uniform(0, 0.22),
        capsule=sign * draws.uniform(0, 0.2),
        flow=flow if draws.chance(0.6) else 0.0,
        sulci=draws.uniform(0.2, 0.9) if flair and draws.chance(0.35) else 0.0,
        streams=(draws.field(size, spacing, 8.0)[0] - 0.8).clamp(0, 1),
        spaces=(2 * (spots[0] - limit)).clamp(0, 1),
        space_value=csf,
    )


def add_structures(
    image: Tensor, anatomy: Anatomy, contrast: Contrast, found: Structures
) -> Tensor:
    """Return the image with the structures, `(D, H, W)`."""
    white = anatomy.share("white")
    distance = anatomy.ventricle_mm
    horns = near(anatomy, both_sides(HORNS_MM), 11.0).clamp(0, 1)
    caps = found.caps * horns * torch.exp(-((distance / found.cap_mm) ** 2))
    rim = found.rim * torch.exp(-((distance / found.rim_mm) ** 2))
    added = white * found.walls * (caps + rim)
    added = added + found.septum * white * near(anatomy, [SEPTUM_MM], 5.0)
    cortex = anatomy.share("cortex")
    midline = torch.exp(-0.5 * (anatomy.places[0] / 8.0) ** 2)
    insula = near(anatomy, both_sides([INSULA_MM]), 11.0)
    limbic = insula + midline * near(anatomy, [CINGULATE_MM], 35.0)
    added = added + found.cortex * cortex * limbic.clamp(0, 1)
    added = added + found.capsule * white * near(anatomy, both_sides([CAPSULE_MM]), 4.0)
    places = near(anatomy, FLOW_MM, 7.0).clamp(0, 1)
    ventricles, sulci = anatomy.share("ventricles"), anatomy.share("sulcal CSF")
    streams = found.streams
    added = added + found.flow * ventricles * (places + 0.5 * streams).clamp(0, 1)
    # Basal cisterns, where vessels pulse.
    basal = torch.sigmoid((-18 - anatomy.places[2]) / 6)
    added = added + found.flow * sulci * streams * basal
    added = added + found.sulci * sulci * streams * (1 - basal)
    image = image + contrast.white * added
    spaces = found.spaces * (white + anatomy.share("putamen", "pallidum"))
    return torch.lerp(image, torch.full_like(image, found.space_value), spaces).clamp_min(0)


def skull_strip(draws: Draws, anatomy: Anatomy) -> Tensor:
    """Return a brain mask with the errors of skull stripping, `(D, H, W)` bool.

    The border is off by up to 3 mm, differently here and there. A few masks keep a piece of what
    lies outside the brain, or miss a piece of it.
    """
    spacing = anatomy.spacing_mm
    width = max(1.0, 2.5 / spacing)
    smooth = blurred(anatomy.brain[None, None], anatomy.brain.new_tensor([width]))[0, 0]
    # About the border a smoothed step of one falls by 1 / (sqrt(2 pi) sigma) a voxel.
    slope = 0.4 / (width * spacing)
    off = draws.normal(0, 0.8) + draws.uniform(0, 1.0) * draws.field(anatomy.size, spacing, 12.0)[0]
    if draws.chance(0.25):
        off = off + 4.0 * (draws.field(anatomy.size, spacing, 14.0)[0] - 2.0).clamp(0, 1)
    if draws.chance(0.25):
        off = off - 4.0 * (draws.field(anatomy.size, spacing, 14.0)[0] - 2.2).clamp(0, 1)
    return smooth > (0.5 - slope * off.clamp(-4, 5)).clamp(0.02, 0.98)
