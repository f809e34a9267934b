"""The denoising autoencoder's preset against its released code (AntanasKascenas/DenoisingAE)."""

import numpy as np
import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate

SEQUENCES = ("FLAIR", "T1w", "T1c", "T2w")

RELEASED = [
    Value("pixels", "data.slice_size", [128, 128], "src/data_preprocessing.py:45"),
    Value("pixel's size in mm", "data.spacing_mm", 240 / 128, "src/data_preprocessing.py:45"),
    Value("no augmentation", "datamodule.augment", None, "src/data.py:59-75"),
    Value("batch", "datamodule.batch_size", 16, "src/denoising.py:109"),
    Value("widths", "model.network.features", [64, 128, 256, 512], "src/denoising.py:72, :113"),
    Value("cells of the noise", "model.cells", 16, "src/denoising.py:21"),
    Value("size of the noise", "model.sigma", 0.2, "src/denoising.py:21"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.Adam", "src/denoising.py:76"),
    Value("AMSGrad", "model.optimizer.amsgrad", True, "src/denoising.py:76"),
    Value("decay", "model.optimizer.weight_decay", 1e-5, "src/denoising.py:76"),
    Value("rate", "model.optimizer.lr", 1e-4, "src/denoising.py:112"),
    Value(
        "schedule",
        "model.scheduler._target_",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "src/denoising.py:99",
    ),
    Value("half a period in epochs", "model.scheduler.T_max", 100, "src/denoising.py:99"),
    Value("epochs", "max_epochs", 2100, "src/denoising.py:116"),
    Value("steps an epoch", "trainer.limit_train_batches", 32, "src/denoising.py:116"),
    Value("validation steps", "trainer.limit_val_batches", 32, "src/denoising.py:116"),
    Value("gradients clipped", "trainer.gradient_clip_val", 0.5, "src/training.py:33"),
    Value(
        "residual",
        "model.residual._target_",
        "brainuad.methods.parts.residuals.signed",
        "src/denoising.py:53",
    ),
    Value("both signs", "model.residual.sign", "abs", "src/denoising.py:53"),
]


@pytest.fixture(scope="module")
def dae_paper():
    return preset("dae_paper")


@pytest.mark.parametrize("value", RELEASED, ids=str)
def test_a_value_is_the_released_one(dae_paper, value):
    assert own(dae_paper, value) == value.released


@pytest.mark.parametrize(("words", "count"), [((), 7_701_825), (SEQUENCES, 7_703_748)])
def test_the_network_has_the_released_number_of_parameters(words, count):
    overrides = [f"data.sequence=[{','.join(words)}]"] if words else []
    with torch.device("meta"):
        detector = instantiate(preset("dae_paper", *overrides).model)
    assert sum(parameter.numel() for parameter in detector.parameters()) == count


def test_the_score_is_the_mean_over_four_channels(dae_paper):
    """`src/denoising.py:53`, of differences 0.1, 0.2, -0.3 and 0.4."""
    residual = instantiate(dae_paper.model.residual)
    image = torch.full((1, 4, 2, 2), 0.5)
    change = torch.tensor([0.1, 0.2, -0.3, 0.4]).reshape(1, 4, 1, 1)
    found = residual(image, image - change, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert found.shape == (1, 1, 2, 2)
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 0.25))


@pytest.mark.parametrize("name", ["dae", "dae_paper"])
def test_the_chain_is_the_released_one(name):
    """`src/denoising.py:49`, `:55` and `src/cc_filter.py:48`, on the code's grid.

    `tests/unit/postprocess/test_presets.py` holds it against a slow reference.
    """
    chain = instantiate(preset(name).postprocess)
    spacing = (1.875, 1.875, 1.0)
    brain = np.zeros((24, 24, 8), bool)
    brain[2:22, 2:22] = True
    score = chain.score(brain.astype(np.float32), brain, spacing)
    # Two pixels on each side; the median leaves a straight rim where it is.
    assert score[:, 12, 4].tolist() == [0] * 4 + [1] * 16 + [0] * 4
    blob = np.zeros_like(score)
    blob[8:13, 8:12, 3] = 1  # 20 voxels
    assert not chain.segment(blob, brain, spacing, 0.5).any()
    blob[8, 8, 4] = 1
    assert chain.segment(blob, brain, spacing, 0.5).sum() == 21


def test_the_small_preset_is_the_same_method_and_detection(dae_paper):
    small, large = preset("dae"), dae_paper
    assert small.postprocess == large.postprocess
    assert small.input == large.input
    assert small.model.residual == large.model.residual
    for key in ("sigma", "optimizer._target_", "optimizer.amsgrad", "optimizer.weight_decay"):
        value = Value(key, f"model.{key}", None, "")
        assert own(small, value) == own(large, value)
    assert small.datamodule.augment is None
    assert small.trainer.gradient_clip_val == large.trainer.gradient_clip_val
