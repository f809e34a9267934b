"""Cards and choices of models that are not loaded, for a dry run."""

from pathlib import Path
from typing import Any

from brainuad.model.known import Known
from brainuad.model.model_file import read_card


def know(
    *models: str | Path, device: str = "auto", precision: str = "32-true", **choices: Any
) -> Known:
    """Return cards and choices of models from their files, without their weights.

    Args:
        models: models as of `brainuad.load`.
        device: device as of `brainuad.load`; used only where the precision is `auto`.
        precision: precision as of `brainuad.load`.
        choices: further arguments of `Known`.

    Raises:
        InputError: a model without a readable card, or an error of `Known`.
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
