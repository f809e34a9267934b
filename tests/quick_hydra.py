"""Make Hydra compose faster: composing takes half the time of a tiny run."""

import yaml
from hydra._internal.hydra import Hydra
from hydra.types import RunMode


def quicken() -> None:
    """Read YAML by the C library, and do not compose a whole run only to ask for its mode.

    Commands that a test starts by `subprocess` do without.
    """
    # OmegaConf derives its own loader from this one.
    yaml.SafeLoader = yaml.CSafeLoader
    Hydra.get_mode = _mode_of_words


def _mode_of_words(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """Return the mode on the command line; no configuration here sets one."""
    del self, config_name
    named = [word.partition("=")[2] for word in overrides if "hydra.mode=" in word]
    return RunMode[named[-1]] if named else None
