"""Simplex noise of several octaves: the structured noise of AnoDDPM and pDDPM.

Wyatt et al., "AnoDDPM", CVPRW 2022, and its released code: a slice of three-dimensional
OpenSimplex noise (Spencer 2014; after Perlin 2001) at the height of the timestep, its first octave
with a period of 64 pixels, every further one with half the period and 0.8 times the amplitude. Its
power falls with frequency as that of images does, so that structures as large as lesions are
noised, which independent pixels leave standing.

The noise at p is a sum over the points k + (k_1 + k_2 + k_3) / 3 of a lattice, for integer k:

    n(p) = 1/103 sum_k max(0, 2 - |d_k|^2)^4 (g_h(k) . d_k),   d_k from the point to p

with 24 gradients g, chosen by a hash h of k through a random permutation of 0 to 255. Here all the
points within reach are summed, without branches, for a batch at once on its device.

Differs from the released code: that leaves some points out whose share is up to 1e-4. As there, the
sum of the octaves is not scaled: its standard deviation is about 0.5, that of one octave 0.31.

pDDPM (Behrendt et al., MIDL 2023) takes the noise in two dimensions, of a triangular lattice with
points k + (k_1 + k_2) (sqrt(3) - 1) / 2, 8 gradients and 1/47 in place of 1/103. Its octaves' sum
has a root mean square of 0.58.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

_GRADIENTS = [
    [x * size[0], y * size[1], z * size[2]]
    for z, y, x in product((1, -1), (1, -1), (-1, 1))
    for size in ((11, 4, 4), (4, 11, 4), (4, 4, 11))
]

_SHAPES = ([0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 2], [-1, 1, 1], [0, 1, 2], [-1, 0, 1])

_REACHING = [corner for corner in product((-1, 0, 1, 2), repeat=3) if sorted(corner) in _SHAPES]
"""The 26 lattice points, from a cell's first corner, that are within reach of the cell."""

_GRADIENTS_2D = [(5, 2), (2, 5), (-5, 2), (-2, 5), (5, -2), (2, -5), (-5, -2), (-2, -5)]

_REACHING_2D = [(0, 0), (0, 1), (1, 0), (1, 1), (-1, 1), (1, -1), (0, 2), (2, 0)]
"""Same as `_REACHING` for the lattice in two dimensions."""


