"""Contrast of the phantom: from tissues to the image of a scanner."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.synthetic.phantom.anatomy import Anatomy
from brainuad.synthetic.phantom.fields import generator, random_field

SEQUENCES = ("T1w", "T2w", "FLAIR")


@dataclass(frozen=True)
class Signal:
    """Mean intensities of a sequence, white matter of T1w being about 0.9.

    Attributes:
        csf: mean and standard deviation over subjects.
        grey: likewise.
        white: likewise.
        deep_grey: factor on grey (iron darkens the basal ganglia in T2w and FLAIR).
        cortex_spread: standard deviation of the cortex's brightness within a subject.
        cap: intensity that periventricular caps add to white matter at most.
        vessel: largest addition of a vessel in a sulcus; flow voids are dark in T2w.
        plexus: intensity of the choroid plexus.
        flow: largest addition of pulsation artefacts to CSF.
    """

    csf: tuple[float, float]
    grey: tuple[float, float]
    white: tuple[float, float]
    deep_grey: float
    cortex_spread: float
    cap: float
    vessel: float
    plexus: float
    flow: float


SIGNALS = {
    "T1w": Signal((0.22, 0.03), (0.60, 0.025), (0.90, 0.025), 1.12, 0.02, -0.12, 0.35, 0.55, 0.05),
    "T2w": Signal((1.00, 0.05), (0.56, 0.02), (0.42, 0.02), 0.92, 0.03, 0.14, -0.5, 0.80, -0.25),
    "FLAIR": Signal(
        (0.14, 0.04), (0.60, 0.015), (0.50, 0.015), 0.94, 0.035, 0.18, 0.25, 0.62, 0.35
    ),
}


@dataclass(frozen=True)
class Details:
    """Healthy structures that a tissue map does not hold, shares in [0, 1], `(D, H, W)`.

    Attributes:
        caps: periventricular brightening, more of it with age.
        plexus: choroid plexus within the ventricles.
        vessels: vessels in sulci and fissures.
        spaces: enlarged perivascular spaces, filled with CSF.
        flow: pulsation artefacts in CSF.
    """

    caps: np.ndarray
    plexus: np.ndarray
    vessels: np.ndarray
    spaces: np.ndarray
    flow: np.ndarray


def draw_details(anatomy: Anatomy, subject: str, seed: int) -> Details:
    """Draw the structures, the same for every sequence of the subject."""
    rng = generator(seed, subject, "details")
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    caps = np.exp(-((anatomy.ventricle_distance_mm / 3.5) ** 2)) * anatomy.white
    # Frontal and occipital horns first: a coarse field picks some walls and spares others.
    caps *= np.clip(random_field(rng, shape, spacing, 10) + rng.normal(0.2, 0.5), 0, 1.5)
    plexus = anatomy.ventricles * (random_field(rng, shape, spacing, 2.5) > 1.3)
    rim = np.exp(-((anatomy.surface_distance_mm - 4) ** 2) / 30) * anatomy.csf
    vessels = rim * (random_field(rng, shape, spacing, max(1.2, 0.7 * spacing)) > 1.8)
    spots = random_field(rng, shape, spacing, max(0.8, 0.6 * spacing))
    limit = rng.uniform(2.7, 3.6)
    spaces = np.clip(spots - limit, 0, 1) * (anatomy.white + anatomy.deep_grey)
    flow = np.clip(random_field(rng, shape, spacing, 7) - 0.7, 0, 1) * anatomy.csf
    flow *= rng.uniform(0, 1)
    return Details(
        *(
            ndimage.gaussian_filter(part.astype(np.float32), 0.4)
            for part in (caps, plexus, vessels, spaces, flow)
        )
    )


def render(
    anatomy: Anatomy, details: Details, sequence: str, subject: str, seed: int
) -> np.ndarray:
    """The noise-free image of a healthy subject, `(D, H, W)` float32, 0 outside the brain."""
    signal = SIGNALS[sequence]
    rng = generator(seed, subject, f"signal {sequence}")
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    csf, grey, white = (rng.normal(*mean) for mean in (signal.csf, signal.grey, signal.white))
    deep = anatomy.deep_grey
    cortex = anatomy.grey - deep
    spread = signal.cortex_spread * random_field(rng, shape, spacing, 8)
    texture = 0.02 * random_field(rng, shape, spacing, max(1.5, 0.6 * spacing))
    image = cortex * (grey + spread) + deep * grey * signal.deep_grey + anatomy.white * white
    image *= 1 + texture
    image += anatomy.csf * csf
    image += details.caps * signal.cap + details.flow * signal.flow
    image += details.vessels * signal.vessel
    for share, target in ((details.plexus, signal.plexus), (details.spaces, csf)):
        image += share * (target - image)
    return np.where(anatomy.brain_mask, np.maximum(image, 0), 0).astype(np.float32)


@dataclass(frozen=True)
class Acquisition:
    """One scanner's imperfections on one scan.

    Attributes:
        slice_mm: thickness of a slice along the last axis; the voxel size for isotropic scans.
        bias: `(D, H, W)` multiplicative field that bias correction left.
        noise: `(2, D, H, W)` real and imaginary noise.
        spacing_mm: edge length of a voxel.
    """

    slice_mm: float
    bias: np.ndarray
    noise: np.ndarray
    spacing_mm: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """`(D, H, W)` clean image to magnitude image: thick slices, bias, Rician noise."""
        if self.slice_mm > self.spacing_mm:
            image = _thick_slices(image, self.slice_mm, self.spacing_mm)
        return rician(image * self.bias, self.noise)


def draw_acquisition(
    anatomy: Anatomy, sequence: str, subject: str, seed: int, anisotropic_share: float
) -> Acquisition:
    """Draw bias, noise and slice thickness of a scan."""
    rng = generator(seed, subject, f"acquisition {sequence}")
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    thick = rng.random() < anisotropic_share
    slice_mm = float(rng.uniform(3, 5)) if thick else spacing
    bias = np.exp(rng.uniform(0.01, 0.05) * random_field(rng, shape, spacing, 45))
    # Averaging over a coarser voxel lowers the noise.
    sigma = rng.uniform(0.012, 0.03) * min(1.0, (2 / spacing) ** 0.5)
    noise = sigma * rng.standard_normal((2, *shape)).astype(np.float32)
    return Acquisition(slice_mm, bias.astype(np.float32), noise, spacing)


def rician(image: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Magnitude of `image (D, H, W)` with complex noise `(2, D, H, W)` (Gudbjartsson 1995)."""
    return np.hypot(image + noise[0], noise[1]).astype(np.float32)


def _thick_slices(image: np.ndarray, slice_mm: float, spacing_mm: float) -> np.ndarray:
    """Average along the last axis, sample every slice and interpolate back."""
    depth = image.shape[-1]
    blurred = ndimage.gaussian_filter1d(image, slice_mm / spacing_mm / 2.355, axis=-1)
    count = max(round(depth * spacing_mm / slice_mm), 2)
    kept = np.linspace(0, depth - 1, count)
    low = np.clip(np.floor(kept).astype(int), 0, depth - 2)
    part = (kept - low).astype(np.float32)
    samples = blurred[..., low] * (1 - part) + blurred[..., low + 1] * part
    back = np.linspace(0, count - 1, depth)
    low = np.clip(np.floor(back).astype(int), 0, count - 2)
    part = (back - low).astype(np.float32)
    return (samples[..., low] * (1 - part) + samples[..., low + 1] * part).astype(np.float32)
