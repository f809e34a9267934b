"""Lesions blended in seamlessly: another image's gradients, this image's values around them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.lesions.contract import Painted, blend, uniform
from brainuad.synthetic.lesions.fillings import from_elsewhere
from brainuad.synthetic.lesions.shapes import Shape
from brainuad.types import Batch


@dataclass(frozen=True)
class PoissonImage:
    """Poisson image interpolation, and natural synthetic anomalies.

    PII (Tan et al. 2021, arXiv 2107.02622, `poissonBlend.py` of its code): inside the shape, the
    image whose gradients come closest to the stronger one of (1 - a) times its own and a times the
    donor's at the same place; the share is a. NSA (Schlueter et al. 2022, arXiv 2109.15222) takes
    the donor's gradients alone, from another place and resized: `factor=(1, 1)`, `elsewhere=True`.
    Its code has several patches, sizes from a gamma distribution, scales from a normal one, and
    labels that grow with the change of intensity (`self_sup_data/self_sup_tasks.py:97-102`,
    `:205`); ours is one patch of uniform size and scale, whose label is 1.

    A batch of one has itself for a donor: with `elsewhere` another place of it, otherwise its own
    gradients damped.

    Args:
        shape: soft ones are cut at a half.
        factor: a, uniform between the two.
        elsewhere: the donor's gradients come from another place of its brain; where that has no
            brain nothing is painted.
        scale: scale of the donor's part, uniform between the two; NSA's are 0.7 and 1.3.
        iterations: steps of conjugate gradients, in a window around the lesions; they go as far
            as a lesion is wide, in pixels, and what is left over them is smooth.
        tolerance: intensities x count as changed where floor(x / tolerance) is another; elsewhere
            the share is 0. PII's is 1e-3. 0 counts the whole shape.
    """

    shape: Shape
    factor: tuple[float, float] = (0.05, 0.95)
    elsewhere: bool = False
    scale: tuple[float, float] = (0.7, 1.3)
    iterations: int = 80
    tolerance: float = 0.0

    def __call__(
        self,
        image: Tensor,
        brain_mask: Tensor,
        generator: torch.Generator | None = None,
        donors: Batch | None = None,
    ) -> Painted:
        """See `contract`; with `donors`, each sample has the one in the same place among them."""
        inside = self.shape(brain_mask, generator).float() >= 0.5
        factor = uniform(*self.factor, image, generator)
        donor = image.roll(1, 0) if donors is None else donors.image
        if self.elsewhere:
            share = inside.float()
            donor, tissue = from_elsewhere(image, brain_mask, share, self.scale, generator, donors)
            inside = inside & tissue
        blended = poisson_blend(image, donor, inside, factor, self.iterations)
        painted = blend(image, blended, inside.float()).image
        if self.tolerance > 0:
            before, after = (torch.floor(x / self.tolerance) for x in (image, painted))
            inside = inside & (before != after).any(1, keepdim=True)
        # The factor says how strong the anomaly is; the blend has used it already.
        return Painted(painted, inside * factor)


def poisson_blend(
    image: Tensor, donor: Tensor, inside: Tensor, factor: Tensor, iterations: int
) -> Tensor:
    """Solve the discrete Poisson equation inside a mask, with the image's values around it.

    Perez et al. 2003: for each pixel p inside, the sum over its neighbours q of f(p) - f(q) equals
    that of v(p, q), with v the stronger of (1 - factor) times the image's difference and factor
    times the donor's. Neighbours outside the image are left out.

    Args:
        image: `(B, C, *S)`.
        donor: image of the same shape.
        inside: `(B, 1, *S)` bool.
        factor: `(B, 1, ...)` in [0, 1].
        iterations: number of steps of conjugate gradients.

    Returns:
        `(B, C, *S)`, the image outside the mask.
    """
    corner, size = _window(inside)
    cut = [_taken(whole, corner, size) for whole in (image.float(), donor.float(), inside)]
    here, there, mask = cut[0], cut[1], cut[2].to(cut[0].dtype)
    wanted = []
    for axis in range(2, image.ndim):
        own, foreign = here.diff(dim=axis), there.diff(dim=axis)
        weak, strong = (1 - factor) * own, factor * foreign
        wanted.append(torch.where(weak.abs() > strong.abs(), weak, strong) - own)
    # The solution is the image plus u, and u is 0 around the mask.
    u = torch.zeros_like(here)
    rest = mask * _divergence(wanted)
    direction, energy = rest, _dot(rest, rest)
    for _ in range(iterations):
        slope = mask * _divergence([direction.diff(dim=a) for a in range(2, image.ndim)])
        step = energy / _dot(direction, slope).clamp_min(1e-20)
        u = u + step * direction
        rest = rest - step * slope
        left = _dot(rest, rest)
        direction = rest + left / energy.clamp_min(1e-20) * direction
        energy = left
    return _put(image, (here + u).to(image.dtype), corner)


def _divergence(differences: list[Tensor]) -> Tensor:
    """Return each pixel's differences to the neighbours before it, less those after it."""
    total = None
    for axis, along in enumerate(differences, start=2):
        edge = torch.zeros_like(along.narrow(axis, 0, 1))
        flow = torch.cat([edge, along, edge], axis)
        part = -flow.diff(dim=axis)
        total = part if total is None else total + part
    assert total is not None
    return total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(2).sum(2).reshape(*a.shape[:2], *[1] * (a.ndim - 2))


def _window(inside: Tensor) -> tuple[Tensor, list[int]]:
    """First pixels `(B, len(S))` of windows of one size that hold each mask and a pixel around."""
    corners, sizes = [], []
    for axis in range(2, inside.ndim):
        length = inside.shape[axis]
        hit = inside.movedim(axis, 1).flatten(2).any(2)
        first = hit.int().argmax(1)
        past = length - hit.flip(1).int().argmax(1)
        extent = torch.where(hit.any(1), past - first, 0)
        size = min(int(extent.max()) + 2, length)
        sizes.append(size)
        corners.append((first - 1).clamp(0, length - size))
    return torch.stack(corners, 1), sizes


def _index(corner: Tensor, size: list[int]) -> tuple[Tensor, ...]:
    batch, dims = corner.shape
    index = [torch.arange(batch, device=corner.device).reshape(-1, *[1] * dims)]
    for axis, length in enumerate(size):
        shape = [1] * (dims + 1)
        shape[axis + 1] = length
        along = torch.arange(length, device=corner.device).reshape(shape)
        index.append(corner[:, axis].reshape(-1, *[1] * dims) + along)
    return tuple(index)


def _taken(whole: Tensor, corner: Tensor, size: list[int]) -> Tensor:
    return whole.movedim(1, -1)[_index(corner, size)].movedim(-1, 1)


def _put(whole: Tensor, part: Tensor, corner: Tensor) -> Tensor:
    changed = whole.movedim(1, -1).clone()
    changed[_index(corner, list(part.shape[2:]))] = part.movedim(1, -1)
    return changed.movedim(-1, 1)
