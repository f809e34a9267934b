"""`anoddpm_paper` beside Julian-Wyatt/AnoDDPM, 3052f044."""

import math

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import MONAI_TRANSFORMS, RUN_PACKAGES, instantiate

_ARGS = "test_args/args28.json:6-27"
_TURN, _ZOOM = "dataset.py:587", "dataset.py:588-589"
_NOISE = "GaussianDiffusion.py, generate_simplex_noise"
_UNET = "diffusion_training.py:40-44"

VALUES = [
    Value("size", "data.slice_size", [256, 256], "test_args/args28.json:2-5"),
    Value("spacing", "data.spacing_mm", 1.0, "the scans' own, NFBS"),
    Value("plane", "tiling.plane", "axial", "dataset.py:633"),
    Value("batch", "datamodule.batch_size", 1, "test_args/args28.json"),
    Value("steps an epoch", "trainer.limit_train_batches", 100, "diffusion_training.py:83"),
    Value("clipping", "trainer.gradient_clip_val", 1.0, "diffusion_training.py:104"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.AdamW", _ARGS),
    Value("rate", "model.optimizer.lr", 1e-4, _ARGS),
    Value("decay of weights", "model.optimizer.weight_decay", 0.0, _ARGS),
    Value("schedule of the rate", "model.scheduler", None, _ARGS),
    Value("decay of the average", "callbacks.ema.decay", 0.9999, "UNet.py:423-427"),
    Value("average fixed", "callbacks.ema.warm_up", False, "UNet.py:423-427"),
    Value("timesteps", "model.num_timesteps", 1000, _ARGS),
    Value("timesteps in training", "model.max_timestep", 800, _ARGS),
    Value("start", "model.start", 250, "detection.py:503"),
    Value(
        "every step back", "model.sampling_steps", None, "GaussianDiffusion.py, forward_backward"
    ),
    Value("noise on the way back", "model.eta", 1.0, "GaussianDiffusion.py, forward_backward"),
    Value("variance", "model.variance", "beta", "GaussianDiffusion.py:282"),
    Value("stretched at test", "model.test_crop", [175, 240], "dataset.py:665-667"),
    Value(
        *("noise", "model.noise._target_"),
        *("brainuad.synthetic.noise.diffusion.SimplexNoise", _NOISE),
    ),
    Value("period", "model.noise.period", 64, _NOISE),
    Value("octaves", "model.noise.octaves", 6, _NOISE),
    Value("decay", "model.noise.decay", 0.8, _NOISE),
    Value("pixels", "model.network.patch", 1, _UNET),
    Value("channels", "model.network.network.channels", [128, 128, 256, 256, 512, 512], _UNET),
    Value("blocks", "model.network.network.num_res_blocks", 2, _UNET),
    Value("attention", "model.network.network.attention_levels", [False] * 3 + [True] * 3, _UNET),
    Value("resampling", "model.network.network.resblock_updown", True, _UNET),
    Value("no chain on maps", "postprocess.map_steps", [], "detection.py:226-232"),
    Value("no chain on masks", "postprocess.mask_steps", [], "detection.py:226-232"),
]

AFFINE = "datamodule.augment.transforms.affine"


@pytest.fixture(scope="module")
def paper():
    return preset("anoddpm_paper")


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_it_has_the_released_value(paper, value):
    assert own(paper, value) == value.released, value.source


def test_its_network_is_as_large_as_the_released_one(paper):
    with torch.device("meta"):
        network = instantiate(paper.model.network)
    assert sum(parameter.numel() for parameter in network.parameters()) == 131_649_793


def test_its_map_is_the_squared_difference(paper):
    residual = instantiate(paper.model.residual)
    image, mask = torch.tensor([[[[0.2, 0.9]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    found = residual(image, torch.full_like(image, 0.5), mask)
    torch.testing.assert_close(found, torch.tensor([[[[0.09, 0.16]]]]))


def test_it_turns_and_shifts_as_released_in_every_step(paper):
    # 3 degrees; 2 % of 192 pixels left to right, 9 % of 256 front to back; 256 / 235.
    assert own(paper, Value("always", f"{AFFINE}.prob", 1.0, _TURN)) == 1.0
    turn = own(paper, Value("turn", f"{AFFINE}.rotate_range", 3, _TURN))
    assert math.degrees(turn) == pytest.approx(3, abs=1e-3)
    shift = own(paper, Value("shift", f"{AFFINE}.translate_range", None, _TURN))
    assert shift == pytest.approx([0.02 * 192, 0.09 * 256])
    zoom = own(paper, Value("zoom", f"{AFFINE}.scale_range", None, _ZOOM))
    assert [1 + end for axis in zoom for end in axis] == pytest.approx([235 / 256] * 4, abs=1e-4)


def test_its_zoom_is_the_centre_enlarged(paper):
    words = [f"{AFFINE}.rotate_range=0", f"{AFFINE}.translate_range=[0,0]"]
    cfg = preset("anoddpm_paper", *words).datamodule.augment
    augment = instantiate(cfg, packages=(*RUN_PACKAGES, *MONAI_TRANSFORMS))
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    inside = torch.ones(1, 256, 256, dtype=torch.bool)
    image = torch.stack([rows, columns]) / 256
    found, mask = augment(image, inside, torch.Generator().manual_seed(0))
    # The first of 235 pixels is the 10.5th of 256, the last the 244.5th.
    expected = (10.5 + (torch.arange(256.0) + 0.5) * 235 / 256 - 0.5) / 256
    torch.testing.assert_close(found[0, :, 7], expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(found[1, 7], expected, atol=2e-4, rtol=0)
    assert mask.all()
