"""Smooth random fields and warps on a regular grid."""

import zlib

import numpy as np
from scipy import ndimage


def generator(seed: int, subject: str, stage: str) -> np.random.Generator:
    """A generator that only its arguments decide, whatever was drawn before or elsewhere."""
    words = [seed, zlib.crc32(subject.encode()), zlib.crc32(stage.encode())]
    return np.random.default_rng(np.random.SeedSequence(words))


def random_field(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: float, scale_mm: float
) -> np.ndarray:
    """A Gaussian random field of zero mean and unit variance.

    Args:
        rng: generator of the white noise.
        shape: `(D, H, W)`.
        spacing_mm: edge length of a voxel in mm.
        scale_mm: standard deviation of the smoothing kernel in mm.

    Returns:
        float32 `(D, H, W)`.
    """
    # A field that is smooth on 20 mm needs no 2 mm grid: draw it coarse, then interpolate.
    step = max(scale_mm / 2, spacing_mm)
    coarse = [int(np.ceil(n * spacing_mm / step)) + 4 for n in shape]
    field = rng.standard_normal(coarse).astype(np.float32)
    field = ndimage.gaussian_filter(field, scale_mm / step, mode="wrap")
    if step > spacing_mm:
        axes = [2 + (np.arange(n) * spacing_mm / step) for n in shape]
        for axis, positions in enumerate(axes):
            field = _interpolate(field, positions, axis)
    else:
        field = field[tuple(slice(2, 2 + n) for n in shape)]
    return ((field - field.mean()) / field.std()).astype(np.float32)


def warp(
    array: np.ndarray, displacement_mm: np.ndarray, spacing_mm: float, order: int = 1
) -> np.ndarray:
    """`array(x + displacement(x))`, edges continued.

    Args:
        array: `(D, H, W)`.
        displacement_mm: `(3, D, H, W)`.
        spacing_mm: edge length of a voxel in mm.
        order: order of the spline.
    """
    grid = np.indices(array.shape, dtype=np.float32)
    return ndimage.map_coordinates(
        array, grid + displacement_mm / spacing_mm, order=order, mode="nearest"
    ).astype(np.float32)


def jacobian(displacement_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Determinant of the derivative of `x + displacement(x)`, `(D, H, W)`; > 0 where invertible."""
    return _determinant(_derivative(displacement_mm, spacing_mm), 1.0)


def tame(displacement_mm: np.ndarray, spacing_mm: float, smallest: float = 0.2) -> np.ndarray:
    """Shrink a displacement until its Jacobian is at least `smallest` everywhere."""
    derivative = _derivative(displacement_mm, spacing_mm)
    factor = 1.0
    while _determinant(derivative, factor).min() < smallest:
        factor *= 0.85
    return displacement_mm * np.float32(factor)


def _derivative(displacement_mm: np.ndarray, spacing_mm: float) -> list[list[np.ndarray]]:
    return [np.gradient(component, spacing_mm) for component in displacement_mm]


def _determinant(derivative: list[list[np.ndarray]], factor: float) -> np.ndarray:
    """det(1 + factor * derivative), written out: numpy's is ten times slower on small matrices."""
    f = np.float32(factor)
    (a, b, c), (d, e, g), (h, i, j) = (
        [f * part + np.float32(row == column) for column, part in enumerate(parts)]
        for row, parts in enumerate(derivative)
    )
    return a * (e * j - g * i) - b * (d * j - g * h) + c * (d * i - e * h)


def _interpolate(field: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Cubic (Catmull-Rom) interpolation along one axis; smooth and without a linear solve."""
    base = np.floor(positions).astype(int)
    t = (positions - base).astype(np.float32)
    weights = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    shape = [1] * field.ndim
    shape[axis] = len(t)
    taken = list(field.shape)
    taken[axis] = len(t)
    out = np.zeros(taken, np.float32)
    for k, weight in enumerate(weights):
        index = np.minimum(base + k - 1, field.shape[axis] - 1)
        out += np.take(field, index, axis=axis) * weight.reshape(shape)
    return out
