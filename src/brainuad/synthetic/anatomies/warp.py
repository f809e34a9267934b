"""A new anatomy from one of the bank: pose, size, shape, and the signs of age.

A voxel at `x` of the new anatomy is taken from `y + e(y)`, `y = A x + u(x)`: an affine map `A`, a
smooth displacement `u`, and a displacement `e` of the old anatomy that widens or narrows ventricles
and sulci by a given factor. All classes are interpolated at once, as shares.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.synthetic.anatomies.classes import CLASSES, CSF, GREY, WHITE
from brainuad.synthetic.anatomies.draws import PLANES, Draws, turned
from brainuad.synthetic.anatomies.partial_volumes import DISTANCE_MM, PartialVolumes
from brainuad.synthetic.grids import blurred, pixel_grid, sampled

REACH_MM = 20.0
"""Distance from the ventricles at which their walls' displacement has fallen to 37 %."""

VENTRICLES, SULCI = CLASSES.index("ventricles"), CLASSES.index("sulcal CSF")
PLEXUS = CLASSES.index("plexus")


@dataclass(frozen=True)
class RealImage:
    """The real scan of an anatomy that was made from one.

    Attributes:
        image: `(D, H, W)` float32, 1 in the mean of cerebral white matter; continued outside the
            brain.
        sequence: sequence of the scan.
        means: `(16,)` of the classes in the unit of `image`.
        spreads: standard deviations about the classes' mixture in white and in grey matter.
    """

    image: Tensor
    sequence: str
    means: Tensor
    spreads: tuple[float, float]


@dataclass(frozen=True)
class Anatomy:
    """A healthy head.

    Attributes:
        tissues: `(16, D, H, W)` float32 shares of `classes.CLASSES`.
        brain: `(D, H, W)` share of the brain with the CSF around it.
        lesions: `(D, H, W)` share of white matter lesions that the map had; not in `tissues`.
        ventricle_mm: `(D, H, W)` distance to the lateral and third ventricles, about.
        places: `(3, D, H, W)` MNI152 RAS mm of each voxel's anatomical place.
        spacing_mm: edge length of a voxel.
        real: the scan that the anatomy was made from; None for a label map's.
    """

    tissues: Tensor
    brain: Tensor
    lesions: Tensor
    ventricle_mm: Tensor
    places: Tensor
    spacing_mm: float
    real: RealImage | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """`(D, H, W)`."""
        return tuple(self.brain.shape)  # type: ignore[return-value]

    def share(self, *names: str) -> Tensor:
        """Return the share of some classes together, `(D, H, W)`."""
        return self.tissues[[CLASSES.index(name) for name in names]].sum(0)

    @cached_property
    def coarse_places(self) -> Tensor:
        """`places` at half the resolution, `(3, D / 2, H / 2, W / 2)`."""
        return functional.avg_pool3d(self.places, 2)

    @property
    def tissue_shares(self) -> Tensor:
        """Shares of white matter, grey matter and CSF with the plexus, `(3, D, H, W)`."""
        groups = (WHITE, GREY, (*CSF, PLEXUS))
        return torch.stack([self.tissues[list(group)].sum(0) for group in groups])

    @property
    def csf(self) -> Tensor:
        """Share of CSF, `(D, H, W)`."""
        return self.tissues[list(CSF)].sum(0)


@dataclass(frozen=True)
class WarpSettings:
    """Ranges of the changes. Shifts and turns are what a registration to MNI152 leaves.

    Args:
        turn: largest turn about each axis in degrees.
        stretch: largest change of each axis' length, as a share.
        shear: largest shear.
        shift_mm: largest shift along each axis.
        bend_mm: standard deviations of the smooth displacement, a range for each scale.
        bend_scale_mm: the scales.
        ventricles: factor of the ventricles' volume.
        largest_ml: ventricles that are grown stay below this volume.
        sulci: factor of the sulcal CSF's volume.
        flip: probability that left and right are exchanged.
    """

    turn: float = 5.0
    stretch: float = 0.08
    shear: float = 0.03
    shift_mm: float = 4.0
    bend_mm: tuple[tuple[float, float], ...] = ((0.5, 2.5), (0.0, 1.0))
    bend_scale_mm: tuple[float, ...] = (28.0, 10.0)
    ventricles: tuple[float, float] = (0.8, 2.2)
    largest_ml: float = 90.0
    sulci: tuple[float, float] = (0.8, 1.8)
    flip: float = 0.5


@dataclass(frozen=True)
class Warp:
    """Draws of a warp.

    Attributes:
        matrix: `(3, 3)` of the affine map about the middle of the grid.
        shift_mm: `(3,)`.
        bend_mm: `(3, D, H, W)` smooth displacement.
        ventricles: factor of the ventricles' volume.
        sulci: factor of the sulcal CSF's volume.
    """

    matrix: Tensor
    shift_mm: Tensor
    bend_mm: Tensor
    ventricles: float = 1.0
    sulci: float = 1.0


