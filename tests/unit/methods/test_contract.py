"""Every model config is found by itself and must pass every check of `contract.py`."""

from dataclasses import replace
from pathlib import Path

import contract
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from tiny import NARROW

from brainuad.cohorts.places import as_plain
from brainuad.errors import InputError
from brainuad.methods.universal import Universal
from brainuad.model.card import Card
from brainuad.networks.latent_autoencoder import measure_scale
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.synthetic.phantom import tiny_subject
from brainuad.volumes.grids import Grid

CONFIGS = Path(__file__).parents[3] / "configs"
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))
SIZE = [32, 48]
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
LACKING = {
    "perceptual": ("zscore", "asymmetry", "autopaint", "dae", "disyre", "anoddpm", "pddpm"),
    "mahalanobis": ("zscore", "asymmetry", "autopaint", "autoencoder", "dae", "disyre"),
}
"""Methods without an encoder, or without draws. AutoPaint's encoder is that of a first stage."""

WORDS = {"strega": ("model/residual=l1",), "madad": ("model.mask_threshold=1.1",)}
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
def trained(request):
    """(detector, batch, losses): trained for a while on eight phantom slices."""
    model = request.param
    cfg = config_of(model, *WORDS.get(model, ()), *NARROW.get(model, ()))
    torch.manual_seed(0)
    detector = instantiate(cfg.model)
    card = Card(resolve(cfg.model), resolve(cfg.tiling), {}, "T2w", {})
    batch = contract.phantom_batch(SIZE, instantiate(cfg.tiling))
    if cfg.first_stage is not None:
        stage = instantiate(cfg.first_stage.model)
        contract.train_steps(stage, batch, 200)
        measure_scale(stage.eval().autoencoder, [batch.image])
        detector.autoencoder.load_state_dict(stage.autoencoder.state_dict())
    if isinstance(detector, Universal):
        detector.grid = Grid(batch.image.shape[2:], tiny_subject("contract0").affine)
        card = replace(card, grid=as_plain(detector.grid))
        batch = contract.with_lesion(batch)
    elif detector.measures:
        detector.measure([batch])
    steps = 40 if isinstance(detector, Universal) else 120
    losses = contract.train_steps(detector, batch, steps) if detector.by_gradient else []
    return detector, batch, losses, card


def test_output(trained):
    contract.check_output(*trained[:2])


def test_same_twice(trained):
    contract.check_same_twice(*trained[:2])


def test_batch_of_one(trained):
    contract.check_batch_of_one(*trained[:2])


def test_degenerate(trained):
    contract.check_degenerate(*trained[:2])


def test_half_precision(trained):
    contract.check_half_precision(*trained[:2])


def test_checkpoint(trained, tmp_path):
    detector, batch, _, card = trained
    tiling = instantiate(card.tiling)
    contract.check_checkpoint(detector, batch, card, tiling, tmp_path)


def test_learns(trained):
    if not trained[0].by_gradient:
        pytest.skip("nothing in this method is trained by gradient")
    contract.check_learns(trained[2])


def test_every_parameter_learns(trained):
    if not trained[0].by_gradient:
        pytest.skip("nothing in this method is trained by gradient")
    contract.check_every_parameter_learns(*trained[:2])


def test_planted_lesion(trained):
    contract.check_planted_lesion(*trained[:2])


@pytest.mark.parametrize("model", RECONSTRUCTING)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_every_score_is_for_every_reconstruction_method(model, residual):
    words = [f"model/residual={residual}", *NARROW.get(model, ())]
    if model in LACKING.get(residual, ()):
        with pytest.raises(InputError, match="needs (an encoder|several draws)"):
            instantiate(config_of(model, *words).model)
        if residual == "mahalanobis" or model != "autopaint":
            return
        words.append("first_stage=autoencoder")
    if residual == "mahalanobis":
        words.append("model.n_samples=3")
        # By default this one draws nothing.
        words += ["model.scores_by=residual"] if model == "madad" else []
    cfg = config_of(model, *words)
    torch.manual_seed(0)
    detector = instantiate(cfg.model)
    batch = contract.phantom_batch(SIZE, instantiate(cfg.tiling), 4)
    if isinstance(detector, Universal):
        detector.grid = Grid(batch.image.shape[2:], tiny_subject("contract0").affine)
        batch = contract.with_lesion(batch)
    elif detector.measures:
        detector.measure([batch])
    found = detector.anomaly_map(contract.plant(batch)[0], batch.brain_mask)
    assert found.shape == batch.brain_mask.shape
    assert torch.isfinite(found).all()
    # Rounding is divided by a standard deviation of 0.02, too.
    atol = 1e-5 / 0.02 if residual == "mahalanobis" else 1e-5
    contract.check_batch_of_one(detector, batch, atol)
