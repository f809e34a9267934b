"""BMAD, brain part: 2D FLAIR slices of BraTS 2021 (Bao et al., CVPR-W 2024).

Where: https://github.com/DorisBao/BMAD links to a download. There is no licence file; the images
fall under BraTS's terms.

Layout: `Brain/{train,valid,test}/{good,Ungood}/img/00003_60.png`: five-digit BraTS id, and slice 60
to 99 of 155. The masks of `Ungood` have the images' names, in `label` or `anomaly_mask`. Folders
are found in any case, the training images in `train/good` itself as well. Read off the README and
the preparation scripts of the repository; not verified against a download.

Split: the released folders, 7,500 training, 83 validation and 3,715 test slices. By the scripts
(`data_processing/brain/bras.py`) no person is in two of them; a copy in which one is in train and
elsewhere is refused. The split cannot be rebuilt from BraTS: the abnormal people of `valid` come
from the order of a Python set.

Traps:
- "Healthy" slices come from tumour patients, with mass effect and oedema next door.
- `Ungood` slices are every tenth (valid) or eighth (test) of a patient, whether they show tumour or
  not: some masks are empty. The benchmark counts them as abnormal, and so does `healthy=false`.
- Images, and masks, were written by a plotting library's colour map `bone`, which stretches every
  slice to its own minimum and maximum, as RGBA: brightness does not compare between slices.
- Up to 40 slices are one person; the person is the id in the name.
- There is no brain mask; `data=slices` takes what is not background.
"""

import re
from pathlib import Path

from brainuad.errors import InputError

from .dataset import Dataset
from .layout import folders
from .slices import OVERLAP, SliceRow, child, finished, images, one

LAYOUT = "Brain/{train,valid,test}/{good,Ungood}/img/00003_60.png, masks in Ungood/label"

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_NAME = re.compile(r"(\d{5})_(\d+)")


def find(root: Path, overlap: str = "") -> list[SliceRow]:
    """List the slices of all three splits.

    Args:
        root: folder of the download, `Brain` or one that holds it.
        overlap: `drop`, see `data_prep.slices.OVERLAP`.

    Raises:
        InputError: none found, a name of another kind, or a person in train and elsewhere.
    """
    tests = folders(root, "[Tt][Ee][Ss][Tt]", LAYOUT)
    bases = {folder.parent for folder in tests if child(folder, "Ungood")}
    # The other parts of BMAD have the same folders.
    brains = {base for base in bases if base.absolute().name.casefold().startswith("brain")}
    base = one(brains or bases, root, LAYOUT)
    rows = []
    for name, split in _SPLITS.items():
        folder = child(base, name)
        for kind in ("good", "Ungood"):
            inner = child(folder, kind) if folder else None
            if inner:
                rows += _slices(inner, split, healthy=kind == "good")
    return finished(rows, root, LAYOUT, overlap)


def _slices(folder: Path, split: str, healthy: bool) -> list[SliceRow]:
    masks = None if healthy else child(folder, "label", "anomaly_mask")
    labels = {path.stem: path for path in images(masks)}
    rows = []
    for path in images(child(folder, "img") or folder):
        match = _NAME.fullmatch(path.stem)
        if not match:
            raise InputError(f"{path}: not named as 00003_60.png; give the folder of BMAD's Brain")
        rows.append(
            SliceRow(
                subject=path.stem,
                person=match[1],
                sequence="FLAIR",
                image=path,
                lesion_mask=labels.get(path.stem),
                healthy=healthy,
                split=split,
                pathology="" if healthy else "tumour",
                pixel_mm=1.0,
            )
        )
    return rows


DATASET = Dataset(
    name="bmad",
    title="BMAD, brain: Benchmarks for Medical Anomaly Detection",
    pathology="tumour",
    sequences=("FLAIR",),
    homepage="https://github.com/DorisBao/BMAD",
    licence="none given; the images fall under BraTS's terms",
    access="Follow the link to the data in the repository's README.",
    citation="Bao et al., CVPR Workshops 2024; Baid et al., arXiv:2107.02314",
    split="the released folders: 7,500 train, 83 valid, 3,715 test slices; scored by "
    "protocol=slice_bmad",
    layout=LAYOUT,
    find=find,
    options={"overlap": OVERLAP},
    slices=True,
    traps=(
        "healthy slices come from tumour patients",
        "some abnormal slices have an empty mask; the benchmark counts them as abnormal",
        "every slice is stretched to its own minimum and maximum",
        "no brain mask",
    ),
)
