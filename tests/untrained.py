"""Models of every method, untrained, on small slices or a small phantom."""

from functools import cache

import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from method_tester import SIZE, grid_of, phantom_batch
from tiny import NARROW, ROOT

from brainuad.cohorts.places import as_plain
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.settings.instantiate import instantiate, resolve

METHODS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))

WORDS = {"madad_prototypes": ("model.scores_by=mask",)}
"""Words of tests alone: a score in one pass."""


@cache
def model_of(method: str) -> tuple[Model, torch.Tensor, torch.Tensor]:
    """Return a model with random weights, and tiles with their masks."""
    words = [f"experiment={method}", f"data.slice_size={SIZE}", f"name={method}"]
    words += [*NARROW.get(method, ()), *WORDS.get(method, ()), "paths.output_dir=x"]
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", words, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
    torch.manual_seed(0)
    tiling = instantiate(cfg.tiling)
    detector = instantiate(cfg.model)
    batch = phantom_batch(SIZE, tiling)
    detector.grid = grid_of(batch) if detector.traits.places != "ignored" else None
    detector.measure([batch])
    place = None if detector.grid is None else as_plain(detector.grid)
    post = resolve(cfg.postprocess)
    card = Card(
        *(resolve(cfg.model), resolve(cfg.tiling), post, "T2w", {}),
        grid=place,
        threshold=0.1,
        name=method,
    )
    image, brain_mask = batch.image[:3], batch.brain_mask[:3]
    return Model(detector, card, tiling), image, brain_mask
