"""SQUID's preset against its released code (tiangexiang/SQUID), settings for ZhangLab."""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate

_BEST, _BASE = "configs/zhang_best.py", "configs/base.py"

RELEASED = [
    Value("pixels", "data.slice_size", [128, 128], f"{_BASE}: img_size"),
    Value("batch", "datamodule.batch_size", 16, f"{_BEST}: batch_size"),
    Value("epochs", "max_epochs", 200, f"{_BEST}: epochs"),
    Value("widths", "model.network.widths", [32, 64, 128, 256, 512], "models/squid.py, AE"),
    Value("patches", "model.network.patches", 2, f"{_BEST}: num_patch"),
    Value("whole again", "model.network.whole_from", 2, f"{_BEST}: initial_combine"),
    Value("levels with skips", "model.network.skips", 2, f"{_BEST}: ops"),
    Value("queue", "model.network.slots", 200, f"{_BEST}: num_slots"),
    Value("matrices", "model.network.matrix_slots", 200, f"{_BEST}: mem_num_slots"),
    Value("shrinkage", "model.network.k", 5, f"{_BEST}: shrink_thres"),
    Value("plain products", "model.network.sharpness", None, "models/memory.py, MemoryQueue"),
    Value("shortcut", "model.network.shortcut", 0.05, f"{_BASE}: 1 - mask_ratio"),
    Value("heads", "model.network.heads", 8, "models/inpaint.py, InpaintBlock"),
    Value("dropout", "model.network.dropout", 0.0, f"{_BEST}: drop"),
    Value("whole pixels", "model.network.squares", 1, "models/squid.py, AE"),
    Value(
        "discriminator",
        "model.discriminator.widths",
        [16, 32, 64, 128, 128],
        "models/discriminator.py, SimpleDiscriminator",
    ),
    Value("student", "model.student_weight", 10.0, f"{_BEST}: recon_w"),
    Value("teacher", "model.teacher_weight", 0.01, f"{_BEST}: t_w"),
    Value("distillation", "model.distillation_weight", 0.001, f"{_BEST}: dist_w"),
    Value("generator", "model.generator_weight", 0.005, f"{_BEST}: g_w"),
    Value("its own", "model.discriminator_weight", 0.005, f"{_BEST}: d_w"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.Adam", f"{_BASE}: opt"),
    Value("rate", "model.optimizer.lr", 1e-4, f"{_BEST}: lr"),
    Value("decay rates", "model.optimizer.betas", [0.5, 0.999], "main.py: opt"),
    Value("denominator", "model.optimizer.eps", 1e-7, "main.py: opt"),
    Value("weight decay", "model.optimizer.weight_decay", 1e-5, "main.py: opt"),
    Value("cosine", "model.scheduler.T_max", 300, f"{_BEST}: scheduler_args"),
    Value("last rate", "model.scheduler.eta_min", 1e-5, f"{_BEST}: scheduler_args"),
    Value("gradients not clipped", "trainer.gradient_clip_val", None, "main.py: gan_train"),
]


@pytest.fixture(scope="module")
def cfg():
    return preset("squid_paper")


@pytest.mark.parametrize("value", RELEASED, ids=str)
def test_the_preset_has_the_released_value(cfg, value):
    assert own(cfg, value) == value.released, value.source


def test_sizes_of_the_released_network(cfg):
    """`memory_channel = 2048`, and the discriminator's 128 * 4 * 4."""
    with torch.device("meta"):
        detector = instantiate(cfg.model)
    assert detector.network.inpaint.queue.entries.shape == (4, 200, 2048)
    # models/squid.py: filter_list[level - 1] * 16, filter_list[level - 2] * 64.
    shapes = [tuple(matrix.entries.shape) for matrix in detector.network.matrices]
    assert shapes == [(4, 200, 256 * 16), (4, 200, 128 * 64)]
    assert detector.discriminator.last.in_features == 128 * 4 * 4
    # int(np.log2(4) + 1) digits of the place beside 512 / 4 maps.
    assert detector.network.inpaint.widen[0].in_channels == 128 + 3