def draw_warp(
    draws: Draws, anatomy: PartialVolumes, spacing_mm: float, settings: WarpSettings
) -> Warp:
    """Draw a warp of an anatomy. Ventricles and sulci grow together, as they do with age."""
    size = anatomy.brain.shape
    ventricles_ml = anatomy.tissues[VENTRICLES].sum(dtype=float) / 255 * spacing_mm**3 / 1000
    matrix = torch.eye(3)
    for plane in PLANES:
        matrix = matrix @ turned(draws.uniform(-settings.turn, settings.turn), plane)
    change = torch.eye(3)
    for row in range(3):
        for column in range(3):
            most = settings.stretch if row == column else settings.shear
            change[row, column] += draws.uniform(-most, most)
    matrix = matrix @ change
    if draws.chance(settings.flip):
        matrix = torch.diag(torch.tensor([-1.0, 1.0, 1.0])) @ matrix
    most = settings.shift_mm
    shift = torch.tensor([draws.uniform(-most, most) for _ in range(3)])
    bend = torch.zeros(3, *size)
    for (low, high), scale in zip(settings.bend_mm, settings.bend_scale_mm, strict=True):
        bend = bend + draws.uniform(low, high) * draws.field(size, spacing_mm, scale, 3).cpu()
    age = draws.uniform(0, 1)
    ventricles, sulci = (
        float(low * (high / low) ** min(1.0, max(0.0, age + draws.normal(0, 0.15))))
        for low, high in (settings.ventricles, settings.sulci)
    )
    # Some heads of a bank are old already.
    most = max(min(1.0, settings.ventricles[1]), settings.largest_ml / max(ventricles_ml, 1e-3))
    return Warp(matrix, shift, bend, min(ventricles, most), sulci)


def apply_warp(
    anatomy: PartialVolumes,
    warp: Warp,
    affine: Tensor,
    spacing_mm: float,
    device: torch.device | str = "cpu",
    real: RealImage | None = None,
) -> Anatomy:
    """Return the warped anatomy.

    Args:
        anatomy: anatomy of the bank.
        warp: drawn for its size.
        affine: `(4, 4)` of the field, voxel to MNI152 RAS mm.
        spacing_mm: edge length of a voxel.
        device: device of the result.
        real: scan of the anatomy, on its grid; warped with it.
    """
    stored = torch.from_numpy(anatomy.tissues).to(device).float() / 255
    extra = torch.stack(
        [
            torch.from_numpy(anatomy.brain).to(device).float() / 255,
            torch.from_numpy(anatomy.lesions).to(device).float() / 255,
            torch.from_numpy(anatomy.ventricle_mm).to(device).float() * DISTANCE_MM,
        ]
    )
    grid = pixel_grid(stored[None])
    middle = (torch.tensor(grid.shape[:3], device=device) - 1) / 2
    position = (grid - middle) @ warp.matrix.to(device).T + middle
    position = position + warp.shift_mm.to(device) / spacing_mm
    position = position + warp.bend_mm.to(device).movedim(0, -1) / spacing_mm
    if (warp.ventricles, warp.sulci) != (1, 1):
        field = ageing(stored, extra[0], extra[2], warp.ventricles, warp.sulci, spacing_mm)
        position = position + sampled(field[None], position[None])[0].movedim(0, -1) / spacing_mm
    found = sampled(torch.cat([stored, extra])[None], position[None])[0]
    affine = affine.to(device, torch.float32)
    places = (position @ affine[:3, :3].T + affine[:3, 3]).movedim(-1, 0)
    if real is not None:
        image = sampled(real.image.to(device)[None, None], position[None])[0, 0]
        real = replace(real, image=image, means=real.means.to(device))
    return Anatomy(found[:-3], found[-3], found[-2], found[-1], places, spacing_mm, real)


def ageing(
    tissues: Tensor,
    brain: Tensor,
    ventricle_mm: Tensor,
    ventricles: float,
    sulci: float,
    spacing_mm: float,
) -> Tensor:
    """Return the displacement in mm that changes the volume of ventricles and of sulcal CSF.

    To first order, moving a boundary of area S outwards by d adds the volume S d. So
    d = (factor - 1) V / S, and S is the integral of the smoothed share's gradient.

    Args:
        tissues: `(16, D, H, W)` shares.
        brain: `(D, H, W)` share.
        ventricle_mm: `(D, H, W)` distance.
        ventricles: factor of their volume.
        sulci: factor of the sulcal CSF's volume within the brain.
        spacing_mm: edge length of a voxel.

    Returns:
        `(3, D, H, W)`.
    """
    share = (tissues[VENTRICLES] + tissues[PLEXUS]) * brain
    inner, area = _gradient(share, 1.0, spacing_mm)
    outer, _ = _gradient(-ventricle_mm, 1.0, spacing_mm)
    # Inwards, towards the ventricles: of the share close to the wall, of the distance further out.
    towards = _unit(inner + outer, 0.2)
    fall = torch.exp(-ventricle_mm / REACH_MM)
    depth = (ventricles - 1) * share.sum() * spacing_mm / area.clamp_min(1e-6)
    displacement = depth * fall * towards
    csf = tissues[SULCI] * brain
    slope, area = _gradient(csf, 0.75, spacing_mm)
    # The skull stays where it is: only tissue gives way.
    tissue = (brain - csf).clamp(0, 1)
    tissue = blurred(tissue[None, None], tissue.new_tensor([1.0]))[0, 0]
    inside = blurred(brain[None, None], brain.new_tensor([1.0]))[0, 0]
    given = (tissue / inside.clamp_min(1e-3)).clamp(0, 1) * inside
    depth = (sulci - 1) * csf.sum() * spacing_mm / area.clamp_min(1e-6)
    return displacement + depth * given * _unit(slope, 0.02)


def _gradient(share: Tensor, sigma: float, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """The gradient of a smoothed map per mm, `(3, D, H, W)`, and its sum over all voxels per mm."""
    smooth = blurred(share[None, None], share.new_tensor([sigma]))[0, 0]
    slope = torch.stack(torch.gradient(smooth, spacing=spacing_mm))
    return slope, _length(slope).sum() * spacing_mm


def _unit(vectors: Tensor, least: float) -> Tensor:
    """Return vectors of length one, shorter where they are not longer than `least`."""
    return vectors / (_length(vectors) + least).clamp_min(1e-6)


def _length(vectors: Tensor) -> Tensor:
    # Ten times as fast as `norm` along the first axis.
    return (vectors[0].square() + vectors[1].square() + vectors[2].square()).sqrt()
