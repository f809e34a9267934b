"""FPI's preset against its released code (jemtan/FPI), PII's corruption against jemtan/PII."""

import pytest
import torch
from released_values import Value, own, preset

from brainuad.settings.instantiate import instantiate
from brainuad.types import Batch

LESIONS = "brainuad.synthetic.lesions"

RELEASED = [
    Value("pixels", "data.slice_size", [256, 256], "fpiSubmit.py:43-45"),
    Value("no augmentation", "datamodule.augment", None, "fpiSubmit.py:147-154"),
    Value("batch", "datamodule.batch_size", 32, "fpiSubmit.py:121"),
    Value("epochs", "max_epochs", 50, "fpiSubmit.py:121"),
    Value(
        "network",
        "model.network._target_",
        "brainuad.networks.wide_residual.WideResidualAutoencoder",
        "models/wide_residual_network.py:166-211",
    ),
    Value("k", "model.network.width", 4, "fpiSubmit.py:62-66"),
    Value("one class", "model.network.out_channels", 1, "fpiSubmit.py:62-66"),
    Value(
        "mixture",
        "model.corruption._target_",
        f"{LESIONS}.fillings.ForeignPatch",
        "self_sup_task.py:59-63",
    ),
    Value("factor", "model.corruption.factor", [0.05, 0.95], "self_sup_task.py:47"),
    Value(
        "squares",
        "model.corruption.shape._target_",
        f"{LESIONS}.shapes.CentralBoxes",
        "self_sup_task.py:33-44",
    ),
    Value("core", "model.corruption.shape.core", 0.5, "fpiSubmit.py:127"),
    Value("half widths", "model.corruption.shape.radius", [0.05, 0.2], "self_sup_task.py:38-39"),
    Value("donors", "model.donors_by_height", True, "fpiSubmit.py:147-154"),
    Value("loss", "model.whole_image", True, "fpiSubmit.py:94-102"),
    Value(
        "optimiser",
        "model.optimizer._target_",
        "torch.optim.Adam",
        "models/wide_residual_network.py:273",
    ),
    Value("rate", "model.optimizer.lr", 1e-3, "models/wide_residual_network.py:273"),
    Value("decay, never added", "model.optimizer.weight_decay", 0.0, "fpiSubmit.py:94-102"),
    Value("one rate", "model.scheduler", None, "fpiSubmit.py:121"),
    Value("gradients not clipped", "trainer.gradient_clip_val", None, "fpiSubmit.py:94-102"),
    Value("no steps on the map", "postprocess.map_steps", [], "fpiSubmit.py, submit_test"),
    Value("no steps on the mask", "postprocess.mask_steps", [], "fpiSubmit.py, submit_test"),
]

PII = [
    Value("core", "model.corruption.shape.core", 0.8, "fpiSubmit.py:119-124"),
    Value("tolerance", "model.corruption.tolerance", 1e-3, "fpiSubmit.py:119-124"),
    Value("factor", "model.corruption.factor", [0.05, 0.95], "self_sup_task_poisson.py:57"),
    Value(
        "half widths",
        "model.corruption.shape.radius",
        [0.05, 0.2],
        "self_sup_task_poisson.py:49-50",
    ),
    Value("same place", "model.corruption.elsewhere", False, "poissonBlend.py, poisson_blend"),
]


@pytest.fixture(scope="module")
def fpi_paper():
    return preset("fpi_paper")


@pytest.fixture(scope="module")
def pii():
    return preset("fpi_paper", "model/corruption=poisson")


@pytest.mark.parametrize("value", RELEASED, ids=str)
def test_a_value_is_the_released_one(fpi_paper, value):
    assert own(fpi_paper, value) == value.released


@pytest.mark.parametrize("value", PII, ids=str)
def test_a_value_of_pii_is_the_released_one(pii, value):
    assert own(pii, value) == value.released


def test_the_network_has_the_released_number_of_parameters(fpi_paper):
    with torch.device("meta"):
        network = instantiate(fpi_paper.model).network
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_164_763


@pytest.mark.parametrize("corruption", ["foreign_patch", "poisson", "nsa"])
def test_each_corruption_learns_from_a_pair_of_scans(corruption):
    words = [f"model/corruption={corruption}", "model.network.width=1"]
    detector = instantiate(preset("fpi_paper", *words).model).train()
    torch.manual_seed(0)
    image = torch.rand(4, 1, 64, 64)
    terms = detector.loss(Batch(image, torch.ones_like(image, dtype=torch.bool)))
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters())
    assert any(parameter.grad.any() for parameter in detector.parameters())
