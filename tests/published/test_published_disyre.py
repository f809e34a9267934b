"""`disyre_paper` against the released code, snavalm/disyre at e149f29f."""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import RUN_PACKAGES, instantiate

DATA = "experiments/dconf/dag2D_camcant1.json"
SETTINGS = "preprocessing/preprocessing.py, get_ag_transforms"
AUGMENT = "preprocessing/preprocessing.py:26-53"
TRAINER = "trainer_disyre.py"
TRANSFORMS = "datamodule.augment.transforms"

VALUES = [
    Value("slices a batch", "datamodule.batch_size", 8 * 12, f"{DATA}:7-9"),
    Value("crops and windows", "model.window", 128, f"{DATA}:7-9"),
    Value("step of windows", "model.stride", 32, "diffusion/sliding_window_inference.py, overlap"),
    Value("patch", "model.corruption.patch", 64, DATA),
    Value("least and largest side", "model.corruption.side", [10, 44], "mask_generation.py"),
    Value("edge", "model.corruption.blur", 5.0, "mask_generation.py, random_smooth"),
    Value("mixing factor", "model.corruption.factor", [0, 1], "preprocessing/fpi.py"),
    Value("step of intensity", "model.corruption.step", [0, 1], "preprocessing/bias.py"),
    Value("timesteps", "model.num_timesteps", 100, "experiments/002D/dag01_t1.json"),
    Value("order of severities", "model.severities", "released", "diffusion/scheduler.py:313-317"),
    Value("steps at test", "model.sampling_steps", 5, f"{TRAINER}:38-42"),
    Value("way", "model.way", "ensemble", f"{TRAINER}:38-42, mean-single-step"),
    Value("residual", "model.residual.sign", "abs", "diffusion/scheduler.py, step"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.AdamW", f"{TRAINER}:117-137"),
    Value("rate", "model.optimizer.lr", 1e-4, f"{TRAINER}:117-137"),
    Value("betas", "model.optimizer.betas", [0.95, 0.999], f"{TRAINER}:117-137"),
    Value("decay", "model.optimizer.weight_decay", 1e-6, f"{TRAINER}:117-137"),
    Value("steps", "trainer.max_steps", 100000, "experiments/002D/dag01_t1.json"),
    Value("epochs do not end it", "trainer.max_epochs", -1, f"{TRAINER}, max_train_steps"),
    Value("length of the cosine", "model.scheduler.steps", 100000, f"{TRAINER}, get_scheduler"),
    Value("warm-up", "model.scheduler.warmup_steps", 500, f"{TRAINER}:130"),
    Value("clipping", "trainer.gradient_clip_val", 1.0, f"{TRAINER}:516"),
    Value("steps on the map", "postprocess.map_steps", [], "evaluate.py"),
    Value("steps on the mask", "postprocess.mask_steps", [], "evaluate.py"),
    Value("elastic, how often", f"{TRANSFORMS}.elastic.prob", 0.1, AUGMENT),
    Value("turns, how often", f"{TRANSFORMS}.rotation.prob", 0.1, AUGMENT),
    Value("scale, how often", f"{TRANSFORMS}.scale.prob", 0.1, AUGMENT),
    Value("mirror, first axis", f"{TRANSFORMS}.flip_first.spatial_axis", 0, AUGMENT),
    Value("mirror, second axis", f"{TRANSFORMS}.flip_second.spatial_axis", 1, AUGMENT),
    Value("brightness, how often", f"{TRANSFORMS}.brightness.prob", 0.15, AUGMENT),
    Value("brightness", f"{TRANSFORMS}.brightness.factors", 0.1, AUGMENT),
    Value("gamma, darker", f"{TRANSFORMS}.gamma_above.gamma", [1.0, 2.0], AUGMENT),
    Value("gamma, brighter", f"{TRANSFORMS}.gamma_below.gamma", [0.5, 1.0], AUGMENT),
    Value("gamma inverted", f"{TRANSFORMS}.inverted_gamma_above.invert_image", True, AUGMENT),
    Value("gamma inverted", f"{TRANSFORMS}.inverted_gamma_below.invert_image", True, AUGMENT),
    Value("noise, how often", f"{TRANSFORMS}.noise.prob", 0.15, AUGMENT),
    Value("noise", f"{TRANSFORMS}.noise.std", 0.05, AUGMENT),
    Value("blur, how often", f"{TRANSFORMS}.blur.prob", 0.15 * 0.5, AUGMENT),
    Value("blur", f"{TRANSFORMS}.blur.sigma_x", [0.5, 1.5], AUGMENT),
]


@pytest.fixture(scope="module")
def paper():
    return preset("disyre_paper")


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_value_is_the_released_one(value, paper):
    assert own(paper, value) == value.released, value.source


def test_turns_and_scales_are_the_released_ones(paper):
    changes = own(paper, Value("", TRANSFORMS, None, AUGMENT))
    assert changes["rotation"]["range_x"] == pytest.approx(15 / 360 * 2 * torch.pi, abs=1e-4)
    # Distances between output pixels are multiplied there, the image is enlarged here.
    zoom = [1 / changes["scale"][end] for end in ("max_zoom", "min_zoom")]
    assert zoom == pytest.approx([0.75, 1.25], abs=1e-4)
    twice = [
        changes[f"{side}gamma_{end}"]["prob"]
        for side in ("", "inverted_")
        for end in ("below", "above")
    ]
    assert twice == [0.075] * 4


def test_the_network_has_the_released_parameters(paper):
    with torch.device("meta"):
        network = instantiate(paper.model.network, packages=RUN_PACKAGES)
    # trainer_disyre.py:330-352
    assert sum(parameter.numel() for parameter in network.parameters()) == 26_296_929


def test_the_learning_rate_is_the_released_schedule(paper):
    """`get_scheduler("cosine")` of diffusers with 500 and 100,000 steps (trainer_disyre.py:130)."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    found = instantiate(paper.model.scheduler, packages=RUN_PACKAGES)(optimizer)
    assert found["interval"] == "step"
    (factor,) = found["scheduler"].lr_lambdas
    steps = {0: 0, 250: 0.5, 500: 1, 50_250: 0.5, 75_125: 0.5 - 0.5**1.5, 100_000: 0}
    assert [factor(step) for step in steps] == pytest.approx(list(steps.values()))


@pytest.mark.parametrize("name", ["disyre", "disyre_paper"])
def test_the_augmentation_keeps_the_contract_of_a_tile(name):
    """Every transform applied at once, at the preset's size."""
    cfg = preset(name)
    for key in cfg.datamodule.augment.transforms:
        cfg.datamodule.augment.transforms[key].prob = 1.0
    augment = instantiate(cfg.datamodule.augment, packages=RUN_PACKAGES)
    height, width = cfg.data.slice_size
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    mask = (rows.square() + columns.square() < 0.6)[None]
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(0)) * mask
    found, moved = augment(image.clone(), mask.clone(), torch.Generator().manual_seed(1))
    assert (found.shape, moved.shape) == (image.shape, mask.shape)
    assert 0.4 < moved.sum() / mask.sum() < 2
    assert 0 <= found.min() < found.max() <= 1
    assert (found[~moved] == 0).all()
    assert not torch.equal(found, image)


def test_the_laptop_preset_is_the_same_method(paper):
    cfg = preset("disyre")
    scale = cfg.data.spacing_mm / paper.data.spacing_mm
    same = (
        "severities",
        "way",
        "num_timesteps",
        "sampling_steps",
        "residual",
        "corruption.factor",
        "corruption.step",
        "corruption._target_",
        "optimizer.weight_decay",
    )
    for key in same:
        value = Value(key, f"model.{key}", None, "disyre_paper")
        assert own(cfg, value) == own(paper, value), key
    assert cfg.model.window * scale == paper.model.window
    for key in ("patch", "blur"):
        assert cfg.model.corruption[key] * scale == paper.model.corruption[key]
    assert [side * scale for side in cfg.model.corruption.side] == [10, 44]
    assert own(cfg, Value("", "postprocess", None, "")) == own(
        paper, Value("", "postprocess", None, "")
    )
