"""MAD-AD's presets against its released code, farzad-bz/MAD-AD at e76f546c."""

import math

import numpy as np
import pytest
import torch
from released_values import Value, own, preset

from brainuad.diffusion.process import add_noise, restore
from brainuad.diffusion.schedule import cosine_alpha_bar
from brainuad.settings.instantiate import instantiate

PARTS = "brainuad.methods.parts"
POST = "brainuad.postprocess"

MADAD = [
    # What goes in.
    Value("slice", "data.slice_size", [256, 256], "MedicalDataLoader.py:18, :61"),
    Value("pixel in mm", "data.spacing_mm", 1.0, "README.md, MNI_152_1mm"),
    Value(
        "one angle, one shift",
        "datamodule.augment",
        {
            "_target_": "brainuad.tiles.augment.FixedAugment",
            "rotation_deg": 5.0,
            "translation": 8 / 256,
            "brightness": 0.1,
            "contrast": 0.1,
            "probability": 0.5,
        },
        "MedicalDataLoader.py:44-50",
    ),
    # The network.
    Value("channels of a latent", "model.network.channels", 4, "models.py:6"),
    Value("width", "model.network.width", 256, "models.py:34"),
    Value("heads", "model.network.heads", 8, "models.py:34"),
    Value("widths by level", "model.network.multipliers", [1, 2, 4], "models.py:34"),
    Value("blocks a level", "model.network.blocks", 2, "models.py:4"),
    Value("attention at 1, 2, 4", "model.network.attention", [True] * 3, "models.py:12"),
    Value("dropout", "model.network.dropout", 0.4, "models.py:11"),
    Value("groups", "model.network.norm_groups", 32, "diffusionmodules/util.py, normalization"),
    Value("no prototype", "model.network.hints", 0, "models.py:6"),
    # Noise, masks, loss.
    Value(
        "nothing of ours", "model._target_", "brainuad.methods.madad.MADAD", "evaluate-MAD-AD.py"
    ),
    Value("timesteps", "model.num_timesteps", 10, "train-MAD-AD.py, create_diffusion"),
    Value("sides", "model.patches.sizes", [1, 2, 4, 8], "train-MAD-AD.py:252-253"),
    Value(
        "their probabilities",
        "model.patches.probabilities",
        [0.2, 0.3, 0.3, 0.2],
        "train-MAD-AD.py:252-253",
    ),
    Value("noised share", "model.patches.max_fraction", 0.4, "train-MAD-AD.py:254"),
    Value("brain in a block", "model.patches.min_brain", 0.9, "train-MAD-AD.py:257"),
    Value("mask's weight", "model.mask_weight", 0.001, "gaussian_diffusion.py:954-960"),
    Value("slices are encoded in every step", "model.latent_copies", 0, "train-MAD-AD.py:249"),
    Value("latents in float32", "model.half_encoding", False, "train-MAD-AD.py:4-5, :249"),
    # Training.
    Value("optimiser", "model.optimizer._target_", "torch.optim.AdamW", "train-MAD-AD.py:213"),
    Value("rate", "model.optimizer.lr", 4e-5, "train-MAD-AD.py:213, :427-429"),
    Value("decay", "model.optimizer.weight_decay", 1e-4, "train-MAD-AD.py:213"),
    Value("clipping", "trainer.gradient_clip_val", None, "train-MAD-AD.py:269-273"),
    Value(
        "schedule",
        "model.scheduler",
        {
            "_target_": f"{PARTS}.schedules.warmup_cosine",
            "_partial_": True,
            "epochs": 200,
            "warmup_epochs": 10,
            "stretch": 1.2,
            "from_zero": True,
        },
        "train-MAD-AD.py:214-218",
    ),
    Value("batch", "datamodule.batch_size", 96, "train-MAD-AD.py:427-429"),
    Value("epochs", "max_epochs", 200, "train-MAD-AD.py:427-429"),
    # Detection.
    Value("steps", "model.sampling.steps", None, "evaluate-MAD-AD.py, --ddim-steps 10 of 10"),
    Value("eta", "model.sampling.eta", 0.5, "evaluate-MAD-AD.py:179"),
    Value("cells that move", "model.sampling.mask_threshold", 0.5, "gaussian_diffusion.py:717"),
    Value(
        "residual",
        "model.residual",
        {"_target_": f"{PARTS}.residuals.signed", "_partial_": True, "sign": "abs"},
        "evaluate-MAD-AD.py:100",
    ),
    Value(
        "map: 0.25 of [-1, 1] becomes 1, a Gaussian of 5 pixels",
        "postprocess.map_steps",
        [
            {"_target_": f"{POST}.scale.Clip", "limit": 0.25 / 2},
            {
                "_target_": f"{POST}.smooth.Gaussian",
                "sigma_mm": 5.0,
                "normalise": False,
                "in_plane": True,
            },
        ],
        "evaluate-MAD-AD.py:101-103",
    ),
    Value("mask", "postprocess.mask_steps", [], "evaluate-MAD-AD.py:99-107"),
]

