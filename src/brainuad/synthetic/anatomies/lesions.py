"""Lesions of one scan: what is drawn for each disease."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from scipy import ndimage
from torch import Tensor

from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.lesion_shapes import (
    bands,
    blob,
    draw_centre,
    plaques,
    real_shape,
    some_components,
    specks,
    wedge,
)
from brainuad.synthetic.anatomies.mass_effect import push
from brainuad.synthetic.anatomies.shapes import Shapes
from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import blurred

DISEASES = ("ms", "wmh", "stroke", "tumour", "mixed", "none")
GLIOMA_MM = (12.0, 38.0)
"""Radius of a glioma's core; real ones have 10 to 300 ml with their oedema."""

SMALL_MM3, FAINTER, FAINTEST = 200.0, 0.12, 0.08
"""Below this volume the gain falls by so much a factor of ten, down to the last."""


@dataclass(frozen=True)
class Part:
    """Lesions of one kind of tissue.

    Attributes:
        kind: `ms`, `wmh`, `stroke`, `oedema`, `core`, `rim` or `cyst`; `paint.level`
            gives its intensity.
        share: `(D, H, W)` in [0, 1].
        gain: `(D, H, W)` or a number: how much brighter than white matter in FLAIR, as a share;
            negative for darker.
        texture: `(D, H, W)` unit-variance field.
        kept: share of the anatomy's own contrast that shows through, 0 to 1.
        in_csf: whether it fills CSF too.
    """

    kind: str
    share: Tensor
    gain: Tensor | float
    texture: Tensor
    kept: float
    in_csf: bool = False


