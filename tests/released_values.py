"""Tables of released values, and a preset's own values to hold against them."""

from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Value:
    """One value of a released code.

    Attributes:
        what: in words.
        key: of the composed configuration, `model.optimizer.lr`.
        released: what the released code has, in our unit.
        source: file and line in the released repository.
    """

    what: str
    key: str
    released: Any
    source: str

    def __str__(self) -> str:
        return self.what


def preset(name: str, *words: str) -> DictConfig:
    """The composed configuration of `experiment=<name>`."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        return compose("train", [f"experiment={name}", "paths.output_dir=x", *words])


def own(cfg: DictConfig, value: Value) -> Any:
    """What the preset has, as plain values."""
    missing = object()
    found = OmegaConf.select(cfg, value.key, default=missing)
    assert found is not missing, f"{cfg.name} has no {value.key}"
    return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
