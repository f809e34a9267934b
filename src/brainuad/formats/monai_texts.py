"""Configurations and texts of a MONAI bundle.

MONAI executes a string that begins with `$`, and looks up one that begins with `@` or `%`. Strings
of a model therefore stand in texts of ours alone, behind our own words, and in no expression.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from brainuad import __version__
from brainuad.formats import facts
from brainuad.machine.text import one_line
from brainuad.model.card import Card
from brainuad.model.export import model_card
from brainuad.model.model import Model

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
"""MONAI's schema of `metadata.json`, as the bundles of its model zoo name it."""

SAVED = {"output_dir": "@output_dir", "separate_folder": False, "resample": False}


def metadata(model: Model) -> dict[str, Any]:
    """Return the content of `configs/metadata.json`."""
    card = model.card
    shape = ["*", "*", "*"]
    channels = {str(n): f"sequence {one_line(name)}" for n, name in enumerate(card.channels)}
    image = {"type": "image", "spatial_shape": shape, "dtype": "float32", "is_patch_data": False}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by brainuad {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": "5.2.0", "scikit-image": version("scikit-image")},
        "optional_packages_version": {},
        "name": f"brainuad: {one_line(card.name or 'model')}",
        "task": "unsupervised anomaly detection in brain MRI",
        "description": "Anomaly map and mask of a prepared scan. Method "
        f"{type(model.method).__name__} of brainuad, trained on: "
        f"{one_line(card.about or card.cohort or 'not stated')}",
        "authors": "see docs/README.md",
        "copyright": f"Licence of the weights: {one_line(card.licence)}",
        "intended_use": "research; not a medical device",
        "data_type": "nibabel",
        "image_classes": "a brain-extracted, bias-corrected scan, see docs/README.md",
        "pred_classes": "anomaly map, larger is more abnormal",
        "network_data_format": {
            "inputs": {
                "image": {
                    **image,
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": len(card.channels),
                    "value_range": [],
                    "channel_def": channels,
                },
                "brain_mask": {
                    **image,
                    "format": "segmentation",
                    "num_channels": 1,
                    "value_range": [0, 1],
                    "channel_def": {"0": "brain"},
                },
            },
            "outputs": {
                "pred": {
                    **image,
                    "format": "magnitude",
                    "num_channels": 1,
                    "value_range": [],
                    "channel_def": {"0": "anomaly"},
                }
            },
        },
    }


def inference(threshold: float, mask_steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of `configs/inference.json`: our own words and numbers alone.

    Args:
        threshold: smallest score that is not marked.
        mask_steps: arguments of MONAI's removal of small objects, one for each step.
    """
    both = ["image", "brain_mask"]
    network = "@network_def(case['image'][None].to(@device), case['brain_mask'][None].to(@device), "
    network += "case['image'].affine)[0].cpu()"
    small = [{"_target_": "RemoveSmallObjectsd", "keys": "mask", **step} for step in mask_steps]
    back = {
        "_target_": "Invertd",
        "keys": ["pred", "mask"],
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": False,
    }
    save_map = {**SAVED, "output_postfix": "anomaly", "output_dtype": "$np.float32"}
    save_mask = {**SAVED, "output_postfix": "mask", "output_dtype": "$np.uint8"}
    return {
        "bundle_root": ".",
        "image": "image.nii.gz",
        "brain_mask": "brain_mask.nii.gz",
        "output_dir": "$@bundle_root + '/eval'",
        "threshold": float(threshold),
        "device": "$torch.device('cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "cases": [{name: f"@{name}" for name in both}],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": both, "ensure_channel_first": True},
                {"_target_": "Orientationd", "keys": both, "axcodes": "RAS", "labels": None},
            ],
        },
        "detected": f"$lambda case: {{**case, 'pred': monai.data.MetaTensor({network}, "
        "meta=case['image'].meta)}",
        "marked": "$lambda case: {**case, 'mask': (case['pred'] > @threshold).to(torch.uint8)}",
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                *small,
                back,
                {"_target_": "SaveImaged", "keys": "pred", **save_map},
                {"_target_": "SaveImaged", "keys": "mask", **save_mask},
            ],
        },
        "run": ["$[@postprocessing(@marked(@detected(@preprocessing(case)))) for case in @cases]"],
    }


def licence(card: Card) -> str:
    """Return the content of `LICENSE`."""
    return f"The weights in this bundle: {one_line(card.licence)}\n"


def readme(model: Model, measured: dict[str, Any], normalises: bool) -> str:
    """Return the content of `docs/README.md`.

    Args:
        model: the model, with the card that others see.
        measured: the measured agreement.
        normalises: whether the bundle normalises the image itself.
    """
    card = model.card
    prepared = facts.preparation(card)["in_words"]
    own = facts.normalisation(model)
    intensity = "any scale; the bundle normalises them"
    if not normalises:
        intensity = f"as brainuad makes them ({own['kind']}: {own['rule']})"
    dice = measured["smallest_dice"]
    masks = "no voxel was marked" if dice is None else f"the smallest Dice of the masks {dice:.5f}"
    place = ""
    if model.method.grid is not None:
        world = "MNI152" if card.recipe.in_mni else "of the training scans"
        place = f" It must lie in the space {world}; the bundle resamples it."
    return f"""# A MONAI bundle of brainuad

Research software, **not a medical device**.

```
python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
    --image scan.nii.gz --brain_mask brain.nii.gz --output_dir results
```

writes `results/scan_anomaly.nii.gz` and `results/scan_mask.nii.gz`. `--threshold NUMBER` marks more
or less. A scan of several sequences is a list: `--image "['a.nii.gz','b.nii.gz']"`.

It needs MONAI, torch, nibabel and scikit-image, and not brainuad.

- **Image**: a prepared scan ({prepared}), 0 outside the brain.{place} Intensities: {intensity}.
- **Brain mask**: on the same grid, 1 in the brain. `brainuad-prepare` makes both.
- `models/model.ts` is TorchScript. It takes image `(1, C, D, H, W)`, brain mask `(1, 1, D, H, W)`
  and affine `(4, 4)`, axes RAS, and returns the post-processed map `(1, 1, D, H, W)`.
- It computes on the CPU, where the constants of the traced network lie.
- MONAI executes `configs/inference.json`, as in every bundle: run bundles of people you trust.
- `docs/model.json` describes preparation, tiling and post-processing.

Agreement with brainuad, measured on {len(measured["scans"])} painted brains: largest difference of
the maps {measured["largest_difference"]:.2g}, {masks}.

{model_card(card).replace("# ", "## ", 1)}"""