@dataclass(frozen=True)
class LesionSettings:
    """Frequencies of the diseases.

    Args:
        weights: weights of `DISEASES`.
        real: probability that a shape is a real one, where there are any.
        dark: probability that a stroke's or a plaque's sign is the unusual one.
        edge_mm: standard deviation of the blur of a lesion's edge.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "ms": 0.26,
            "wmh": 0.18,
            "stroke": 0.22,
            "tumour": 0.20,
            "mixed": 0.06,
            "none": 0.08,
        }
    )
    real: float = 0.6
    dark: float = 0.07
    edge_mm: tuple[float, float] = (0.4, 1.6)


@dataclass(frozen=True)
class RealShapes:
    """Shapes of real lesions.

    Args:
        kinds: `stroke`, `ms` and `wmh` to the shapes; may lack some.
        affine: `(4, 4)` of their grid, voxel to MNI152 RAS mm.
    """

    kinds: Mapping[str, Shapes]
    affine: Tensor

    def draw(self, draws: Draws, anatomy: Anatomy, kind: str, probability: float) -> Tensor | None:
        """Return a real shape with this probability, or None."""
        found = self.kinds.get(kind)
        if not draws.chance(probability) or found is None or not len(found):
            return None
        return real_shape(draws, anatomy, found, self.affine)


def draw_lesions(
    draws: Draws,
    anatomy: Anatomy,
    real: RealShapes,
    settings: LesionSettings,
    disease: str | None = None,
) -> tuple[str, Anatomy, list[Part]]:
    """Draw a disease and its lesions.

    Args:
        draws: random numbers.
        anatomy: anatomy of the head.
        real: shapes of real lesions.
        settings: ranges.
        disease: one of `DISEASES`; None to draw it.

    Returns:
        The disease, the anatomy (tumours push tissue aside), and the lesions' parts in the order
        of painting.

    Raises:
        ValueError: an unknown disease.
    """
    if disease is None:
        disease = DISEASES[draws.index([settings.weights.get(name, 0.0) for name in DISEASES])]
    if disease not in DISEASES:
        raise ValueError(f"disease is '{disease}'; use one of {', '.join(DISEASES)}")
    if disease == "none":
        return disease, anatomy, []
    if disease == "mixed":
        first, second = (("wmh", "stroke"), ("wmh", "tumour"), ("ms", "wmh"))[draws.number(0, 2)]
        _, anatomy, parts = draw_lesions(draws, anatomy, real, settings, second)
        _, anatomy, others = draw_lesions(draws, anatomy, real, settings, first)
        return disease, anatomy, [*others, *parts]
    if disease == "tumour":
        return disease, *_tumours(draws, anatomy)
    found = {"ms": _ms, "wmh": _wmh, "stroke": _stroke}[disease](draws, anatomy, real, settings)
    return disease, anatomy, found


def _ms(draws: Draws, anatomy: Anatomy, real: RealShapes, settings: LesionSettings) -> list[Part]:
    share = real.draw(draws, anatomy, "ms", settings.real)
    if share is None:
        share = plaques(draws, anatomy)
    else:
        share = some_components(draws, share)
        if draws.chance(0.4):
            share = torch.maximum(share, plaques(draws, anatomy))
    if draws.chance(0.4):
        # Confluent lesions hold most of the volume of many patients.
        share = torch.maximum(share, bands(draws, anatomy, (1.5, 7.0)))
    gain = draws.log_uniform(0.25, 0.8)
    return [_white_part(draws, anatomy, "ms", share, gain, settings)]


def _wmh(draws: Draws, anatomy: Anatomy, real: RealShapes, settings: LesionSettings) -> list[Part]:
    share = torch.zeros_like(anatomy.brain)
    if settings.real > 0 and draws.chance(settings.real) and float(anatomy.lesions.sum()) > 10:
        # The head's own lesions fit its ventricles exactly.
        share = some_components(draws, anatomy.lesions, 0.5)
        if draws.chance(0.5):
            share = torch.maximum(share, bands(draws, anatomy))
    else:
        found = real.draw(draws, anatomy, "wmh", settings.real)
        share = bands(draws, anatomy) if found is None else found
    if draws.chance(0.7):
        share = torch.maximum(share, specks(draws, anatomy))
    gain = draws.log_uniform(0.4, 1.0)
    return [_white_part(draws, anatomy, "wmh", share, gain, settings)]


def _white_part(
    draws: Draws,
    anatomy: Anatomy,
    kind: str,
    share: Tensor,
    gain: float,
    settings: LesionSettings,
) -> Part:
    """Return lesions limited to white matter and deep grey, the small ones fainter."""
    allowed = anatomy.share(
        *("white", "cerebellar white", "brainstem", "thalamus", "putamen", "pallidum", "caudate")
    )
    share = share * (allowed + 0.4 * anatomy.share("cortex")).clamp(0, 1)
    sign = -0.7 if draws.chance(0.4 * settings.dark) else 1.0
    gains = sign * gain_by_volume(share, gain, anatomy.spacing_mm, draws)
    share = _soft(share, draws.uniform(*settings.edge_mm), anatomy.spacing_mm)
    return Part(kind, share, gains, _texture(draws, anatomy), draws.uniform(0.1, 0.5))


def _stroke(
    draws: Draws, anatomy: Anatomy, real: RealShapes, settings: LesionSettings
) -> list[Part]:
    count = draws.index([0.7, 0.2, 0.1]) + 1
    share = torch.zeros_like(anatomy.brain)
    for _ in range(count):
        one = real.draw(draws, anatomy, "stroke", settings.real)
        share = torch.maximum(share, wedge(draws, anatomy) if one is None else one)
    share = share * (anatomy.brain > 0.5)
    gain = draws.log_uniform(0.25, 1.0) * (-1 if draws.chance(settings.dark) else 1)
    share = _soft(share, draws.uniform(*settings.edge_mm), anatomy.spacing_mm)
    kept = draws.uniform(0.2, 0.9)
    parts = [Part("stroke", share, gain, _texture(draws, anatomy), kept)]
    if draws.chance(0.25):
        # An old stroke: fluid in its middle, a rim of gliosis around.
        course = draws.field(anatomy.size, anatomy.spacing_mm, 5.0)[0]
        inner = _soft(share, 3.0, anatomy.spacing_mm) * share
        cyst = ((inner - draws.uniform(0.5, 0.9) + 0.15 * course) * 4).clamp(0, 1) * share
        parts.append(Part("cyst", cyst, 0.0, _texture(draws, anatomy), 0.0, in_csf=True))
    return parts


def _tumours(draws: Draws, anatomy: Anatomy) -> tuple[Anatomy, list[Part]]:
    """One glioma, or up to six metastases with oedema of their own."""
    if draws.chance(0.2):
        radii = [draws.log_uniform(2.5, 10.0) for _ in range(draws.number(1, 6))]
    else:
        radii = [draws.log_uniform(*GLIOMA_MM)]
    levels = (draws.log_uniform(0.3, 1.1), draws.uniform(0, 1), draws.uniform(0, 1))
    cystic = draws.chance(0.3)
    parts: list[Part] = []
    for radius in radii:
        # Away from wide CSF, which a push would blow up like a balloon.
        solid = (1 - _soft(anatomy.csf, 4.0, anatomy.spacing_mm)).clamp(0, 1) ** 4
        weights = anatomy.share("white", "cortex", "thalamus", "putamen") * solid
        weights = weights * (anatomy.brain > 0.9)
        centre = draw_centre(draws, weights)
        if centre is None:
            continue
        anatomy = push(anatomy, centre, 2.2 * radius + 6, draws.uniform(0.0, 0.5))
        parts += _tumour(draws, anatomy, centre, radius, levels, cystic)
    return anatomy, parts


def _tumour(
    draws: Draws,
    anatomy: Anatomy,
    centre: Tensor,
    radius: float,
    levels: tuple[float, float, float],
    cystic: bool,
) -> list[Part]:
    """Oedema along white matter, a core, its rim, and a cyst or necrosis."""
    oedema_gain, core_gain, rim_gain = levels
    spacing = anatomy.spacing_mm
    parts = []
    long = draws.uniform(1, 1.5)
    core = blob(draws, anatomy, centre, (radius, radius / long**0.5, radius * long), 0.2)
    inside = (anatomy.brain > 0.5).float()
    if draws.chance(0.85):
        wide = radius * draws.uniform(1.3, 2.4) + draws.uniform(0, 6)
        reach = blob(draws, anatomy, centre, (wide, wide * draws.uniform(0.7, 1), wide), 0.3)
        white = anatomy.share("white", "brainstem", "thalamus", "putamen", "pallidum")
        # Oedema follows white matter and stops at the cortex.
        oedema = reach * (white + draws.uniform(0.1, 0.6) * anatomy.share("cortex")).clamp(0, 1)
        oedema = _soft(torch.maximum(oedema, core), draws.uniform(0.8, 2.5), spacing) * inside
        texture = _texture(draws, anatomy)
        parts.append(Part("oedema", oedema, oedema_gain, texture, draws.uniform(0.1, 0.5)))
    soft = _soft(core, draws.uniform(0.5, 2.0), spacing) * inside
    parts.append(Part("core", soft, core_gain, _texture(draws, anatomy), 0.0, in_csf=True))
    if draws.chance(0.6) and radius > 4:
        thick = draws.uniform(1.5, 3.5)
        inner = blob(draws, anatomy, centre, (max(1.0, radius - thick),) * 3, 0.15)
        rim = (soft - inner).clamp(0, 1)
        texture = _texture(draws, anatomy)
        parts.append(Part("rim", rim, rim_gain, texture, 0.0, in_csf=True))
        if cystic:
            texture = _texture(draws, anatomy)
            parts.append(Part("cyst", inner * soft, 0.0, texture, 0.0, in_csf=True))
    return parts


def gain_by_volume(share: Tensor, gain: float, spacing_mm: float, draws: Draws) -> Tensor:
    """Return each lesion's gain, `(D, H, W)`: small ones are fainter, each differs by some 5 %.

    Measured on real lesions: the ratio to the surroundings falls by about 0.12 a factor of ten in
    volume below 200 mm^3.
    """
    labels, count = ndimage.label(share.cpu().numpy() > 0.2)
    if count == 0:
        return torch.full_like(share, gain)
    index = torch.from_numpy(labels).to(share.device, torch.long)
    volumes = torch.zeros(count + 1, device=share.device)
    volumes.index_add_(0, index.flatten(), share.flatten())
    volumes = (volumes * spacing_mm**3).clamp_min(1.0)
    fainter = FAINTER * (SMALL_MM3 / volumes).log10().clamp_min(0)
    jitter = 1 + 0.05 * draws.noise((count + 1,))
    gains = ((gain - fainter).clamp_min(min(gain, FAINTEST)) * jitter).clamp_min(0)
    gains[0] = gain
    return gains[index]


def _soft(share: Tensor, sigma_mm: float, spacing_mm: float) -> Tensor:
    return blurred(share[None, None], share.new_tensor([sigma_mm / spacing_mm]))[0, 0]


def _texture(draws: Draws, anatomy: Anatomy) -> Tensor:
    return draws.field(anatomy.size, anatomy.spacing_mm, draws.uniform(1.5, 5.0))[0]
