"""Composing a configuration within a run that Hydra started."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainuad.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose_preparation(overrides: Sequence[str]) -> "DictConfig":
    """The configuration `prepare` with these overrides, `key=value`.

    Raises:
        InputError: an override that Hydra does not understand.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    # A run that Hydra started composes one as well, and Hydra wants to be alone.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            return compose("prepare", list(overrides))
    except HydraException as error:
        raise InputError(" ".join(str(error).split())) from None
    finally:
        GlobalHydra.instance().hydra = outer
