"""Scanner effects: thick slices, motion, bias field, noise.

TorchIO has transforms for most of these, MONAI for ringing and noise. They work on one image with
random states of their own. Here the same draws must reach a scan, its healthy counterpart and its
lesion mask, so the arithmetic, a few lines each, is ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.draws import PLANES, Draws, turned
from brainuad.synthetic.grids import blurred, pixel_grid, sampled


@dataclass(frozen=True)
class ScannerSettings:
    """Ranges of what is drawn.

    Args:
        slices: probability of slices thicker than a voxel.
        slice_mm: their thickness.
        axial: probability that thick slices are axial.
        blur_mm: standard deviation of the blur of every scan.
        bias: standard deviation of the bias field's logarithm, after correction.
        uncorrected: probability of a field that was not corrected.
        uncorrected_bias: its standard deviation.
        noise: standard deviation relative to white matter.
        motion: probability that the head moved.
        turn, shift_mm: largest turn in degrees and shift of a moved head.
    """

    slices: float = 0.5
    slice_mm: tuple[float, float] = (3.0, 7.0)
    axial: float = 0.8
    blur_mm: tuple[float, float] = (0.0, 1.0)
    bias: tuple[float, float] = (0.0, 0.08)
    uncorrected: float = 0.1
    uncorrected_bias: tuple[float, float] = (0.08, 0.3)
    noise: tuple[float, float] = (0.01, 0.06)
    motion: float = 0.08
    turn: float = 4.0
    shift_mm: float = 4.0


@dataclass(frozen=True)
class Motion:
    """A head that lies elsewhere for some of the phase-encoding lines.

    Attributes:
        matrices: `(N, 3, 3)`, about the middle of the grid.
        shifts: `(N, 3)` in voxels.
        lines: `(L,)` which position each line was measured at; 0 is the unmoved one.
        axis: axis of the phase encoding.
    """

    matrices: Tensor
    shifts: Tensor
    lines: Tensor
    axis: int

    def __call__(self, image: Tensor) -> Tensor:
        """Return `(D, H, W)` with the ghosts of motion."""
        grid = pixel_grid(image[None, None])
        middle = (grid.new_tensor(image.shape) - 1) / 2
        spectrum = torch.fft.fft(image, dim=self.axis)
        shape = [1, 1, 1]
        shape[self.axis] = -1
        for number, (matrix, shift) in enumerate(zip(self.matrices, self.shifts, strict=True)):
            position = (grid - middle) @ matrix.T + middle + shift
            moved = sampled(image[None, None], position[None])[0, 0]
            lines = (self.lines == number + 1).reshape(shape)
            spectrum = torch.where(lines, torch.fft.fft(moved, dim=self.axis), spectrum)
        return torch.fft.ifft(spectrum, dim=self.axis).abs()


@dataclass(frozen=True)
class Scanner:
    """One scan's imperfections.

    Attributes:
        slices: `(N, N)` matrix along `axis` that averages slices and interpolates them; None for
            none.
        axis: that the slices are stacked along.
        slice_mm: their thickness; 0 for none.
        blur_mm: standard deviation.
        bias: `(D, H, W)` factor.
        noise: `(2, D, H, W)` real and imaginary noise.
        motion: None for a head that lay still.
        spacing_mm: edge length of a voxel.
    """

    slices: Tensor | None
    axis: int
    slice_mm: float
    blur_mm: float
    bias: Tensor
    noise: Tensor
    motion: Motion | None
    spacing_mm: float

    def scan(self, image: Tensor) -> Tensor:
        """Return the magnitude image of a noise-free one, `(D, H, W)`, 0 or more."""
        if self.blur_mm > 0:
            sigma = image.new_tensor([self.blur_mm / self.spacing_mm])
            image = blurred(image[None, None], sigma)[0, 0]
        image = self.sliced(image)
        if self.motion is not None:
            image = self.motion(image)
        real, imaginary = self.noise
        return ((image * self.bias + real).square() + imaginary.square()).sqrt()

    def sliced(self, image: Tensor) -> Tensor:
        """Return the image in thick slices: a lesion mask has them too."""
        if self.slices is None:
            return image
        return (image.movedim(self.axis, -1) @ self.slices.T).movedim(-1, self.axis)


def draw_scanner(
    draws: Draws,
    size: tuple[int, int, int],
    spacing_mm: float,
    white: float,
    settings: ScannerSettings,
) -> Scanner:
    """Draw a scan's imperfections.

    Args:
        draws: random numbers.
        size: `(D, H, W)`.
        spacing_mm: edge length of a voxel.
        white: intensity of white matter.
        settings: ranges.
    """
    thick, axis, slices = 0.0, 2, None
    if draws.chance(settings.slices):
        thick = draws.uniform(*settings.slice_mm)
        axis = 2 if draws.chance(settings.axial) else draws.number(0, 1)
        if thick > spacing_mm:
            slices = slice_matrix(size[axis], spacing_mm, thick, draws.uniform(0, 1))
    large = draws.chance(settings.uncorrected)
    deviation = draws.uniform(*(settings.uncorrected_bias if large else settings.bias))
    field = draws.field(size, spacing_mm, draws.uniform(30, 60))[0]
    level = white * draws.uniform(*settings.noise)
    # Slices that were averaged and interpolated have smoother noise along their axis.
    noise = level * draws.noise((2, *size))
    if slices is not None:
        noise = (noise.movedim(axis + 1, -1) @ slices.T.to(noise)).movedim(-1, axis + 1)
    motion = None
    if draws.chance(settings.motion):
        motion = _draw_motion(draws, size, spacing_mm, settings)
    return Scanner(
        None if slices is None else slices.to(draws.device),
        axis,
        thick,
        draws.uniform(*settings.blur_mm),
        (deviation * field).exp(),
        noise,
        motion,
        spacing_mm,
    )


def slice_matrix(length: int, spacing_mm: float, slice_mm: float, phase: float) -> Tensor:
    """Return the matrix that averages voxels over slices and interpolates back, `(N, N)`.

    Args:
        length: number N of voxels.
        spacing_mm: edge length of a voxel.
        slice_mm: thickness of a slice; slices lie side by side.
        phase: place of the first slice, as a share of its thickness.
    """
    voxels = torch.arange(length, dtype=torch.float32) * spacing_mm
    count = int(length * spacing_mm / slice_mm) + 3
    centres = (torch.arange(count) - 1 + phase) * slice_mm
    overlap = (
        torch.minimum(centres[:, None] + slice_mm / 2, voxels + spacing_mm / 2)
        - torch.maximum(centres[:, None] - slice_mm / 2, voxels - spacing_mm / 2)
    ).clamp_min(0)
    averaged = overlap / overlap.sum(1, keepdim=True).clamp_min(1e-6)
    used = (overlap.sum(1) > 0).float()
    weights = (1 - (voxels[:, None] - centres).abs() / slice_mm).clamp_min(0) * used
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-6)) @ averaged


def _draw_motion(
    draws: Draws, size: tuple[int, int, int], spacing_mm: float, settings: ScannerSettings
) -> Motion:
    count = draws.number(1, 3)
    matrices, shifts = [], []
    for _ in range(count):
        degrees = draws.uniform(-settings.turn, settings.turn)
        matrices.append(turned(degrees, PLANES[draws.number(0, 2)]))
        most = settings.shift_mm / spacing_mm
        shifts.append(torch.tensor([draws.uniform(-most, most) for _ in range(3)]))
    axis = draws.number(0, 1)
    lines = torch.zeros(size[axis], dtype=torch.long)
    # Lines in the order of time; the middle of k-space, which makes the image, is measured unmoved.
    middle = size[axis] // 2
    for number in range(count):
        start = draws.number(int(0.06 * size[axis]), middle - 1)
        lines[middle + start : middle + start + draws.number(2, size[axis] // 6)] = number + 1
    lines = torch.fft.ifftshift(lines)
    device = draws.device
    return Motion(
        torch.stack(matrices).to(device), torch.stack(shifts).to(device), lines.to(device), axis
    )
