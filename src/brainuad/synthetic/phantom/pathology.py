"""Lesions with exact masks: tumours, multiple sclerosis and strokes.

Every lesion has a part for each kind of tissue it is made of; what a part does to a sequence is
in `TISSUES`. Kinds and their shares follow what radiology describes, not what a detector finds
easy: bright lesions, but also iso-intense, dark and cystic ones, and some that show by shape.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.synthetic.phantom.anatomy import Anatomy
from brainuad.synthetic.phantom.fields import generator, random_field, tame, warp

# Intensity of a pathological tissue in T1w, T2w and FLAIR on the scale of `contrast.SIGNALS`.
TISSUES = {
    "oedema": (0.66, 0.95, 0.88),
    "solid": (0.58, 0.86, 0.86),
    "faint": (0.72, 0.62, 0.70),
    "iso": (0.66, 0.54, 0.58),
    "dark": (0.50, 0.34, 0.38),
    "cyst": (0.24, 1.05, 0.20),
    "plaque": (0.62, 0.84, 0.92),
    "faint plaque": (0.78, 0.58, 0.74),
    "black hole": (0.42, 0.92, 0.46),
    "acute": (0.64, 0.86, 0.90),
    "fogging": (0.72, 0.56, 0.62),
    "gliosis": (0.62, 0.82, 0.88),
}
ORDER = ("T1w", "T2w", "FLAIR")

TUMOUR_CORES = (("solid", 0.55), ("cyst", 0.15), ("iso", 0.15), ("dark", 0.15))
TUMOUR_HALOS = (("oedema", 0.75), ("faint", 0.15), ("", 0.1))
STROKES = (("acute", 0.5), ("fogging", 0.2), ("cyst", 0.3))
PLAQUES = (("plaque", 0.55), ("faint plaque", 0.35), ("black hole", 0.1))

VOLUMES_ML = {"tumour": (20.0, 140.0), "ms": (4.0, 30.0), "stroke": (12.0, 100.0)}
"""Range of the total lesion volume of a subject."""


@dataclass(frozen=True)
class Lesion:
    """Effect of a pathology on a brain.

    Attributes:
        parts: tissue name to its share in each voxel, `(D, H, W)` in [0, 1].
        displacement_mm: `(3, D, H, W)`, the mass effect, as in `fields.warp`; None for none.
        strength: contrast of the parts against the tissue that they replace, in [0, 1].
    """

    parts: dict[str, np.ndarray]
    displacement_mm: np.ndarray | None
    strength: float

    @property
    def mask(self) -> np.ndarray:
        """`(D, H, W)` bool: at least half of the voxel is lesion."""
        return np.sum(list(self.parts.values()), axis=0) >= 0.5

    def paint(self, image: np.ndarray, sequence: str, spacing_mm: float) -> np.ndarray:
        """Push the tissue aside, then blend the parts in."""
        if self.displacement_mm is not None:
            image = warp(image, self.displacement_mm, spacing_mm)
        for tissue, share in self.parts.items():
            target = TISSUES[tissue][ORDER.index(sequence)]
            # A tenth of what was there stays, so a lesion is not a flat patch.
            image = image + 0.9 * self.strength * share * (target - image)
        return image.astype(np.float32)


def draw_lesion(anatomy: Anatomy, pathology: str, subject: str, seed: int) -> Lesion:
    """Draw the lesion of a subject.

    Args:
        anatomy: anatomy of the healthy subject.
        pathology: `tumour`, `ms` or `stroke`.
        subject: name that selects the draw.
        seed: random seed of the cohort.

    Raises:
        ValueError: unknown `pathology`.
    """
    rng = generator(seed, subject, f"lesion {pathology}")
    if pathology == "tumour":
        return _tumour(anatomy, rng)
    if pathology == "ms":
        return _sclerosis(anatomy, rng)
    if pathology == "stroke":
        return _stroke(anatomy, rng)
    raise ValueError(f"pathology is '{pathology}'; use one of {', '.join(VOLUMES_ML)}")


def _tumour(anatomy: Anatomy, rng: np.random.Generator) -> Lesion:
    """A core with an irregular border, mostly a halo in the white matter, and mass effect."""
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    volume = _volume_mm3("tumour", rng)
    core_radius = (volume * rng.uniform(0.2, 0.5) * 3 / (4 * np.pi)) ** (1 / 3)
    room = (anatomy.surface_distance_mm > 0.6 * core_radius) & (anatomy.white > 0.5)
    centre = _pick(room, anatomy.white, rng)
    grid = np.indices(shape, dtype=np.float32) * spacing
    offset = grid - np.array(centre, np.float32)[:, None, None, None] * spacing
    distance = np.linalg.norm(offset, axis=0)
    border = 1 + 0.22 * random_field(rng, shape, spacing, core_radius / 2.5)
    parts = {}
    core_kind, halo_kind = _choose(TUMOUR_CORES, rng), _choose(TUMOUR_HALOS, rng)
    core = _soft(core_radius * border - distance, spacing) * anatomy.brain_mask
    if halo_kind:
        # Oedema runs along white matter and spares the cortex and the ventricles.
        spread = 1 + 0.3 * random_field(rng, shape, spacing, 8)
        # Cubed radii add up, so that core and halo together have the drawn volume.
        radius = (volume * 3 / (4 * np.pi)) ** (1 / 3) * 1.15
        halo = _soft(radius * spread - distance, spacing) * np.clip(anatomy.white * 1.6, 0, 1)
        parts[halo_kind] = np.clip(halo - core, 0, 1)
    parts[core_kind] = core * (1 - anatomy.ventricles)
    push = rng.uniform(1.0, 5.0)
    reach = 1.6 * core_radius
    profile = push * np.exp(-(((distance - core_radius) / reach) ** 2))
    # The skull does not give way.
    profile *= np.clip(anatomy.surface_distance_mm / 12, 0, 1)
    displacement = -profile * offset / np.maximum(distance, spacing)
    strength = float(rng.uniform(0.65, 1.0))
    return Lesion(parts, tame(displacement.astype(np.float32), spacing), strength)


def _sclerosis(anatomy: Anatomy, rng: np.random.Generator) -> Lesion:
    """Many small ellipsoids in white matter, most of them at the ventricles."""
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    volume = _volume_mm3("ms", rng)
    near = np.exp(-anatomy.ventricle_distance_mm / 8)
    rim = np.exp(-(((anatomy.surface_distance_mm - 10) / 4) ** 2))
    weight = (anatomy.white > 0.6) * (near + 0.15 * rim + 0.01)
    weight = weight * (anatomy.surface_distance_mm > 6)
    # Brainstem and cerebellum hold fewer.
    weight[..., : shape[2] // 4] *= 0.1
    parts = {tissue: np.zeros(shape, np.float32) for tissue, _ in PLAQUES}
    filled, grid = 0.0, np.indices(shape, dtype=np.float32) * spacing
    border = 0.2 * random_field(rng, shape, spacing, max(2.5, spacing))
    while filled < volume:
        radius = float(np.clip(rng.lognormal(np.log(2.6), 0.4), 1.5, 8.0))
        centre = np.array(_pick(weight > 0, weight, rng), np.float32)
        stretch = rng.uniform(0.75, 1.5, 3).astype(np.float32)
        reach = int(np.ceil(2 * radius / spacing)) + 1
        box = tuple(
            slice(max(int(c) - reach, 0), min(int(c) + reach + 1, n))
            for c, n in zip(centre, shape, strict=True)
        )
        window = (slice(None), *box)
        offset = (grid[window] - centre[:, None, None, None] * spacing) / stretch[
            :, None, None, None
        ]
        inside = radius * (1 + border[box]) - np.linalg.norm(offset, axis=0)
        share = _soft(inside, spacing) * np.clip(anatomy.white[box] * 1.5, 0, 1)
        part = parts[_choose(PLAQUES, rng)][box]
        others = sum(values[box] for values in parts.values()) - part
        np.copyto(part, np.maximum(part, np.minimum(share, 1 - others)))
        filled = sum(float((p >= 0.5).sum()) for p in parts.values()) * spacing**3
        weight[tuple(int(c) for c in centre)] = 0
    return Lesion(parts, None, float(rng.uniform(0.6, 1.0)))


def _stroke(anatomy: Anatomy, rng: np.random.Generator) -> Lesion:
    """A wedge from a vessel's root to the cortex: one territory, one age."""
    shape, spacing = anatomy.brain_mask.shape, anatomy.spacing_mm
    volume = _volume_mm3("stroke", rng)
    upper = np.zeros(shape, bool)
    upper[:, :, shape[2] // 3 :] = True
    root = _pick(
        upper
        & (anatomy.ventricle_distance_mm < 8)
        & (anatomy.ventricle_distance_mm > 2)
        & (anatomy.white + anatomy.deep_grey > 0.5),
        anatomy.brain_mask,
        rng,
    )
    side = 1.0 if root[0] > shape[0] / 2 else -1.0
    axis = np.array([side * rng.uniform(0.7, 1.0), rng.normal(0, 0.6), rng.normal(0.3, 0.5)])
    axis = (axis / np.linalg.norm(axis)).astype(np.float32)
    grid = np.indices(shape, dtype=np.float32) * spacing
    offset = grid - np.array(root, np.float32)[:, None, None, None] * spacing
    distance = np.linalg.norm(offset, axis=0)
    along = np.tensordot(axis, offset, axes=1) / np.maximum(distance, spacing)
    angle = np.degrees(np.arccos(np.clip(along, -1, 1)))
    field = 5 * random_field(rng, shape, spacing, 5)
    tissue = anatomy.brain_mask * np.clip((1 - anatomy.csf) * 1.5, 0, 1)
    # At the root itself every direction is as near as any other.
    tissue = tissue * np.clip((distance - 4) / 6, 0, 1)
    low, high = 3.0, 80.0
    # The opening angle that gives the drawn volume, by bisection.
    for _ in range(12):
        opening = (low + high) / 2
        inside = _soft((opening - angle + field) * distance * np.pi / 180, spacing) * tissue
        if float((inside >= 0.5).sum()) * spacing**3 < volume:
            low = opening
        else:
            high = opening
    # Where the border runs flat it would leave a wide halo of small shares.
    inside = ndimage.gaussian_filter((inside >= 0.5).astype(np.float32), 1.0 / spacing)
    kind = _choose(STROKES, rng)
    strength = float(rng.uniform(0.5, 1.0))
    if kind != "cyst":
        return Lesion({kind: inside}, None, strength)
    # An old infarct is a cavity with a gliotic rim.
    depth = ndimage.distance_transform_edt(inside >= 0.5, sampling=spacing)
    cavity = inside * np.clip((depth - 3) / 3, 0, 1).astype(np.float32)
    return Lesion({"gliosis": inside - cavity, "cyst": cavity}, None, strength)


def _volume_mm3(pathology: str, rng: np.random.Generator) -> float:
    low, high = VOLUMES_ML[pathology]
    return 1000 * float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _soft(signed_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Share of a voxel that is inside, from the signed distance to the border; 1.5 mm blur."""
    width = max(spacing_mm, 1.5)
    return np.clip(0.5 + signed_mm / width, 0, 1).astype(np.float32)


def _choose(kinds: tuple[tuple[str, float], ...], rng: np.random.Generator) -> str:
    names, shares = zip(*kinds, strict=True)
    return names[rng.choice(len(names), p=shares)]


def _pick(where: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    """A voxel of `where`, with a chance in proportion to `weight`."""
    voxels = np.flatnonzero(where)
    chance = np.cumsum(weight.ravel()[voxels], dtype=np.float64)
    found = voxels[np.searchsorted(chance, rng.random() * chance[-1])]
    x, y, z = np.unravel_index(found, where.shape)
    return int(x), int(y), int(z)
