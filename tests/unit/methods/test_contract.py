"""Every model config is found by itself and must pass every check of `MethodTester`."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from method_tester import SIZE, MethodTester, grid_of, phantom_batch, plant, train
from tiny import NARROW

from brainuad.errors import InputError
from brainuad.settings.instantiate import instantiate

CONFIGS = Path(__file__).parents[3] / "configs"
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))
RESIDUALS = [
    path.stem
    for path in sorted((CONFIGS / "model" / "residual").glob("*.yaml"))
    if "_target_" in path.read_text()
]
RECONSTRUCTING = [
    path.stem
    for path in sorted((CONFIGS / "model").glob("*.yaml"))
    if "- residual:" in path.read_text()
]

WORDS = {"strega": ("model/residual=l1",), "madad": ("model.sampling.mask_threshold=1.1",)}
"""A residual of both sides, for the bright lesion. Every cell moves, because so short a training
leaves a mask head that lets none go."""


def config_of(model: str, *words: str):
    """The composed run of the experiment of the same name, on small slices."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose(
            "train",
            [
                f"experiment={model}",
                f"data.slice_size={SIZE}",
                f"name={model}",
                "paths.output_dir=x",
                *words,
            ],
            return_hydra_config=True,
        )
        HydraConfig.instance().set_config(cfg)
        return cfg


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    """Each method, trained for a while on eight phantom slices."""
    model = request.param
    cfg = config_of(model, *WORDS.get(model, ()), *NARROW.get(model, ()))
    # It sees the planted lesion late.
    return train(cfg, tmp_path_factory.mktemp(model), 120 if model == "fpi" else 60)


@pytest.mark.slow
class TestEveryMethod(MethodTester):
    """Every method passes every check."""


@pytest.mark.slow
@pytest.mark.uncounted
@pytest.mark.parametrize("model", RECONSTRUCTING)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_every_score_is_for_every_reconstruction_method(model, residual):
    words = [f"model/residual={residual}", *NARROW.get(model, ())]
    # By default the first draws nothing, and the second does not sample.
    drawn = ["model.n_samples=3"] if samples(model) else []
    if model == "madad_prototypes":
        drawn.append("model.scores_by=residual")
    more = {"mahalanobis": drawn, "hyperbolic": drawn}
    if model == "autopaint":
        # Its encoder is that of a first stage, which the experiment leaves out.
        more["perceptual"] = ["first_stage=autoencoder"]
    cfg = config_of(model, *words, *more.get(residual, ()))
    lacking = ""
    try:
        instantiate(cfg.model)
    except InputError as error:
        lacking = str(error)
    if lacking:
        # A method without an encoder, or without draws, says so.
        need = {"perceptual": "needs an encoder"}
        need |= dict.fromkeys(("mahalanobis", "hyperbolic"), "needs several draws")
        assert need[residual] in lacking
        return
    torch.manual_seed(0)
    detector = instantiate(cfg.model)
    batch = phantom_batch(SIZE, instantiate(cfg.tiling), 4)
    detector.grid = grid_of(batch)
    detector.measure([batch])
    found = detector.anomaly_map(plant(batch)[0], batch.brain_mask)
    assert found.shape == batch.brain_mask.shape
    assert torch.isfinite(found).all()
    whole = detector.anomaly_map(batch.image, batch.brain_mask)
    one = detector.anomaly_map(batch.image[-1:], batch.brain_mask[-1:])
    # Rounding is divided by a standard deviation of 0.02, too.
    atol = 1e-5 / 0.02 if residual == "mahalanobis" else 1e-5
    torch.testing.assert_close(one, whole[-1:], rtol=1e-4, atol=atol)


@cache
def samples(model: str) -> bool:
    """Whether a method draws at random, by its class."""
    from hydra.utils import get_class

    return get_class(config_of(model).model._target_).traits.samples
