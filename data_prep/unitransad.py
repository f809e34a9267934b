"""UniTransAD's preparation (Brain-OmniA): seven sets as 2D slices in NumPy files.

Where: https://github.com/zhibaishouheilab/UniTransAD links to Brain-OmniA on Hugging Face. No
licence file; the images fall under the terms of BraTS 2021, MSD, ISLES 2022, WMH 2017, MSLUB, IXI
and BRISC.

Layout: `npy/<SET>/{train,eval,test,train_normal}/<n>.npy`, channels x H x W float, the label as the
last channel; IXI has none. Channels per set are in `ORDER`. Read off `preprocessing/`; not verified
against a download.

Split: BraTS2021 is cut by patient, 70 % train, 10 % eval, 20 % test; `train_normal` holds the
slices of `train` without tumour and is what is trained on, so `train` is left aside where it is
there. IXI is all train. Of the other sets their code tunes on `test` (10 %) and scores `train`
(90 %), on which nothing was trained: here `test` is val and `train` is test.

Traps:
- Volumes give 60 slices, so the person is (n - 1) // 60 within the folder; numbers begin anew in
  every folder. BRISC is 2D images: every one counts as a person. The original patients are not
  known any more: MSD's gliomas come from BraTS of earlier years and may be people of BraTS2021.
- Twin folders `*_edge` (Sobel edges) are no images and are left aside. `train_normal` of another
  set than BraTS2021 is a copy of slices that are scored, and is left aside, too.
- `tune.py` calls the second and third channel of BraTS2021 T1ce and T2, `evaulate.py` T2 and T1ce;
  the arrays are as the second says.
- Volumes of fewer than 110 slices are missing; WMH has label 1 only; BraTS is turned by 180 degrees
  and its label 4 is 3.
- Intensities are divided by the volume's maximum, the minimum is not subtracted.
"""

import re
from pathlib import Path

import numpy as np

from brainuad.cohorts.words import canonical
from brainuad.errors import InputError

from .dataset import Dataset
from .layout import folders
from .slices import SliceRow, finished, images

LAYOUT = "npy/<SET>/{train,eval,test,train_normal}/<n>.npy, <SET> as BraTS2021, MSD, IXI"
PER_VOLUME = 60

_PARTS = ("train", "eval", "test", "train_normal")

ORDER = {
    "BraTS2021": ("T1w", "T2w", "T1c", "FLAIR"),
    "MSD": ("FLAIR", "T1w", "T1c", "T2w"),
    "ISLES": ("ADC", "DWI", "FLAIR"),
    "WMH": ("T1w", "FLAIR"),
    "MSLUB": ("T1w", "T2w", "FLAIR"),
    "IXI": ("T1w", "T2w", "PDw"),
    "BRISC": ("T1c",),
}
"""Set to the sequence of each channel; the label follows, but for IXI."""

_OTHER_NAMES = {"msd_braintumour": "MSD", "isles2022": "ISLES", "wmh2017": "WMH"}
_PATHOLOGY = {"BraTS2021": "tumour", "MSD": "tumour", "BRISC": "tumour", "ISLES": "stroke"}
_PATHOLOGY |= {"WMH": "wmh", "MSLUB": "ms", "IXI": ""}
_SPLITS = {
    "BraTS2021": {"train_normal": "train", "eval": "val", "test": "test"},
    "IXI": {"train": "train"},
}
_TUNED_ON_TEST = {"test": "val", "train": "test"}
_NAME = re.compile(r"[1-9]\d*")


