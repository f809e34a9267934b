"""Compose a configuration within a run that Hydra started."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainuad.errors import InputError
from brainuad.settings.hydra_words import composed, explained, require_read

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose_preparation(overrides: Sequence[str]) -> "DictConfig":
    """Return the configuration `prepare` with these overrides, `key=value`.

    Raises:
        InputError: an override that Hydra does not understand, or one that nothing reads.
    """
    from hydra.errors import HydraException

    try:
        found = composed("prepare", overrides)
    except HydraException as error:
        raise InputError(explained(error, "prepare", overrides)) from None
    require_read(found, "prepare", overrides)
    return found
