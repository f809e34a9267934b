"""Each public layout of 2D benchmarks, from its miniature tree to a cohort of `data=slices`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainuad.preparation.from_slices import slices_cohort
from brainuad.volumes.nifti import read_mask
from data_prep.__main__ import main

ROWS, COLUMNS = np.mgrid[:28, :24]
BRAIN = ((ROWS - 14) / 12) ** 2 + ((COLUMNS - 12) / 10) ** 2 < 1
LESION = BRAIN & (abs(ROWS - 14) < 3) & (abs(COLUMNS - 8) < 3)
MASKS = ("seg", "label", "anomaly_mask", "segmentation", "annotation", "brainmask")

BMAD = [
    *("train/good/img/00003_60.png", "train/good/img/00004_61.png", "valid/good/img/00025_99.png"),
    *("test/good/img/00000_96.png", "test/Ungood/img/00002_68.png"),
    "test/Ungood/anomaly_mask/00002_68.png",
]
MEDIANOMALY = [
    *("train/BraTS2021_00001_flair_70.png", "train/BraTS2021_00003_flair_70.png"),
    *("test/normal/BraTS2021_00005_flair_70.png", "test/tumor/BraTS2021_00006_flair_70.png"),
    "test/annotation/BraTS2021_00006_seg_70.png",
]
MADAD = [
    *("train/p1-slice_80-T1.png", "train/p1-slice_80-brainmask.png", "val/p2-slice_80-T1.png"),
    *("test/p3-slice_7-T1.png", "test/p3-slice_7-brainmask.png"),
    "test/p3-slice_7-segmentation.png",
]


def pixels(number: int, mask: str, lesion: bool = False) -> np.ndarray:
    """An image of its own, or one of its masks."""
    if mask:
        return np.where(BRAIN if mask == "brainmask" else LESION, 255, 0).astype(np.uint8)
    noise = np.random.default_rng(number).integers(80, 160, BRAIN.shape)
    return np.where(BRAIN, np.where(LESION & lesion, 230, noise), 0).astype(np.uint8)


def pngs(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = next((word for word in MASKS if word in name), "")
        Image.fromarray(pixels(number, mask, "test" in name)).save(path)
    return folder


def brain_tumor(folder: Path) -> Path:
    pngs(folder / "BrainTumor" / "images", ["a.png", "b.png", "c.png", "d.png"])
    listed = {"train": {"0": ["a.png", "b.png"]}, "test": {"0": ["c.png"], "1": ["d.png"]}}
    (folder / "BrainTumor" / "data.json").write_text(json.dumps(listed))
    return folder


def unitransad(folder: Path) -> Path:
    for number, part in enumerate(("train_normal", "eval", "test")):
        path = folder / "npy" / "BraTS2021" / part / "60.npy"
        path.parent.mkdir(parents=True)
        label = LESION * 3 if part != "train_normal" else np.zeros_like(LESION)
        channels = [pixels(10 * number + k, "", True) / 255 for k in range(4)]
        np.save(path, np.stack([*channels, label]).astype(np.float32))
    return folder


TREES = {
    "bmad": (lambda folder: pngs(folder / "Brain", BMAD), "FLAIR", [], 5),
    "medianomaly_brats2021": (lambda f: pngs(f / "BraTS2021", MEDIANOMALY), "FLAIR", [], 4),
    "medianomaly_braintumor": (brain_tumor, "T1c", [], 4),
    "madad": (lambda folder: pngs(folder / "Data", MADAD), "T1w", ["modality=T1"], 3),
    "unitransad": (unitransad, "FLAIR", ["sequence=FLAIR"], 3),
}


@pytest.mark.parametrize("name", TREES)
def test_a_public_layout_becomes_a_cohort(name, tmp_path) -> None:
    build, sequence, options, count = TREES[name]
    table = tmp_path / "rows.csv"
    assert main(["rows", name, str(build(tmp_path / "download")), str(table), *options]) == 0
    cohort = slices_cohort(table, tmp_path / "cache", sequence, spacing_mm=None)
    assert len(cohort.scans) == count, cohort.info.get("failures")
    assert all(scan.healthy for scan in cohort.scans if scan.split == "train")
    sick = [scan for scan in cohort.scans if not scan.healthy and scan.split == "test"]
    assert len(sick) == 1
    if name != "medianomaly_braintumor":  # it has labels of images alone
        assert read_mask(sick[0].lesion_mask).sum() == LESION.sum()
