"""Describe models without loading them, for a dry run."""

from pathlib import Path
from typing import Any

from brainuad.model.known import Known
from brainuad.model.model_file import read_card


def know(
    *models: str | Path, device: str = "auto", precision: str = "32-true", **choices: Any
) -> Known:
    """Read what is known of models from their files, without loading them.

    Args:
        models: as `brainuad.load` takes them.
        device: looked at where the precision is `auto`, and only then.
        precision: as `brainuad.load` takes it.
        choices: as `Known` takes them.

    Raises:
        InputError: as `Known`, or a model without a readable card.
    """
    if precision == "auto":
        from brainuad.model.device import chosen_precision
        from brainuad.model.device import device as device_of

        precision = chosen_precision(precision, device_of(device))
    cards = [read_card(Path(path)) for path in models]
    return Known(models, cards, precision=precision, hash_of=_hash_of, **choices)


def _hash_of(path: Path) -> str:
    from brainuad.model.model import Model

    return Model.load(path).weights_hash
