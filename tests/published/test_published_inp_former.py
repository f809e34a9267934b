"""INP-Former's preset against its released code (luow23/INP-Former), one class."""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate

_MAIN = "INP_Former_Single_Class.py"

RELEASED = [
    Value("width of ViT-B", "model.network.width", 768, f"{_MAIN}: embed_dim"),
    Value("heads", "model.network.heads", 12, f"{_MAIN}: num_heads"),
    Value("prototypes", "model.network.prototypes", 6, f"{_MAIN}: INP_num"),
    Value("blocks of the decoder", "model.network.blocks", 8, f"{_MAIN}: INP_Guided_Decoder"),
    Value("perceptrons", "model.network.mlp_ratio", 4.0, f"{_MAIN}: mlp_ratio"),
    Value("layers", "model.layers", [2, 3, 4, 5, 6, 7, 8, 9], f"{_MAIN}: target_layers"),
    Value("groups", "model.groups", [[0, 1, 2, 3], [4, 5, 6, 7]], f"{_MAIN}: fuse_layer_encoder"),
    Value("coherence", "model.coherence", 0.2, f"{_MAIN}: loss + 0.2 * g_loss"),
    Value("soft mining", "model.mining", 3.0, f"{_MAIN}: y=3"),
    Value("rate", "model.optimizer.lr", 1e-3, f"{_MAIN}: optimizer"),
    Value("weight decay", "model.optimizer.weight_decay", 1e-4, f"{_MAIN}: optimizer"),
    Value("AMSGrad", "model.optimizer.amsgrad", True, f"{_MAIN}: optimizer"),
    Value("denominator", "model.optimizer.eps", 1e-10, f"{_MAIN}: optimizer"),
    Value("clipping", "trainer.gradient_clip_val", 0.1, f"{_MAIN}: clip_grad_norm"),
    Value("batch", "datamodule.batch_size", 16, f"{_MAIN}: batch_size"),
    Value("epochs", "max_epochs", 200, f"{_MAIN}: total_epochs"),
]


@pytest.fixture(scope="module")
def cfg():
    return preset("inp_former_paper")


@pytest.mark.parametrize("value", RELEASED, ids=str)
def test_the_preset_has_the_released_value(cfg, value):
    assert own(cfg, value) == value.released, value.source


def test_a_slice_has_as_many_cells_as_theirs(cfg):
    """392 / 14 = 28 tokens along each axis, by the stand-in as by DINOv2."""
    with torch.device("meta"):
        detector = instantiate(cfg.model)
        found = detector.first_stage.features(torch.rand(1, 1, *cfg.data.slice_size), 10)
    assert [tuple(layer.shape) for layer in found] == [(1, 768, 28, 28)] * 10


def test_the_rate_ends_at_a_tenth(cfg):
    """WarmCosineScheduler: from 1e-3 to 1e-4."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1e-3)
    schedule = instantiate(cfg.model.scheduler)(optimizer)
    for _ in range(200):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(1e-4, rel=0.05)