def draw_permutations(
    count: int,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """`(count, 256)` random permutations of 0 to 255, one for each noise.

    Args:
        count: number of noises.
        device: device of the result, and of `generator` if one is given.
        generator: None for the global one.
    """
    return torch.rand(count, 256, generator=generator, device=device).argsort(1)


def simplex_noise(
    permutations: Tensor,
    size: Sequence[int],
    height: Tensor,
    period: float = 64.0,
    octaves: int = 6,
    decay: float = 0.8,
) -> Tensor:
    """Return slices of noise, a sum of octaves.

    Args:
        permutations: `(B, 256)`, from `draw_permutations`.
        size: height and width of the slices in pixels.
        height: `(B,)`, where in the third direction each slice lies, in pixels.
        period: period of the first octave in pixels; each further one has half of it.
        octaves: number of octaves.
        decay: ratio of an octave's amplitude to the one before.

    Returns:
        `(B, 1, *size)` float32.
    """
    device = permutations.device
    rows, columns = (torch.arange(length, device=device, dtype=torch.float32) for length in size)
    # All octaves at once, as so many more slices: fewer, larger operations.
    octave = torch.arange(octaves, device=device).repeat_interleave(len(permutations))
    scale = (2.0**octave / period)[:, None, None]
    shape = (len(octave), *size)
    x = (scale * columns).expand(shape)
    y = (scale * rows[:, None]).expand(shape)
    z = (scale * height.float().repeat(octaves)[:, None, None]).expand(shape)
    noise = _opensimplex(permutations.repeat(octaves, 1), x, y, z)
    noise *= decay ** octave[:, None, None]
    return noise.unflatten(0, (octaves, -1)).sum(0)[:, None]


def simplex_noise_2d(
    permutations: Tensor,
    size: Sequence[int],
    first: Tensor | None = None,
    period: float = 64.0,
    octaves: int = 6,
    decay: float = 0.8,
) -> Tensor:
    """Noise in two dimensions, a sum of octaves.

    Args:
        permutations: `(B, 256)`, from `draw_permutations`.
        size: height and width in pixels.
        first: `(B, 2)`, row and column of the first pixel; None for 0 and 0, where every octave
            has a point of its lattice and the noise is 0.
        period: period of the first octave in pixels; each further one has half of it.
        octaves: number of octaves.
        decay: ratio of an octave's amplitude to the one before.

    Returns:
        `(B, 1, *size)` float32.
    """
    device = permutations.device
    if first is None:
        first = torch.zeros(len(permutations), 2, device=device)
    y = first[:, :1] + torch.arange(size[0], device=device)
    x = first[:, 1:] + torch.arange(size[1], device=device)
    noise = torch.zeros(len(permutations), *size, device=device)
    for octave in range(octaves):
        scale = 2.0**octave / period
        noise += decay**octave * _opensimplex_2d(permutations, scale * x, scale * y)
    return noise[:, None]


def _opensimplex_2d(permutations: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The noise `(B, H, W)` at columns `(B, W)` and rows `(B, H)`."""
    squish = (3**0.5 - 1) / 2
    x, y = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
    table = permutations.int().flatten()
    gradients = torch.tensor(_GRADIENTS_2D, device=x.device, dtype=x.dtype).T.contiguous()
    start = torch.arange(len(permutations), device=x.device, dtype=torch.int32) * 256
    start = start[:, None, None].expand(x.shape)

    def look_up(index: Tensor) -> Tensor:
        return table.index_select(0, (start + (index & 255)).flatten()).reshape(x.shape)

    # By (1 / sqrt(3) - 1) / 2 the lattice becomes one of squares.
    stretch = (x + y) * (3**-0.5 - 1) / 2
    low = torch.floor(x + stretch), torch.floor(y + stretch)
    own = [axis - corner - sum(low) * squish for axis, corner in zip((x, y), low, strict=True)]
    i, j = (corner.int() for corner in low)
    hashed = {a: look_up(i + a) + j for a in (-1, 0, 1, 2)}
    total = torch.zeros_like(x)
    for a, b in _REACHING_2D:
        dx, dy = (axis - step - (a + b) * squish for axis, step in zip(own, (a, b), strict=True))
        reach = (2 - dx * dx - dy * dy).clamp_min(0).square().square()
        which = ((look_up(hashed[a] + b) >> 1) & 7).flatten()
        gx, gy = (g.index_select(0, which).reshape(x.shape) for g in gradients)
        total += reach * (gx * dx + gy * dy)
    return total / 47


def _opensimplex(permutations: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The noise at points, `(B, H, W)` along each axis, each row with its own permutation."""
    # One index in one dimension, of 32 bits: several times faster on a CPU.
    table = permutations.int().flatten()
    gradients = torch.tensor(_GRADIENTS, device=x.device, dtype=x.dtype)[
        table.long() % 24
    ].T.contiguous()
    first = torch.arange(len(permutations), device=x.device, dtype=torch.int32) * 256
    first = first[:, None, None].expand(x.shape)

    def look_up(values: Tensor, index: Tensor) -> Tensor:
        return values.index_select(0, (first + (index & 255)).flatten()).reshape(x.shape)

    stretch = (x + y + z) / 6
    corner = [torch.floor(axis - stretch) for axis in (x, y, z)]
    shift = sum(corner) / 3
    own = [axis - low - shift for axis, low in zip((x, y, z), corner, strict=True)]
    i, j, k = (low.int() for low in corner)
    # The hash runs axis by axis, so points with the same first indices share its first steps.
    hashed = {a: look_up(table, i + a) + j for a in (-1, 0, 1, 2)}
    pairs = {(a, b): look_up(table, hashed[a] + b) + k for a, b in {c[:2] for c in _REACHING}}
    total = torch.zeros_like(x)
    for a, b, c in _REACHING:
        squish = (a + b + c) / 3
        d = [axis - (step + squish) for axis, step in zip(own, (a, b, c), strict=True)]
        reach = (2 - d[0] * d[0] - d[1] * d[1] - d[2] * d[2]).clamp_min(0).square().square()
        slope = sum(
            look_up(g, pairs[a, b] + c) * along for g, along in zip(gradients, d, strict=True)
        )
        total += reach * slope
    return total / 103
