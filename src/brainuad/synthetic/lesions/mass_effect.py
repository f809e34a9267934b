"""Lesions that show by what they do to the tissue around them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.grids import pixel_grid, sampled
from brainuad.synthetic.lesions.contract import Painted, blend, uniform
from brainuad.synthetic.lesions.fillings import draw_shift
from brainuad.synthetic.lesions.shapes import Ellipsoids


@dataclass(frozen=True)
class MassEffect:
    """Tissue pushed out of, or drawn into, an ellipsoid, smoothly and one to one.

    The field is our own: what is seen at c + r d comes from c + g(r) d, where
    g(r) = r (1 - s (1 - r^2)^2) and r = 1 on the ellipsoid. g grows with r for every strength
    |s| < 1, and the field is smooth across the ellipsoid. Where tissue would come from outside
    the brain, nothing changes.

    Args:
        shape: shape with one ellipsoid per sample, or several that act as one: each pixel follows
            the one it is deepest in.
        strength: |s|, uniform between the two; at s the centre is magnified 1 / (1 - s) times.
        growing: probability of a push outwards (s > 0).
        contrast: contrast of a shift in the middle, as in `IntensityShift`; (0, 0) for none.
        bright: probability that it is brighter.

    The share is (1 - r^2)^2, 1 in the centre and 0 on the ellipsoid: how much tissue is stretched.

    Raises:
        ValueError: a strength of 1 or more.
    """

    shape: Ellipsoids
    strength: tuple[float, float] = (0.3, 0.8)
    growing: float = 0.5
    contrast: tuple[float, float] = (0.0, 0.0)
    bright: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength[0] <= self.strength[1] < 1:
            raise ValueError(f"strength is {self.strength}; use two values in [0, 1)")

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`."""
        size, batch = image.shape[2:], len(image)
        squares, used, centres = self.shape.draw(brain_mask, generator)
        size_of = uniform(*self.strength, image, generator)
        grows = uniform(0, 1, image, generator) < self.growing
        strength = torch.where(grows, size_of, -size_of)
        shift = draw_shift(image, brain_mask, self.contrast, self.bright, generator)

        used = used.reshape(*used.shape, *[1] * len(size))
        share, which = ((1 - squares).clamp_min(0).square() * used).max(1, keepdim=True)
        grid = pixel_grid(image)
        centre = centres[torch.arange(batch, device=image.device)[:, None], which.flatten(1)]
        centre = centre.reshape(batch, *size, len(size))
        source = grid + (centre - grid) * (strength * share).movedim(1, -1)
        pushed = sampled(image.float(), source).to(image.dtype)
        tissue = sampled(brain_mask.float(), source)
        share = share * brain_mask * (tissue > 0.99)
        moved = torch.where(share > 0, pushed + share * shift, image)
        return Painted(blend(image, moved, (share > 0).float()).image, share)
