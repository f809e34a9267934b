"""Shapes of synthetic lesions in an anatomy: real ones moved and warped, and made ones.

Every function returns a share `(D, H, W)` in [0, 1], the lesion's part of each voxel. Which tissue
a lesion spares is decided when it is painted.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from brainuad.synthetic.anatomies.contrast import both_sides, near
from brainuad.synthetic.anatomies.draws import PLANES, Draws, turned
from brainuad.synthetic.anatomies.healthy import HORNS_MM
from brainuad.synthetic.anatomies.shapes import Shapes
from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import sampled


def real_shape(draws: Draws, anatomy: Anatomy, shapes: Shapes, affine: Tensor) -> Tensor:
    """Return one person's lesions in another's anatomy: flipped, scaled, turned, moved and bent.

    The shape is looked up at each voxel's anatomical place, so it follows the anatomy's own warp.

    Args:
        draws: random numbers.
        anatomy: anatomy of the head.
        shapes: at least one.
        affine: `(4, 4)` of the grid of `shapes`, voxel to MNI152 RAS mm.
    """
    number = draws.number(0, len(shapes) - 1)
    places = anatomy.places
    if draws.chance(0.5):
        places = places * places.new_tensor([-1.0, 1.0, 1.0])[:, None, None, None]
    stored = torch.from_numpy(shapes.full(number)).to(places.device)
    inverse = torch.linalg.inv(affine.to(places.device, torch.float32))
    position = places.movedim(0, -1) @ inverse[:3, :3].T + inverse[:3, 3]
    where = stored.nonzero().float()
    if not len(where):
        return torch.zeros(anatomy.size, device=places.device)
    centre = where.mean(0)
    scale = draws.log_uniform(0.8, 1.45)
    moved = torch.tensor([draws.normal(0, 4.0) for _ in range(3)], device=places.device)
    degrees = draws.uniform(-12, 12)
    turn = turned(degrees, PLANES[draws.number(0, 2)])
    position = (position - centre) @ turn.T.to(places.device) / scale + centre
    bend = draws.uniform(0, 3.5) * draws.field(anatomy.size, anatomy.spacing_mm, 10.0, 3)
    position = position + (moved[:, None, None, None] + bend).movedim(0, -1) / anatomy.spacing_mm
    return sampled(stored[None, None], position[None])[0, 0]


def some_components(draws: Draws, share: Tensor, least: float = 0.2) -> Tensor:
    """Return a share with some of its connected lesions, each kept by the same chance."""
    kept = draws.uniform(least, 1.0)
    labels, count = ndimage.label(share.cpu().numpy() > 0.1)
    if count < 2:
        return share
    chances = torch.rand(count + 1, generator=draws.generator)
    keep = (chances < kept).numpy()
    keep[1 + int(np.argmin(chances[1:].numpy()))] = True
    keep[0] = False
    return share * torch.from_numpy(keep[labels]).to(share.device)


def blob(
    draws: Draws,
    anatomy: Anatomy,
    centre: Tensor,
    radii_mm: tuple[float, float, float],
    rough: float = 0.25,
) -> Tensor:
    """Return an ellipsoid of random turn and rough surface.

    Args:
        draws: random numbers.
        anatomy: gives the grid.
        centre: `(3,)` in voxels.
        radii_mm: half axes.
        rough: standard deviation of the radius over the surface, as a share.
    """
    size, spacing = anatomy.size, anatomy.spacing_mm
    reach = int(max(radii_mm) * (1 + 3 * rough) / spacing) + 3
    low = [max(0, int(c) - reach) for c in centre.tolist()]
    high = [min(n, int(c) + reach + 1) for c, n in zip(centre.tolist(), size, strict=True)]
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=draws.generator))
    radii = torch.tensor(radii_mm)
    box = [b - a for a, b in zip(low, high, strict=True)]
    surface = draws.field(box, spacing, max(0.5 * min(radii_mm), 0.7 * spacing))[0].cpu()
    axes = [torch.arange(a, b, dtype=torch.float32) for a, b in zip(low, high, strict=True)]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre.cpu()
    away = ((offset * spacing) @ turn / radii).norm(dim=-1)
    out = torch.zeros(size, device=anatomy.brain.device)
    # The share of a voxel that a surface cuts falls from one to zero over one voxel.
    step = (1 + rough * surface - away) * min(radii_mm) / spacing + 0.5
    out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = step.clamp(0, 1).to(out)
    return out


def draw_centre(draws: Draws, weights: Tensor) -> Tensor | None:
    """Return a voxel drawn by its weight, `(3,)`; None where all are 0."""
    if not float(weights.max()) > 0:
        return None
    place = draws.index(weights.cpu())
    return torch.tensor(np.unravel_index(place, weights.shape), dtype=torch.float32)


def plaques(draws: Draws, anatomy: Anatomy) -> Tensor:
    """Return lesions of multiple sclerosis: mostly by the ventricles, some below the cortex.

    Radii are log-uniform from 1.2 to 7 mm, most of them small (Lesjak et al. 2018: quartiles of the
    diameter 2.3 to 4.6 mm). Plaques are longer along one axis.
    """
    out = torch.zeros(anatomy.size, device=anatomy.brain.device)
    for _ in range(int(draws.log_uniform(3, 30))):
        kind = draws.index([0.6, 0.25, 0.15])
        centre = draw_centre(draws, (by_ventricles, below_cortex, infratentorial)[kind](anatomy))
        if centre is None:
            continue
        radius = draws.log_uniform(1.2, 7.0)
        radii = (radius, radius * draws.uniform(0.6, 1), radius * draws.uniform(1, 1.8))
        out = torch.maximum(out, blob(draws, anatomy, centre, radii))
    return out


def bands(draws: Draws, anatomy: Anatomy, width_mm: tuple[float, float] = (2.0, 9.0)) -> Tensor:
    """Return confluent hyperintensities along the ventricles, widest at the horns.

    Args:
        draws: random numbers.
        anatomy: anatomy of the head.
        width_mm: range of the usual distance that they reach.
    """
    size, spacing = anatomy.size, anatomy.spacing_mm
    width = draws.log_uniform(*width_mm)
    horns = near(anatomy, both_sides(HORNS_MM), 18.0)
    course = draws.field(size, spacing, draws.uniform(5, 12))[0]
    fine = draws.field(size, spacing, 3.0)[0]
    reach = width * (draws.uniform(0, 0.7) + 0.6 * horns + 0.5 * course + 0.15 * fine)
    return ((reach - anatomy.ventricle_mm) / spacing + 0.5).clamp(0, 1)


def specks(draws: Draws, anatomy: Anatomy) -> Tensor:
    """Return small deep hyperintensities, 1 to 4 mm in radius."""
    out = torch.zeros(anatomy.size, device=anatomy.brain.device)
    weights = deep_white(anatomy)
    for _ in range(int(draws.log_uniform(1, 25))):
        centre = draw_centre(draws, weights)
        if centre is not None:
            radius = draws.log_uniform(1.2, 4.0)
            radii = (radius, radius, radius * draws.uniform(1, 1.6))
            out = torch.maximum(out, blob(draws, anatomy, centre, radii))
    return out


def wedge(draws: Draws, anatomy: Anatomy) -> Tensor:
    """Return a territory: a cone from a deep point to the cortex, rough at its sides."""
    centre = draw_centre(draws, anatomy.share("cortex") * anatomy.brain)
    out = torch.zeros(anatomy.size, device=anatomy.brain.device)
    if centre is None:
        return out
    x, y, z = (int(n) for n in centre)
    outer = anatomy.places[:, x, y, z]
    # Arteries come from the base: from the insula's depth on the same side.
    side = 1.0 if outer[0] > 0 else -1.0
    root = outer.new_tensor([side * draws.uniform(12, 30), draws.uniform(-25, 20), 5.0])
    apex = torch.lerp(root, outer, draws.uniform(0, 0.6))
    axis = outer - apex
    length = axis.norm().clamp_min(8.0)
    offset = anatomy.places - apex[:, None, None, None]
    along = (offset * (axis / length)[:, None, None, None]).sum(0)
    across = (offset.square().sum(0) - along.square()).clamp_min(0).sqrt()
    wide = torch.tan(torch.deg2rad(torch.tensor(draws.uniform(12, 38)))).item()
    rough = 3.0 * draws.field(anatomy.size, anatomy.spacing_mm, 6.0)[0]
    edge = torch.minimum(wide * (along + 4) - across, 1.15 * length - along)
    sides = side * anatomy.places[0]
    edge = torch.minimum(torch.minimum(edge + rough, along + 2), sides)
    return (edge / anatomy.spacing_mm + 0.5).clamp(0, 1)


def by_ventricles(anatomy: Anatomy) -> Tensor:
    """White matter close to the lateral ventricles."""
    return anatomy.share("white") * torch.exp(-anatomy.ventricle_mm / 5.0)


def below_cortex(anatomy: Anatomy) -> Tensor:
    """White matter that shares its voxel with cortex."""
    return anatomy.share("white") * anatomy.share("cortex")


def infratentorial(anatomy: Anatomy) -> Tensor:
    """Brainstem and cerebellar white matter."""
    return anatomy.share("brainstem", "cerebellar white") * (anatomy.brain > 0.5)


def deep_white(anatomy: Anatomy) -> Tensor:
    """White matter away from the cortex."""
    return (anatomy.share("white") - 0.8).clamp_min(0) * (anatomy.brain > 0.5)
