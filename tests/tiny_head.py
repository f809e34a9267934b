"""A tiny head: a label map made of the MNI152 tissue maps, with CSF, skull and skin around."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.synthetic.anatomies.bank import Bank, read_bank, write_arrays, write_bank_index
from brainuad.synthetic.anatomies.grid import head_grid
from brainuad.synthetic.anatomies.partial_volumes import partial_volumes
from brainuad.synthetic.anatomies.shapes import Shapes
from brainuad.types import Volume
from brainuad.volumes.template import load_template

LESION = (slice(31, 36), slice(51, 56), slice(56, 61))
"""A lesion in the left white matter: 5 voxels of 2 mm an edge."""


def tiny_labels() -> Volume:
    """Return a label map with FreeSurfer's labels, 2 mm, RAS axes, in MNI152 space."""
    template = load_template(2.0)
    shape = template.brain.shape
    left = np.broadcast_to((np.arange(shape[0]) < shape[0] // 2)[:, None, None], shape)
    inside = template.brain > 0.5
    tissues = np.stack([template.csf, template.grey, template.white]).argmax(0)
    labels = np.zeros(shape, np.uint16)
    # From the outside in: skin, skull, CSF.
    for label, voxels in ((511, 5), (515, 3), (24, 1)):
        labels[ndimage.binary_dilation(inside, iterations=voxels)] = label
    for tissue, sides in ((0, (24, 24)), (1, (3, 42)), (2, (2, 41))):
        for side, label in zip((left, ~left), sides, strict=True):
            labels[inside & (tissues == tissue) & side] = label
    labels[inside & (template.deep_grey > 0.5) & left] = 12
    labels[inside & (template.deep_grey > 0.5) & ~left] = 51
    labels[inside & (template.ventricles > 0.5) & left] = 4
    labels[inside & (template.ventricles > 0.5) & ~left] = 43
    labels[LESION] = 25
    return Volume(labels, template.affine)


def write_tiny_bank(
    folder: Path, spacing_mm: float = 4.0, names: tuple[str, ...] = ("tiny",)
) -> Bank:
    """Write a bank of the tiny head, under each of the names, and of two boxes as strokes."""
    grid = head_grid(spacing_mm)
    anatomy = partial_volumes(tiny_labels(), np.eye(4), grid, "tiny")
    for name in names:
        write_arrays(folder / f"{name}.npz", anatomy._asdict())
    boxes = np.zeros((2, *grid.array.shape), np.uint8)
    boxes[0, 12:18, 20:28, 30:36] = 255
    boxes[1, 36:40, 40:44, 26:30] = 255
    shapes = Shapes.of(list(boxes), grid.array.shape)
    write_arrays(folder / "lesions-stroke.npz", shapes.to_arrays())
    entries = [{"name": name} for name in names]
    write_bank_index(folder, spacing_mm, entries, lesions=["stroke"], licence="none", source="")
    return read_bank(folder)
