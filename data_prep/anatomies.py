"""SynthSeg's label maps of whole heads, and the bank of anatomies made of them.

Where: https://github.com/BBillot/SynthSeg, `data/training_label_maps/training_seg_NN.nii.gz`: 20
maps, 1 mm, 256 voxels an edge. Licence Apache-2.0. Brain labels are FreeSurfer's, those of skull,
skin, eyes and vessels SimNIBS's. People are young and old: ventricles of 9 to 74 ml, and every map
has white matter lesions of its own (labels 25 and 57), which the bank keeps apart.

They are no scans, so `rows` lists nothing. `python -m data_prep anatomies FOLDER OUT` makes a bank:
each map is registered to MNI152 by an affine transform and becomes partial volumes on its grid. Any
label map with FreeSurfer's labels and the CSF around the brain can be added.

Lesion masks in MNI152 space join as `--lesions KIND=FOLDER`: stroke, ms or wmh.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.locks import lock
from brainuad.machine.text import say
from brainuad.preparation.register.linear import Register
from brainuad.synthetic.anatomies.bank import read_bank, write_arrays, write_bank_index
from brainuad.synthetic.anatomies.classes import CLASSES, CSF, GREY, OUTSIDE, WHITE, class_of_label
from brainuad.synthetic.anatomies.grid import head_grid
from brainuad.synthetic.anatomies.partial_volumes import (
    PartialVolumes,
    partial_volumes,
    read_labels,
)
from brainuad.synthetic.anatomies.shapes import Shape, Shapes
from brainuad.types import Volume
from brainuad.volumes.nifti import read_label, read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.regions import box_of
from brainuad.volumes.resample import resample_like, smoothed
from brainuad.volumes.template import load_template

from .dataset import Dataset

LAYOUT = "training_seg_{01..20}.nii.gz"
KINDS = ("stroke", "ms", "wmh")
GREY_VALUE, WHITE_VALUE, CSF_VALUE = 0.6, 0.9, 0.2
"""Intensities of the T1w-like image that is registered."""


def find(root: Path) -> list[RawScan]:
    """Refuse: the set has label maps, not scans.

    Raises:
        InputError: always, with the command that is meant.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected {LAYOUT}")
    raise InputError(
        f"{root}: label maps are no scans; make a bank of them with python -m data_prep "
        f"anatomies {root} OUT (expected {LAYOUT})"
    )


def make_bank(
    source: Path,
    out: Path,
    *,
    spacing_mm: float = 2.0,
    lesions: Sequence[tuple[str, Path]] = (),
    licence: str = "Apache-2.0 (SynthSeg's maps)",
) -> list[tuple[str, str]]:
    """Make a bank of the label maps in a folder; maps that are done already are kept.

    Args:
        source: folder of `.nii` or `.nii.gz` label maps.
        out: folder of the bank.
        spacing_mm: edge length of its voxels in mm, 1 or more.
        lesions: kind and folder of lesion masks in MNI152 space.
        licence: licence of the maps, stated in the bank.

    Returns:
        Maps that failed, with the reason.

    Raises:
        InputError: no label map, or none that can be used; an unknown kind; a lesion mask that
            cannot be read.
    """
    paths = _niftis(source)
    if spacing_mm < 1:
        raise InputError(f"--spacing-mm is {spacing_mm}; use 1 or more")
    for kind, _ in lesions:
        if kind not in KINDS:
            raise InputError(f"--lesions {kind}=…: unknown kind; use one of {', '.join(KINDS)}")
    failures, entries = [], []
    with lock(out):
        for path in paths:
            name = path.name.removesuffix(".gz").removesuffix(".nii")
            target = out / f"{name}.npz"
            try:
                if not target.is_file():
                    write_arrays(target, anatomy_of(path, spacing_mm)._asdict())
                entries.append(name)
                say(f"{target}")
            except InputError as error:
                failures.append((path.name, str(error)))
        if not entries:
            raise InputError(failures[0][1])
        kinds = _write_shapes(out, spacing_mm, lesions)
        info = {"lesions": kinds, "licence": licence, "source": str(source)}
        write_bank_index(out, spacing_mm, [{"name": name} for name in entries], **info)
        bank = read_bank(out)
        write_bank_index(out, spacing_mm, [_entry(bank, name) for name in entries], **info)
    return failures


