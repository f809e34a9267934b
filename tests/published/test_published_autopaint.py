"""What the presets after AutoPaint take from Liu et al. 2018 and from PriorNet.

Liu et al.: arXiv 1804.07723. PriorNet: github.com/SimoneBendazzoli93/PriorNet at 9d251b28, folder
Autoinpainting/src/Autoinpainting. AutoPaint's own code is not public.
"""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate

TAKEN = [
    Value("size", "data.slice_size", [256, 256], "libs/unet_model.py:204"),
    Value(
        "halvings",
        "model.network.features",
        [64, 128, 256, 512, 512, 512, 512, 512],
        "Liu, appendix; libs/unet_model.py:269-276",
    ),
    Value("windows", "model.network.kernels", [7, 5, 5, 3, 3, 3, 3, 3], "Liu, appendix"),
    Value("sees the slice alone", "model.network.hints", 0, "Liu, appendix"),
    Value("no mirror image", "model.network.mirror", False, "Liu, appendix"),
    Value(
        "weights",
        "model.weights",
        {"hole": 6, "valid": 1, "perceptual": 0.05, "style": 120, "tv": 0.1},
        "Liu, equation 7",
    ),
    Value("Gram matrix", "model.gram_by_channels", True, "libs/losses.py:32-33"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.Adam", "Liu, section 4.2"),
    Value("learning rate", "model.optimizer.lr", 2e-4, "Liu, section 4.2"),
    Value("augmentation", "datamodule.augment", None, "Liu, section 4"),
    Value("clipping", "trainer.gradient_clip_val", None, "Liu, section 4"),
    Value("sign", "model.residual.sign", "positive", "libs/anomaly_tools.py:137-139"),
    Value("steps on the map", "postprocess.map_steps", [], "libs/anomaly_tools.py:137-139"),
    Value("steps on the mask", "postprocess.mask_steps", [], "libs/anomaly_tools.py:137-139"),
]
# libs/unet_model.py:21-22.
PRIORNET = {"hole": 240, "valid": 30, "perceptual": 0.2, "style": 0.05, "tv": 250, "pyramid": 20}


@pytest.mark.slow
@pytest.mark.parametrize("value", TAKEN, ids=str)
@pytest.mark.parametrize("name", ["autopaint_paper", "autopaint_adversarial_paper"])
def test_what_is_taken(name, value):
    assert own(preset(name), value) == value.released, value.source


def test_the_second_phase_has_a_quarter_of_the_rate_and_a_frozen_normalisation():
    """5e-5 (Liu, section 4.2)."""
    cfg = preset("autopaint_paper")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], cfg.model.optimizer.lr)
    schedule = instantiate(cfg.model.scheduler)(optimizer)
    rates = []
    for _ in range(cfg.max_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    second = cfg.model.freeze_norm_epoch
    assert rates == pytest.approx([2e-4] * second + [5e-5] * (cfg.max_epochs - second))


def test_priornets_weights_are_a_word_away():
    assert dict(preset("autopaint_paper", "model/weights=priornet").model.weights) == PRIORNET


@pytest.mark.parametrize("name", ["autopaint", "autopaint_paper"])
def test_the_network_sees_the_slice_and_its_hole_alone(name):
    """The mirror image and a healthy prototype are of a preset of their own, and so is the peak."""
    model = preset(name).model
    assert model._target_ == "brainuad.methods.autopaint.AutoPaint"
    assert model.regions.left_alpha is None
    assert not model.network.hints
    assert not model.network.mirror
    assert not model.network.full_resolution
