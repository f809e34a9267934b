"""Tiny cohorts with known answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan, write_cohort
from brainuad.records.scan import ScanRecord
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

ROOT = Path(__file__).parents[1]
SHAPE = (24, 28, 20)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def brain(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with a smooth pattern: image in [0, 1] and brain mask."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = sum(axis**2 for axis in axes) < 0.8
    pattern = 0.5 + 0.2 * np.cos(4 * axes[0] + 0.2 * rng.standard_normal()) * np.cos(4 * axes[1])
    noise = 0.02 * rng.standard_normal(shape)
    return np.where(mask, np.clip(pattern + noise, 0, 1), 0).astype(np.float32), mask


def a_record(subject: str = "s", sequence: str = "T2w", **changes: Any) -> ScanRecord:
    """The record of a scan of 2 mm, with changes."""
    name = f"{subject}_{sequence}"
    values: dict[str, Any] = {
        "image": f"work/{name}.nii.gz",
        "brain_mask": f"masks/{name}_brain.nii.gz",
        "lesion_mask": None,
        "transform": f"transforms/{name}.json",
        "warp": None,
        "native_image": f"/raw/{name}.nii.gz",
        "native_spacing_mm": (1.0, 1.0, 1.0),
    }
    return ScanRecord(subject, sequence, **(values | changes))


def lesion(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A box of 4x4x4 voxels right of the centre."""
    mask = np.zeros(shape, bool)
    x, y, z = (n // 2 for n in shape)
    mask[x + 2 : x + 6, y - 2 : y + 2, z - 2 : z + 2] = True
    return mask


def write_tiny_cohort(
    root: Path, train: int = 3, val: int = 2, test: int = 1, sick: int = 2
) -> Cohort:
    """Writes ellipsoid brains; the sick ones have the box lesion, 0.4 brighter."""
    scans = []
    plan = [("train", False)] * train + [("val", False)] * val
    plan += [("test", False)] * test + [("test", True)] * sick
    for index, (split, is_sick) in enumerate(plan):
        name = f"sub{index:02d}"
        image, mask = brain(index)
        paths = {"image": root / f"{name}.nii.gz", "brain_mask": root / f"{name}_brain.nii.gz"}
        if is_sick:
            paths |= {
                "twin": root / f"{name}_twin.nii.gz",
                "lesion_mask": root / f"{name}_lesion.nii.gz",
            }
            write_volume(paths["twin"], image, AFFINE)
            write_volume(paths["lesion_mask"], lesion(), AFFINE, np.uint8)
            image = np.clip(image + 0.4 * lesion(), 0, 1)
        write_volume(paths["image"], image, AFFINE)
        write_volume(paths["brain_mask"], mask, AFFINE, np.uint8)
        scans.append(
            Scan(
                subject=name,
                sequence="T2w",
                healthy=not is_sick,
                split=split,
                pathology="box" if is_sick else "",
                contrast=2.0 if is_sick else None,
                **paths,
            )
        )
    return write_cohort(root, scans, {"name": "tiny"})


METHODS = {
    "intensity": {"_target_": "brainuad.methods.intensity.IntensityDetector", "equalise": False},
    "strega": {
        "_target_": "brainuad.methods.strega.StRegA",
        "network": {
            "_target_": "brainuad.networks.context_vae.ContextVAE",
            "image_size": [24, 32],
            "features": [4, 8],
            "latent_dim": 3,
        },
        "residual": {"_target_": "brainuad.methods.parts.residuals.signed", "_partial_": True},
    },
}


NARROW = {
    "anoddpm": ("model.network.network.channels=[16,16,32]",),
    "autopaint": ("model.network.features=[16,32,32,64,64,64]",),
    "autopaint_prototypes": ("model.network.features=[16,32,32,64,64,64]",),
    "dae": ("model.network.features=[8,16,32,64]",),
    "disyre": (
        *("model.window=32", "model.stride=16"),
        "model.network.network.channels=[16,32,32]",
    ),
    "fpi": ("model.network.network.features=[16,16,32,64,64,16]",),
    "madad": ("first_stage.model.autoencoder.network.channels=[32]", "model.network.width=16"),
    "madad_prototypes": (
        *("first_stage.model.autoencoder.network.channels=[32]", "model.network.width=16"),
    ),
    "pddpm": ("model.network.network.channels=[16,16,32]",),
}
"""Words for experiments: windows and networks for small slices, with every configured layer."""


def write_tiny_model(path: Path, method: str = "intensity", seed: int = 0, **card: Any) -> Path:
    """An untrained model of brain-extracted T2w scans at 3 mm that were registered to nothing."""
    import torch

    from brainuad.model.card_schema import FORMAT
    from brainuad.settings.compose import compose_preparation
    from brainuad.settings.instantiate import instantiate, resolve

    words = ["preparation=extracted", "preparation.steps.spacing_mm=3"]
    # These brains are as large as a cat's.
    words += ["+preparation.limits.brain_ml=[10,2100]", "+preparation.limits.noise=1"]
    torch.manual_seed(seed)
    card = {
        "name": method,
        "model": METHODS[method],
        "input": {"tissue": None},
        "tiling": {"_target_": "brainuad.volumes.tiling.SliceTiling", "size": [24, 32]},
        "postprocess": {
            "_target_": "brainuad.postprocess.pipeline.Postprocess",
            "map_steps": [],
            "threshold": {"_target_": "brainuad.postprocess.threshold.HealthyThreshold"},
            "mask_steps": [
                {
                    "_target_": "brainuad.postprocess.components.RemoveSmall",
                    "min_volume_mm3": 200.0,
                }
            ],
        },
        "sequence": "T2w",
        "subjects": {"train": ["sub00"], "val": ["sub01"]},
        "cohort": "tiny",
        "preparation": resolve(compose_preparation(words).preparation),
        "statistics": None,
        "threshold": 0.75,
        **card,
    }
    # Whatever the card says: some tests write what nobody may.
    content = {
        "state_dict": instantiate(METHODS[method]).state_dict(),
        "brainuad": {"format": FORMAT, "version": "0.1.0", **card},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        torch.save(content, file)
    return path


def write_tiny_channels(root: Path, lacking: str = "", moved: str = "") -> Cohort:
    """The tiny cohort with a second sequence, T1w, whose intensities are the other way round.

    Args:
        root: cohort folder to make.
        lacking: subject without the second sequence.
        moved: subject whose second sequence lies on another grid.
    """
    cohort = write_tiny_cohort(root)
    rows = list(cohort.scans)
    for scan in cohort.scans:
        if scan.subject == lacking:
            continue
        paths = {"image": scan.image, "twin": scan.twin}
        for name, source in paths.items():
            if source is not None:
                volume, mask = read_volume(source), read_mask(scan.brain_mask)
                paths[name] = root / f"{source.name.removesuffix('.nii.gz')}_T1w.nii.gz"
                affine = volume.affine.copy()
                affine[0, 3] += 5 * (scan.subject == moved)
                write_volume(paths[name], np.where(mask, 1 - volume.array, 0), affine)
        rows.append(replace(scan, sequence="T1w", **paths))
    return write_cohort(root, rows, cohort.info)
