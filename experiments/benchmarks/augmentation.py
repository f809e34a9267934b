"""Measure our augmentations of a tile beside MONAI's of the same effect, and MONAI's list.

    python experiments/benchmarks/augmentation.py

`ours` and `monai` change every tile by amounts of the same ranges. Slices are turned and shifted,
volumes are warped; contrast and brightness of both are scaled. `list` is `datamodule/augment=monai`
or `monai_3d` with its own probabilities. The three take turns on one tile of the average brain in
one process of one thread. Medians over the turns of milliseconds per tile are written to
`augmentation.json` beside this file.
"""

import argparse
import json
import math
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from torch import Tensor

from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.tiles.augment import Augment, MonaiAugment
from brainuad.volumes.template import load_template
from brainuad.volumes.tiling import SliceTiling, Tiling, VolumeTiling

HERE = Path(__file__).parent
SLICES = {1.0: (192, 224), 2.0: (96, 112)}
VOLUME = (96, 112, 96)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each kind")
    parser.add_argument("--slices", type=int, default=40, help="slices per turn; of volumes, one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for spacing_mm, size in SLICES.items():
        kinds = {"ours": Augment(probability=1.0), "monai": monai(turn(size))}
        kinds["list"] = configured("monai")
        tile = largest_tile(spacing_mm, SliceTiling("axial", size))
        found[f"{size[0]} x {size[1]}"] = compare(tile, kinds, arguments.rounds, arguments.slices)
    warp = Augment(rotation_deg=0, translation=0, warp=1.0, probability=1.0)
    kinds = {"ours": warp, "monai": monai(WARP), "list": configured("monai_3d")}
    tile = largest_tile(2.0, VolumeTiling(VOLUME))
    found["96 x 112 x 96"] = compare(tile, kinds, arguments.rounds, 1)
    setting = {"threads": 1, "torch": torch.__version__, "monai": version("monai")}
    setting["load_average"] = os.getloadavg()[0]
    text = json.dumps({"setting": setting, "ms_per_tile": found}, indent=2)
    (HERE / "augmentation.json").write_text(text + "\n")
    print(text)


def compare(
    tile: tuple[Tensor, Tensor], kinds: dict[str, Any], rounds: int, tiles: int
) -> dict[str, float]:
    """Return the median milliseconds per tile of each kind, and ratios to ours."""
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, augment in kinds.items():
            generator = torch.Generator().manual_seed(number)
            begun = time.perf_counter()
            for _ in range(tiles):
                augment(*tile, generator)
            if number:  # the first warms up
                taken[kind].append(1000 * (time.perf_counter() - begun) / tiles)
    row = {kind: round(statistics.median(times), 3) for kind, times in taken.items()}
    for kind in ("monai", "list"):
        pairs = zip(taken[kind], taken["ours"], strict=True)
        row[f"{kind}_over_ours"] = round(statistics.median(a / b for a, b in pairs), 2)
    return row


BOTH = {
    "keys": ["image", "brain_mask"],
    "mode": ["bilinear", "nearest"],
    "padding_mode": "zeros",
    "prob": 1.0,
}
WARP = {
    "_target_": "monai.transforms.Rand3DElasticd",
    "sigma_range": [6, 6],
    "magnitude_range": [100, 100],
    **BOTH,
}


def turn(size: tuple[int, int]) -> dict[str, Any]:
    """Return the configuration of MONAI's rigid motion with the ranges of `Augment`."""
    shift = [length / 32 for length in size]
    ranges = {"rotate_range": math.radians(5), "translate_range": shift}
    return {"_target_": "monai.transforms.RandAffined", **ranges, **BOTH}


def monai(motion: dict[str, Any]) -> MonaiAugment:
    """Return the motion, then contrast and brightness with the ranges of `Augment`."""
    scale = {"keys": "image", "factors": 0.1, "prob": 1.0}
    contrast = {"_target_": "monai.transforms.RandScaleIntensityFixedMeand", **scale}
    brightness = {"_target_": "monai.transforms.RandScaleIntensityd", **scale}
    return MonaiAugment({"motion": motion, "contrast": contrast, "brightness": brightness})


def configured(option: str) -> MonaiAugment:
    """Return the augmentation of `datamodule/augment=OPTION`."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", [f"datamodule/augment={option}"])
    return instantiate(cfg.datamodule.augment, packages=RUN_PACKAGES)


def largest_tile(spacing_mm: float, tiling: Tiling) -> tuple[Tensor, Tensor]:
    """Return the tile of the average brain with the most brain, and its mask."""
    template = load_template(spacing_mm)
    inside = template.brain > 0.5
    volume = (0.9 * template.csf + 0.6 * template.grey + 0.4 * template.white) * inside
    image, mask = (
        tiling.split(torch.as_tensor(each, dtype=torch.float32)[None])[0]
        for each in (volume, inside)
    )
    largest = int(mask.flatten(1).sum(1).argmax())
    return image[largest].clamp(0, 1), mask[largest] > 0.5


if __name__ == "__main__":
    main()
