"""Tissue pushed aside by a growing lesion."""

from dataclasses import replace

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.warp import Anatomy
from brainuad.synthetic.grids import sampled


def push(anatomy: Anatomy, centre: Tensor, radius_mm: float, strength: float) -> Anatomy:
    """Return an anatomy in which a ball has grown out of one point.

    As `lesions.mass_effect` does for images: what is at c + r d comes from c + g(r) d with
    g(r) = r (1 - s (1 - r^2)^2), r being 1 at the ball's surface. The map is one to one for
    strengths s below 1. Only shares that stay inside the brain are moved, so that the skull keeps
    its shape.

    Args:
        anatomy: before.
        centre: `(3,)` in voxels.
        radius_mm: radius of the ball.
        strength: 0 for nothing to below 1; the middle is magnified 1 / (1 - strength) times.
    """
    spacing = anatomy.spacing_mm
    reach = int(radius_mm / spacing) + 2
    low = [max(0, int(c) - reach) for c in centre.tolist()]
    high = [min(n, int(c) + reach + 1) for c, n in zip(centre.tolist(), anatomy.size, strict=True)]
    box = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    extra = torch.stack([anatomy.brain, anatomy.lesions, anatomy.ventricle_mm])
    wholes = [anatomy.tissues, extra, anatomy.places]
    if anatomy.real is not None:
        wholes.append(anatomy.real.image[None])
    fields = torch.cat([whole[box] for whole in wholes])
    axes = [torch.arange(n - m, dtype=torch.float32) for m, n in zip(low, high, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).to(fields.device)
    middle = (centre - torch.tensor(low)).to(fields)
    offset = grid - middle
    square = (offset.square().sum(-1) * (spacing / radius_mm) ** 2).clamp(0, 1)
    position = middle + offset * (1 - strength * (1 - square) ** 2)[..., None]
    moved = sampled(fields[None], position[None])[0]
    # Nothing from outside the brain is pushed into it, and the skull is hard.
    count = len(anatomy.tissues)
    soft = torch.minimum(moved[count], fields[count]).clamp(0, 1)
    mixed = torch.lerp(fields, moved, soft)
    parts = []
    for whole, part in zip(wholes, mixed.split([len(whole) for whole in wholes]), strict=True):
        parts.append(whole.clone())
        parts[-1][box] = part
    tissues, extra, places, *images = parts
    real = anatomy.real and replace(anatomy.real, image=images[0][0])
    return replace(
        anatomy,
        tissues=tissues,
        brain=extra[0],
        lesions=extra[1],
        ventricle_mm=extra[2],
        places=places,
        real=real,
    )
