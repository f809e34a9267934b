"""`pddpm_paper` beside FinnBehrendt/patched-Diffusion-Models-UAD, da14cd0b."""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate

_NOISE = "src/utils/generate_noise.py:8-15"
_UNET = "src/models/DDPM_2D_patched.py:23-44"
_FLOW = "configs/experiment/MIDL23_DDPM/DDPM_patched.yaml:17-29"

VALUES = [
    Value("size", "data.slice_size", [96, 96], "DDPM_patched.yaml:12-13"),
    Value("spacing", "data.spacing_mm", 2.0, "src/datamodules/create_dataset.py:184-186"),
    Value("crop", "tiling.crop", True, "src/datamodules/create_dataset.py:184"),
    Value("plane", "tiling.plane", "axial", "src/datamodules/create_dataset.py:135-171"),
    Value("augmentation", "datamodule.augment", None, "configs/datamodule/IXI.yaml:51-57"),
    Value("batch", "datamodule.batch_size", 32, "configs/datamodule/IXI.yaml:61"),
    Value("epochs", "max_epochs", 1600, "DDPM_patched.yaml:38"),
    Value("clipping", "trainer.gradient_clip_val", None, "configs/datamodule/IXI.yaml:62"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.Adam", "DDPM_2D_patched.py:257"),
    Value("rate", "model.optimizer.lr", 1e-4, "DDPM_2D_patched.py:257"),
    Value("schedule of the rate", "model.scheduler", None, "DDPM_2D_patched.py:257"),
    Value("timesteps", "model.num_timesteps", 1000, _FLOW),
    Value("timestep at test", "model.test_timestep", 500, "DDPM_2D_patched.py:188"),
    Value("patches", "model.patches", [2, 2], _FLOW),
    Value("patches of the grid", "model.on_grid", True, _FLOW),
    Value("draws", "model.n_samples", 1, "DDPM_2D_patched.py:179-190"),
    Value(
        *("noise", "model.noise._target_"),
        *("brainuad.synthetic.noise.diffusion.SimplexNoise2D", _NOISE),
    ),
    Value("period", "model.noise.period", 64, _NOISE),
    Value("octaves", "model.noise.octaves", 6, _NOISE),
    Value("decay", "model.noise.decay", 0.8, _NOISE),
    Value("one pattern", "model.noise.shared", True, "src/utils/generate_noise.py:44-52"),
    Value("pixels", "model.network.patch", 1, _UNET),
    Value("scale and shift", "model.network.scale_shift", True, "DDPM_2D_patched.py:39"),
    Value("channels", "model.network.network.channels", [128, 256, 256], _UNET),
    Value("blocks", "model.network.network.num_res_blocks", 3, _UNET),
    Value("attention", "model.network.network.attention_levels", [False] * 3, _UNET),
    Value("heads", "model.network.network.num_head_channels", 64, _UNET),
    Value("resampling", "model.network.network.resblock_updown", True, _UNET),
    Value("erosion in mm", "postprocess.map_steps.0.radius_mm", 6, "src/utils/utils_eval.py:449"),
    Value("median in mm", "postprocess.map_steps.1.size_mm", 10, "src/utils/utils_eval.py:453"),
    Value("8 voxels stay", "postprocess.mask_steps.0.min_volume_mm3", 64, "utils_eval.py:489"),
    Value("filled", "postprocess.mask_steps.0.filled", True, "src/utils/utils_eval.py:480-496"),
]


@pytest.fixture(scope="module")
def paper():
    return preset("pddpm_paper")


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_it_has_the_released_value(paper, value):
    assert own(paper, value) == value.released, value.source


def test_its_network_is_as_large_as_the_released_one(paper):
    with torch.device("meta"):
        network = instantiate(paper.model.network)
    assert sum(parameter.numel() for parameter in network.parameters()) == 37_513_857


def test_its_map_is_the_absolute_difference(paper):
    residual = instantiate(paper.model.residual)
    image, mask = torch.tensor([[[[0.2, 0.9]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    found = residual(image, torch.full_like(image, 0.5), mask)
    torch.testing.assert_close(found, torch.tensor([[[[0.3, 0.4]]]]))


@pytest.fixture(scope="module")
def laptop():
    return preset("pddpm")


@pytest.mark.parametrize(
    "key",
    [
        *("model.noise", "model.patches", "model.test_timestep", "model.residual", "postprocess"),
        *("data.slice_size", "data.spacing_mm", "tiling", "datamodule.augment"),
        *("model.network.scale_shift", "trainer.gradient_clip_val"),
    ],
)
def test_the_laptops_is_scaled(paper, laptop, key):
    value = Value("the same in both", key, None, "")
    assert own(laptop, value) == own(paper, value)
