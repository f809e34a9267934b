"""MONAI's transforms as augmentation: the contract of a tile, seeds, and what is allowed."""

import subprocess
import sys

import pytest
import torch
from hydra import compose, initialize_config_module
from tiny import brain

from brainuad.errors import InputError
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.tiles.augment import MonaiAugment
from brainuad.training.datamodule import HealthyDataModule
from brainuad.volumes.tiling import SliceTiling

NAMES = ("affine", "bias_field", "gamma", "low_resolution", "gibbs", "rician", "dropout")
GAMMA = {"_target_": "monai.transforms.RandAdjustContrastd", "keys": "image", "prob": 1.0}
AFFINE = {
    "_target_": "monai.transforms.RandAffined",
    "keys": ["image", "brain_mask"],
    "prob": 0.5,
    "rotate_range": 0.2,
    "mode": ["bilinear", "nearest"],
    "padding_mode": "zeros",
}
NOISE = {"_target_": "monai.transforms.RandRicianNoised", "keys": "image", "prob": 0.5, "std": 0.1}


def configured(option, *words):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        # An experiment that augments nothing by itself.
        cfg = compose("train", ["experiment=fpi_paper", f"datamodule/augment={option}", *words])
    return instantiate(cfg.datamodule.augment, packages=RUN_PACKAGES)


def only(option, *names):
    """Return the option with these transforms, always applied."""
    key = "datamodule.augment.transforms"
    left_out = {*NAMES, "elastic_2d", "elastic_3d"} - set(names)
    words = [f"{key}.{name}=null" for name in left_out]
    return configured(option, *words, *(f"{key}.{name}.prob=1" for name in names))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tile(option):
    image, mask = (torch.from_numpy(part)[None] for part in brain(0))
    return (image, mask) if option == "monai_3d" else (image[..., 10], mask[..., 10])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"),
    [
        *(("monai", name) for name in (*NAMES, "elastic_2d")),
        *(("monai_3d", name) for name in (*NAMES, "elastic_3d")),
    ],
)
def test_each_transform_alone_keeps_the_contract_of_a_tile(option, name):
    image, mask = tile(option)
    augment = only(option, name)
    moves = name in ("affine", "elastic_2d", "elastic_3d")
    changed, moved_masks = 0, 0
    for seed in range(4):
        found, found_mask = augment(image.clone(), mask.clone(), seeded(seed))
        assert type(found) is type(found_mask) is torch.Tensor
        assert (found.dtype, found_mask.dtype) == (torch.float32, torch.bool)
        assert (found.shape, found_mask.shape) == (image.shape, mask.shape)
        assert 0 <= found.min() <= found.max() <= 1
        assert (found[~found_mask] == 0).all()
        assert found_mask.sum() > 0.8 * mask.sum()
        again, again_mask = augment(image.clone(), mask.clone(), seeded(seed))
        assert torch.equal(found, again)
        assert torch.equal(found_mask, again_mask)
        changed += not torch.equal(found, image)
        moved_masks += not torch.equal(found_mask, mask)
    assert changed >= 2
    assert bool(moved_masks) == moves


def test_the_list_has_every_artefact_and_holes_only_on_request():
    augment = configured("monai")
    assert set(augment.transforms) == {*NAMES, "elastic_2d"}
    assert set(configured("monai_3d").transforms) == {*NAMES, "elastic_3d"}
    assert augment.transforms["dropout"]["prob"] == 0


def test_no_transform_changes_nothing():
    image, mask = tile("monai")
    found, found_mask = MonaiAugment({"gamma": None})(image, mask, seeded(0))
    assert torch.equal(found, image)
    assert torch.equal(found_mask, mask)


def test_brightness_by_hand():
    image, mask = tile("monai")
    target = "monai.transforms.RandScaleIntensityd"
    double = {"_target_": target, "keys": "image", "prob": 1.0, "factors": [1.0, 1.0]}
    found, _ = MonaiAugment({"double": double})(image, mask, seeded(0))
    torch.testing.assert_close(found, (2 * image).clamp(0, 1))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("monai.transforms.LoadImaged", "defined elsewhere"),
        ("monai.transforms.SaveImaged", "defined elsewhere"),
        ("monai.transforms.Lambdad", "defined elsewhere"),
        ("monai.transforms.io.dictionary.LoadImaged", "defined elsewhere"),
        ("monai.transforms.intensity.array.np.load", "defined elsewhere"),
        ("monai.bundle.run", "not allowed"),
        ("torchvision.transforms.Lambda", "not allowed"),
    ],
)
def test_only_transforms_without_files_are_allowed(target, words):
    augment = {
        "_target_": "brainuad.tiles.augment.MonaiAugment",
        "_recursive_": False,
        "transforms": {"one": {"_target_": target, "keys": "image"}},
    }
    with pytest.raises(InputError, match=words):
        instantiate(augment, packages=RUN_PACKAGES)
    with pytest.raises(InputError, match=words):
        MonaiAugment(augment["transforms"])


def test_a_model_cannot_name_transforms():
    with pytest.raises(InputError, match="not allowed"):
        instantiate(GAMMA)


def test_transforms_of_arrays_and_other_sizes_are_refused():
    with pytest.raises(InputError, match=r"augment\.transforms\.turn .* RandAffined"):
        MonaiAugment({"turn": {"_target_": "monai.transforms.RandAffine", "prob": 1.0}})
    crop = {
        "_target_": "monai.transforms.RandSpatialCropd",
        "keys": ["image", "brain_mask"],
        "roi_size": [8, 8],
        "random_size": False,
    }
    with pytest.raises(InputError, match=r"from \[1, 24, 28\] to \[1, 8, 8\]"):
        MonaiAugment({"crop": crop})(*tile("monai"), seeded(0))


def test_equal_parameters_have_an_equal_text():
    assert repr(MonaiAugment({"a": GAMMA})) == repr(MonaiAugment({"a": dict(GAMMA), "b": None}))
    assert repr(MonaiAugment({"a": GAMMA})) != repr(MonaiAugment({"a": GAMMA | {"prob": 0.5}}))


@pytest.mark.slow
def test_workers_and_an_interruption_change_nothing_but_seed_and_epoch_do(tiny_cohort, tmp_path):
    def loader(epoch=3, resume=None, **options):
        augment = MonaiAugment({"affine": AFFINE, "noise": NOISE})
        tiling = SliceTiling("axial", (24, 32))
        module = HealthyDataModule(
            *(tiny_cohort, "T2w", tiling, tmp_path), batch_size=8, augment=augment, **options
        )
        module.setup()
        made = module.train_dataloader()
        if resume is not None:
            made.load_state_dict(resume)
        made.batches.set_epoch(epoch)
        return made

    def same(some, others):
        pairs = [
            pair for batch in zip(some, others, strict=True) for pair in zip(*batch, strict=True)
        ]
        return all(torch.equal(one, other) for one, other in pairs)

    whole = list(loader())
    assert same(whole, list(loader(num_workers=2)))
    interrupted = loader()
    handing_out = iter(interrupted)
    done = [next(handing_out) for _ in range(2)]
    for workers in (0, 2):
        rest = list(loader(resume=interrupted.state_dict(), num_workers=workers))
        assert same(whole, done + rest)
    assert not same(whole, list(loader(epoch=4)))
    assert not same(whole, list(loader(seed=1)))


@pytest.mark.slow
def test_monai_is_imported_late():
    words = "import sys, brainuad.tiles.augment, brainuad.preparation.cohort as _; "
    words += "assert 'monai' not in sys.modules"
    subprocess.run([sys.executable, "-c", words], check=True)
