"""MedIAnomaly's two brain sets: 2D slices, prepared (Cai et al. 2024, arXiv 2404.04518).

Where: https://zenodo.org/records/12677223. Licence: the code is MIT; the images fall under the
terms of BraTS and of the collection of web images they come from.

`medianomaly_brats2021`. Layout: `BraTS2021/{train,test/normal,test/tumor,test/annotation}`. The
mask of a tumour slice has its name with `flair` replaced by `seg`, as their loader has it
(`reconstruction/dataloaders/dataload.py`). 4,211 training, 828 + 1,948 test slices. The person is
the five-digit BraTS id in the name; a name without one is a person of its own.

`medianomaly_braintumor`. Layout: `BrainTumor/{images,data.json}`, and in `data.json` the names
within `images`: `{"train": {"0": […]}, "test": {"0": […], "1": […]}}`. 1,000 training, 600 + 600
test images, without masks: only numbers of whole images can be had. The images are mixed 2D images
of the web, T1-weighted with contrast, skull on; who is who is not known, so every image counts as a
person. No pixel size.

Not verified against a download.

Split: the released one. Neither set has a validation part, which the healthy threshold needs:
`val=10` takes every tenth training person. Whether a person of BraTS is in train and test is not
said in the paper's code; a copy in which one is, is refused, or read with `overlap=drop`.
"""

from pathlib import Path
from typing import Any

from brainuad.cohorts.words import canonical
from brainuad.errors import InputError
from brainuad.machine.read import read_json

from .dataset import Dataset
from .layout import folders
from .slices import OVERLAP, VAL, SliceRow, brats_id, child, finished, images, one

BRATS = "BraTS2021/{train,test/normal,test/tumor,test/annotation}/*.png"
BRAIN_TUMOR = "BrainTumor/{images,data.json}"

_PARTS = (("train", "0"), ("test", "0"), ("test", "1"))


def find(root: Path, overlap: str = "", val: str = "") -> list[SliceRow]:
    """List the slices of MedIAnomaly's BraTS2021.

    Args:
        root: `BraTS2021`, or a folder that holds it.
        overlap: `drop`, see `data_prep.slices.OVERLAP`.
        val: a number, see `data_prep.slices.VAL`.

    Raises:
        InputError: none found, or a person in train and test.
    """
    bases = {f.parent for f in folders(root, "test", BRATS) if child(f, "tumor")}
    base = one(bases, root, BRATS)
    test = base / "test"
    masks = {path.stem: path for path in images(child(test, "annotation"))}
    rows = []
    for folder, split, sick in (
        (child(base, "train"), "train", False),
        (child(test, "normal"), "test", False),
        (child(test, "tumor"), "test", True),
    ):
        rows += [
            SliceRow(
                subject=path.stem,
                person=brats_id(path.stem) or path.stem,
                sequence="FLAIR",
                image=path,
                # Of the file's name alone: a folder may be called flair, too.
                lesion_mask=masks.get(path.stem.replace("flair", "seg")) if sick else None,
                healthy=not sick,
                split=split,
                pathology="tumour" if sick else "",
                pixel_mm=1.0,
            )
            for path in images(folder)
        ]
    return finished(rows, root, BRATS, overlap, val)


def find_brain_tumor(root: Path, sequence: str = "T1c", val: str = "") -> list[SliceRow]:
    """List the images of MedIAnomaly's BrainTumor, which have no masks.

    Args:
        root: `BrainTumor`, or a folder that holds it.
        sequence: sequence of the images.
        val: a number, see `data_prep.slices.VAL`.

    Raises:
        InputError: none found, or a `data.json` that is not as described.
    """
    bases = {f.parent for f in folders(root, "images", BRAIN_TUMOR)}
    bases = {base for base in bases if (base / "data.json").is_file()}
    # The other sets of MedIAnomaly have the same two entries.
    named = {base for base in bases if base.absolute().name.casefold() == "braintumor"}
    base = one(named or bases, root, BRAIN_TUMOR)
    there = {path.name: path for path in images(base / "images")}
    rows = []
    for part, kind, name in _listed(base / "data.json"):
        if name not in there:
            raise InputError(
                f"{base / 'data.json'}: lists {name!r}, which is no image of {base / 'images'}; "
                "unpack the set anew"
            )
        path = there[name]
        rows.append(
            SliceRow(
                subject=path.stem,
                person=path.stem,
                sequence=canonical(sequence),
                image=path,
                healthy=kind == "0",
                split=part,
                pathology="" if kind == "0" else "tumour",
            )
        )
    return finished(rows, root, BRAIN_TUMOR, val=val)


def _listed(path: Path) -> list[tuple[str, str, str]]:
    """Part, kind (0 normal, 1 abnormal) and file name of each image that a `data.json` lists."""
    content: Any = read_json(path, "download the set anew")
    listed = []
    for part, kind in _PARTS:
        inner = content.get(part)
        names = inner.get(kind) if isinstance(inner, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{path}: needs a list of file names at {part}, {kind}; download the set anew"
            )
        listed += [(part, kind, name) for name in names]
    return listed


_COMMON: dict[str, Any] = {
    "pathology": "tumour",
    "homepage": "https://zenodo.org/records/12677223",
    "access": "Download the archive from the homepage and unpack it.",
    "citation": "Cai et al., arXiv:2404.04518",
    "slices": True,
}
DATASET = Dataset(
    name="medianomaly_brats2021",
    title="MedIAnomaly: BraTS2021",
    sequences=("FLAIR",),
    licence="MIT for the code; the images fall under BraTS's terms",
    split="4,211 train, 828 normal and 1,948 tumour test slices, no val; scored by "
    "protocol=slice_medianomaly",
    layout=BRATS,
    find=find,
    options={"overlap": OVERLAP, "val": VAL},
    traps=(
        "no validation part: the healthy threshold needs val=10",
        "no brain mask",
        "their scores are of 64x64 pixels, background included",
    ),
    **_COMMON,
)
BRAIN_TUMOR_SET = Dataset(
    name="medianomaly_braintumor",
    title="MedIAnomaly: BrainTumor",
    sequences=("T1c",),
    licence="MIT for the code; that of the images is not given",
    split="1,000 train, 600 normal and 600 tumour test images, no val; scored by "
    "protocol=slice_medianomaly",
    layout=BRAIN_TUMOR,
    find=find_brain_tumor,
    options={"sequence": "what the images are, when not T1c", "val": VAL},
    traps=(
        "no masks: image AUROC and AP alone",
        "no validation part: the healthy threshold needs val=10",
        "mixed web images with the skull on; people are not known",
    ),
    **_COMMON,
)