def anatomy_of(path: Path, spacing_mm: float) -> PartialVolumes:
    """Register a label map to MNI152 and return its partial volumes.

    Raises:
        InputError: not a label map of a head, or the registration failed.
    """
    volume = read_volume(path)
    labels = Volume(read_labels(volume, str(path)), volume.affine)
    template = load_template(max(spacing_mm, 2.0))
    fixed = GREY_VALUE * template.grey + WHITE_VALUE * template.white + CSF_VALUE * template.csf
    try:
        found = Register("affine")(
            Volume(fixed.astype(np.float32), template.affine), _t1_like(labels, str(path))
        )
    except ValueError as error:
        raise InputError(f"{path}: could not be registered to MNI152 ({error})") from None
    return partial_volumes(labels, found.matrix, head_grid(spacing_mm), str(path))


def _t1_like(labels: Volume, name: str) -> Volume:
    """A brain as T1w shows it, with the CSF close to it, for the registration."""
    table = class_of_label(np.unique(labels.array), name)
    values = np.zeros(len(CLASSES) + 1, dtype=np.float32)
    values[list(GREY)], values[list(WHITE)] = GREY_VALUE, WHITE_VALUE
    values[list(CSF)] = CSF_VALUE
    intensity = values[table]
    # The cord, vessels and the head are not in the template.
    intensity[[label for label in OUTSIDE if label < len(table) and label not in (24, 30, 62)]] = 0
    return to_ras(Volume(intensity[labels.array], labels.affine))


def _write_shapes(out: Path, spacing_mm: float, lesions: Sequence[tuple[str, Path]]) -> list[str]:
    grid = head_grid(spacing_mm)
    found: dict[str, list[Shape]] = {}
    for kind, folder in lesions:
        for path in _niftis(folder):
            mask = Volume(read_label(path), read_volume(path).affine)
            if mask.array.any():
                found.setdefault(kind, []).append(lesion_shape(mask, grid))
    for kind, items in found.items():
        shapes = Shapes(tuple(items), grid.array.shape)
        write_arrays(out / f"lesions-{kind}.npz", shapes.to_arrays())
        say(f"{out / f'lesions-{kind}.npz'}: {len(shapes)} people's lesions")
    # Kinds of an earlier call stay.
    return [kind for kind in KINDS if (out / f"lesions-{kind}.npz").is_file()]


def lesion_shape(mask: Volume, grid: Volume) -> Shape:
    """Return the box of a lesion mask on a grid in the same world.

    Args:
        mask: `(D, H, W)` bool, not empty.
        grid: grid of the bank.
    """
    # The box alone: a mask is mostly empty, and there are hundreds.
    box = box_of(mask.array, (4, 4, 4))
    first = np.array([part.start for part in box])
    affine = mask.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    cut = Volume(mask.array[box].astype(np.float32), affine)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(cut.array.shape) - 1)
    places = apply_affine(np.linalg.inv(grid.affine) @ affine, corners)
    low, high = np.floor(places.min(0)).astype(int), np.ceil(places.max(0)).astype(int) + 1
    there = grid.affine.copy()
    there[:3, 3] += there[:3, :3] @ low
    like = Volume(np.zeros(tuple(high - low), dtype=np.uint8), there)
    share = resample_like(smoothed(cut, grid.spacing_mm[0]), affine, like)
    corner = tuple(int(n) for n in low)
    return Shape(corner, np.rint(255 * share).astype(np.uint8))  # type: ignore[arg-type]


def _entry(bank: Any, name: str) -> dict[str, Any]:
    """Name and volumes of an anatomy, in ml."""
    anatomy = bank.anatomy(name, "head")
    voxel = bank.spacing_mm**3 / 1000 / 255
    ventricles = anatomy.tissues[CLASSES.index("ventricles")]
    parts = {"brain": anatomy.brain, "ventricles": ventricles, "lesions": anatomy.lesions}
    return {
        "name": name,
        **{f"{key}_ml": round(float(part.sum() * voxel), 1) for key, part in parts.items()},
    }


def _niftis(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the .nii.gz files")
    paths = sorted(path for path in folder.iterdir() if path.name.endswith((".nii", ".nii.gz")))
    if not paths:
        raise InputError(f"{folder}: no .nii or .nii.gz file in it; give the folder of the maps")
    return paths


DATASET = Dataset(
    name="synthseg_maps",
    title="SynthSeg's training label maps (20 whole heads)",
    pathology="label maps, no scans",
    sequences=(),
    homepage="https://github.com/BBillot/SynthSeg",
    licence="Apache-2.0",
    access="Free: git clone https://github.com/BBillot/SynthSeg; use data/training_label_maps.",
    citation="Billot et al., Medical Image Analysis 2023, doi:10.1016/j.media.2023.102789",
    split="none; hold back anatomies by name",
    layout=LAYOUT,
    find=find,
)
