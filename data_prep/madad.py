"""MAD-AD's preparation: 2D axial slices in MNI space (Beizaee et al., IPMI 2025).

Where: https://github.com/farzad-bz/MAD-AD gives the layout, not the data. No licence file; the
images fall under the terms of the sets that you prepare.

Layout: `Data/{train,val,test}/<id>-slice_<n>-<modality>.png`, `…-brainmask.png`, and in test
`…-segmentation.png`; MNI152, 1 mm, 8 bit. An older README writes `_` for `-` and `brain_scan_` at
the beginning: both are read. Read off the README and `MedicalDataLoader.py`; not verified against a
prepared folder.

Split: the folders. `train` and `val` hold healthy people only; a slice of `test` is healthy when
its segmentation is empty. The person is the id; one who is in train and elsewhere is refused.

Traps:
- Their loader finds the masks by replacing the modality in the whole path, so that a folder called
  `T1_data` breaks it. Here it is replaced in the file's name alone.
- Their loader resizes masks with a smooth filter and takes what is above 0, so masks grow by about
  a pixel where the slices are not 256x256. `data=slices` does not.
- Images are multiplied by the brain mask before they are resized, and the slices of `test` without
  a lesion raise their Dice: how many there were is not known.
"""

import re
from pathlib import Path

from brainuad.cohorts.words import canonical
from brainuad.errors import InputError

from .dataset import Dataset
from .layout import folders
from .slices import OVERLAP, SliceRow, child, finished, images, one

LAYOUT = "Data/{train,val,test}/<id>-slice_<n>-{<modality>,brainmask,segmentation}.png"

_NAME = re.compile(r"(?P<slice>(?P<id>.+?)[-_]slice_\d+)(?P<joint>[-_])(?P<what>[A-Za-z0-9]+)")
_MASKS = ("brainmask", "segmentation")


def find(root: Path, modality: str = "", pathology: str = "", overlap: str = "") -> list[SliceRow]:
    """List the slices, in every modality.

    Args:
        root: `Data`, or a folder that holds it.
        modality: `T1` lists those slices alone, spelled as in the files.
        pathology: pathology of the people in `test`.
        overlap: `drop`, see `data_prep.slices.OVERLAP`.

    Raises:
        InputError: none found, a name of another kind, or a person in train and elsewhere.
    """
    base = one(
        {
            folder.parent
            for name in ("train", "test")
            for folder in folders(root, name, LAYOUT)
            if any("slice_" in path.name for path in images(folder))
        },
        root,
        LAYOUT,
    )
    rows: list[SliceRow] = []
    for split in ("train", "val", "test"):
        files = {path.name: path for path in images(child(base, split), (".png",))}
        for name, path in files.items():
            match = _NAME.fullmatch(path.stem)
            if not match:
                raise InputError(
                    f"{path}: not named as <id>-slice_<n>-<modality>.png; move it out of {base}"
                )
            what = match["what"]
            if what in _MASKS or (modality and what != modality):
                continue
            start = name.removesuffix(what + path.suffix)
            brain, lesion = (files.get(f"{start}{mask}{path.suffix}") for mask in _MASKS)
            rows.append(
                SliceRow(
                    subject=match["slice"],
                    person=match["id"],
                    sequence=canonical(what),
                    image=path,
                    brain_mask=brain,
                    lesion_mask=lesion,
                    # A label tells; without one only the split does.
                    healthy=None if lesion else split != "test",
                    split=split,
                    pathology=pathology if split == "test" else "",
                    pixel_mm=1.0,
                )
            )
    if modality and not rows:
        raise InputError(f"{base}: no slice of modality {modality!r}; see the ends of the names")
    return finished(rows, root, LAYOUT, overlap)


DATASET = Dataset(
    name="madad",
    title="MAD-AD's preparation of your own sets",
    pathology="any",
    sequences=("T1w", "T1c", "T2w", "FLAIR"),
    homepage="https://github.com/farzad-bz/MAD-AD",
    licence="none given; the images fall under the terms of the sets you prepare",
    access="The data are not released; prepare yours as the README says.",
    citation="Beizaee et al., IPMI 2025, arXiv:2502.16943",
    split="the folders: healthy people in train and val; scored by protocol=slice_madad with "
    "postprocess=madad",
    layout=LAYOUT,
    find=find,
    options={
        "modality": "T1 lists that modality alone, spelled as in the files",
        "pathology": "of the people in test",
        "overlap": OVERLAP,
    },
    slices=True,
    traps=(
        "their masks grow by about a pixel where slices are not 256x256; ours do not",
        "slices of test without a lesion raise their Dice",
    ),
)