def find(root: Path, set: str = "", sequence: str = "") -> list[SliceRow]:
    """List the slices of every set, one row per sequence.

    Args:
        root: `npy`, a folder that holds it, or the folder of one set.
        set: lists that set alone, in our spelling.
        sequence: lists that one alone, `FLAIR` for example.

    Raises:
        InputError: none found, an unknown option, or an array of another shape than described.
    """
    if set and set not in ORDER:
        raise InputError(f"set is {set!r}; write one of {', '.join(ORDER)}")
    rows: list[SliceRow] = []
    seen: dict[str, Path] = {}
    parts = [folder for part in _PARTS for folder in folders(root, part, LAYOUT)]
    for folder in sorted({part.parent for part in parts}):
        name = _set_of(folder)
        if name and (not set or name == set):
            first = seen.setdefault(name, folder)
            if first != folder:
                raise InputError(f"{root}: holds {first} and {folder}; give one of them")
            rows += _slices(folder, name)
    if sequence:
        found = [row for row in rows if row.sequence == canonical(sequence)]
        if rows and not found:
            have = ", ".join(dict.fromkeys(row.sequence for row in rows))
            raise InputError(f"{root}: no slice of sequence {sequence!r}; there are {have}")
        rows = found
    return finished(rows, root, LAYOUT)


def _set_of(folder: Path) -> str:
    """The set that a folder's name says, empty for another."""
    text = folder.absolute().name.casefold()
    return {name.casefold(): name for name in ORDER}.get(text, _OTHER_NAMES.get(text, ""))


def _slices(base: Path, name: str) -> list[SliceRow]:
    splits = dict(_SPLITS.get(name, _TUNED_ON_TEST))
    if name == "BraTS2021" and not (base / "train_normal").is_dir():
        splits["train"] = "train"
    labelled = name != "IXI"
    rows = []
    for part, split in splits.items():
        if not (base / part).is_dir():
            continue
        for path in images(base / part, (".npy",)):
            if not _NAME.fullmatch(path.stem):
                raise InputError(f"{path}: not named by a number, as 1.npy; move it out of {part}")
            _check(path, len(ORDER[name]) + labelled, name)
            # A copy of train under the same numbers.
            where = "train" if part == "train_normal" else part
            slice_name = f"{name}_{where}_{path.stem}"
            volume = f"{name}_{where}_v{(int(path.stem) - 1) // PER_VOLUME:04d}"
            rows += [
                SliceRow(
                    subject=slice_name,
                    person=slice_name if name == "BRISC" else volume,
                    sequence=sequence,
                    image=path,
                    channel=channel,
                    lesion_channel=len(ORDER[name]) if labelled else None,
                    healthy=None if labelled else True,
                    split=split,
                    pathology=_PATHOLOGY[name],
                    site=name,
                    pixel_mm=None if name == "BRISC" else 1.0,
                )
                for channel, sequence in enumerate(ORDER[name])
            ]
    return rows


def _check(path: Path, channels: int, name: str) -> None:
    """Refuse an array of another shape, by its header alone."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as NPY ({error}); make it again") from None
    if len(shape) != 3 or shape[0] != channels or min(shape) == 0:
        what = "and the label" if channels > len(ORDER[name]) else "without a label"
        raise InputError(
            f"{path}: has shape {shape}; {name} needs {channels} channels first, "
            f"{', '.join(ORDER[name])} {what}"
        )


DATASET = Dataset(
    name="unitransad",
    title="UniTransAD's preparation: Brain-OmniA",
    pathology="tumour, ms, wmh, stroke; IXI healthy",
    sequences=("T1w", "T1c", "T2w", "FLAIR", "PDw", "DWI", "ADC"),
    homepage="https://github.com/zhibaishouheilab/UniTransAD",
    licence="none given; the images fall under the terms of the seven sets",
    access="Follow the link to Brain-OmniA in the README, or run its preprocessing scripts.",
    citation="UniTransAD, code of December 2025; and the seven sets",
    split="IXI and BraTS2021/train_normal to train; BraTS2021 70/10/20 %; of the others test is "
    "val and train is test, as their code has it; scored by protocol=slice_unitransad",
    layout=LAYOUT,
    find=find,
    options={
        "set": f"lists one of {', '.join(ORDER)} alone",
        "sequence": "lists that one alone, FLAIR for example",
    },
    slices=True,
    traps=(
        "folders *_edge are left aside, and train_normal of all sets but BraTS2021",
        "people are counted anew in every folder; MSD and BraTS2021 may share some",
        "volumes of fewer than 110 slices are missing",
    ),
)