SLICES = [
    Value("image", "slices.size", [256, 256], "evaluate-MAD-AD.py, args.image_size"),
    Value("Dice", "slices.dice", "mean", "evaluate-MAD-AD.py:46-57"),
    Value("brain mask", "slices.masked", False, "evaluate-MAD-AD.py:99-107"),
    Value("healthy slices", "slices.lesions_only", False, "evaluate-MAD-AD.py:99"),
]


@pytest.fixture(scope="module")
def cfg():
    return preset("madad_paper")


@pytest.mark.parametrize("value", MADAD, ids=str)
def test_madad_paper(cfg, value):
    assert own(cfg, value) == value.released


def _count(config):
    with torch.device("meta"):
        network = instantiate(config)
    return sum(parameter.numel() for parameter in network.parameters())


def test_both_networks_have_the_released_number_of_parameters(cfg):
    """Of both released networks, by instantiating them."""
    assert _count(cfg.model.network) == 257_735_941
    assert _count(cfg.first_stage.model.autoencoder.network) == 83_649_253


def test_the_first_stage_halves_three_times_to_four_channels(cfg):
    with torch.device("meta"):
        stage = instantiate(cfg.first_stage.model.autoencoder)
        mean, std = stage.encode(torch.zeros(1, 1, 256, 256))
    assert (stage.downsampling, stage.latent_channels) == (8, 4)
    assert mean.shape == std.shape == (1, 4, 32, 32)


def released_alphas():
    """alpha_bar of gaussian_diffusion.py:103-141 and :183-184, ten steps, in double precision."""

    def alpha_bar(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((i + 1) / 10) / alpha_bar(i / 10), 0.999) for i in range(10)]
    return np.cumprod(1 - np.array(betas))


def test_the_noise_of_ten_steps():
    np.testing.assert_allclose(cosine_alpha_bar(10).double().numpy(), released_alphas(), atol=1e-7)


def test_a_masked_and_noised_latent():
    """q_sample of gaussian_diffusion.py, cell by cell in double precision."""
    generator = np.random.default_rng(0)
    x_0, eps = generator.standard_normal((2, 10, 4, 6, 6))
    mask = (generator.random((10, 1, 6, 6)) > 0.3).astype(float)
    alphas = released_alphas()
    expected = np.empty_like(x_0)
    for t in range(10):
        noised = math.sqrt(alphas[t]) * x_0[t] + math.sqrt(1 - alphas[t]) * eps[t]
        expected[t] = mask[t] * x_0[t] + (1 - mask[t]) * noised
    given = [torch.tensor(part, dtype=torch.float32) for part in (x_0, mask, eps)]
    found = add_noise(*given[:2], cosine_alpha_bar(10)[torch.arange(10)], given[2])
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_detection_in_the_latent(eta):
    """ddim_sample_loop of gaussian_diffusion.py:669-720 from t = 9 on, with the same noise."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 4, 8, 8, generator=generator)
    noise = torch.randn(10, 4, 8, 8, generator=generator)

    def network(x, t):
        clean = 0.6 * x.roll(1, 3) + 0.02 * t.view(-1, 1, 1, 1)
        return clean, torch.sigmoid(2 * x.mean(1, keepdim=True) + 0.1)

    alphas = torch.tensor([1.0, *released_alphas()], dtype=torch.float64)
    x, moved = z.double(), torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    for step, t in enumerate(reversed(range(10))):
        here, before = alphas[t + 1], alphas[t]
        start, mask = network(x, torch.full((3,), t))
        eps = (x / here.sqrt() - start) / (1 / here - 1).sqrt()
        sigma = eta * ((1 - before) / (1 - here)).sqrt() * (1 - here / before).sqrt()
        sample = start * before.sqrt() + (1 - before - sigma**2).sqrt() * eps
        sample = sample + (t != 0) * sigma * noise[step].double()
        x = torch.where(mask < 0.5, sample, x)
        moved |= mask < 0.5
    found = restore(network, z, cosine_alpha_bar(10), list(range(9, -1, -1)), noise, eta)
    torch.testing.assert_close(found.double(), x, atol=1e-4, rtol=0)
    assert torch.equal((found != z).any(1, keepdim=True), moved)
    assert 0.2 < moved.float().mean() < 0.95


@pytest.mark.parametrize("value", SLICES, ids=str)
def test_the_protocol_of_its_slices(value):
    from hydra import compose, initialize_config_module

    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("evaluate", ["protocol=slice_madad"]).protocol
    assert own(cfg, value) == value.released
