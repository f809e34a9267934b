"""Brains with painted lesions, made of the atlas, on which exported files are compared."""

from dataclasses import dataclass

import numpy as np

from brainuad.methods.parts.tissue_atlas import ATLAS_MM, TISSUES, atlas_at
from brainuad.model.model import Model
from brainuad.volumes.grids import Grid
from brainuad.volumes.template import load_template

LESIONS_ML = (0.1, 1.0, 10.0, 100.0)
"""Volumes of the painted lesions."""

TISSUE = {"T1w": (0.2, 0.5, 0.75), "T2w": (0.95, 0.55, 0.4)}
"""Brightness of CSF, grey and white matter; of other sequences that of FLAIR."""

FLAIR = (0.1, 0.55, 0.45)

NOISE = 0.02

MARGIN = 2
"""Voxels around the brain."""


@dataclass(frozen=True)
class ExampleScan:
    """A scan with one lesion, as input of a model.

    Attributes:
        image: `(C, D, H, W)` float32 in [0, 1], 0 outside the brain.
        brain_mask: `(D, H, W)` bool.
        grid: its grid.
        lesion_ml: volume of the lesion.
    """

    image: np.ndarray
    brain_mask: np.ndarray
    grid: Grid
    lesion_ml: float


def example_scan(model: Model, lesion_ml: float, seed: int = 0) -> ExampleScan:
    """Return a brain of the atlas in a model's sequence, with one lesion.

    Args:
        model: the model; its scans lie on its grid, if it has one.
        lesion_ml: volume of the lesion.
        seed: seed of noise and place.
    """
    rng = np.random.default_rng(seed)
    grid = model.method.grid or _brain_grid()
    if model.card.recipe.of_slices:
        grid = _middle(grid)
    places = np.argwhere(np.ones(grid.shape, bool))
    atlas = atlas_at(grid.affine, places)
    brain_mask = (atlas["brain"] > 0.5).reshape(grid.shape)
    if brain_mask.mean() < 0.05:
        # A grid in another world than the atlas's.
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
        brain_mask = (np.stack(axes) ** 2).sum(0) < 0.8
    tissues = np.stack([atlas[name].reshape(grid.shape) for name in TISSUES])
    image = np.zeros((len(model.card.channels), *grid.shape), np.float32)
    lesion = _nearest(brain_mask, grid, lesion_ml, rng)
    for number, sequence in enumerate(model.card.channels):
        tissue = np.tensordot(TISSUE.get(sequence, FLAIR), tissues, 1)
        image[number] = tissue + NOISE * rng.standard_normal(grid.shape)
        image[number][lesion] = 0.3 if sequence == "T1w" else 0.95
    inside = np.where(brain_mask, np.clip(image, 0.01, 1), 0).astype(np.float32)
    return ExampleScan(inside, brain_mask, grid, lesion_ml)


def _brain_grid() -> Grid:
    """Return the box of the atlas's brain."""
    template = load_template(ATLAS_MM)
    inside = np.argwhere(template.brain > 0.5)
    low = inside.min(0) - MARGIN
    size = inside.max(0) + 1 + MARGIN - low
    affine = template.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Grid(tuple(int(n) for n in size), affine)


def _middle(grid: Grid) -> Grid:
    """Return the axial slice in the middle of a grid."""
    middle = grid.shape[2] // 2
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * middle
    return Grid((*grid.shape[:2], 1), affine)


def _nearest(
    brain_mask: np.ndarray, grid: Grid, lesion_ml: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the voxels of the brain that are nearest to a place between middle and surface."""
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    places = np.argwhere(brain_mask)
    middle = places.mean(0)
    towards = places[rng.integers(len(places))]
    centre = middle + 0.4 * (towards - middle)
    distance = (((places - centre) * spacing) ** 2).sum(1)
    volume, edges = 1000 * lesion_ml, spacing
    if grid.shape[2] == 1:
        # The largest cut through a ball of that volume.
        volume, edges = np.pi * (3 * volume / (4 * np.pi)) ** (2 / 3), spacing[:2]
    count = max(round(float(volume / np.prod(edges))), 1)
    found = np.zeros(brain_mask.shape, bool)
    found[tuple(places[np.argsort(distance, kind="stable")[:count]].T)] = True
    return found
