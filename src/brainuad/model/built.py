"""The method that the card of a model file describes."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from brainuad.errors import InputError
from brainuad.machine.limits import require_memory
from brainuad.methods.base import AnomalyDetector
from brainuad.model.card import Card
from brainuad.settings.build import build


def built_method(path: Path, card: Card, weights: Mapping[str, Tensor]) -> AnomalyDetector:
    """Return the method of a card, built once its size is known to be that of its weights.

    Args:
        path: model file, for messages.
        card: its card; a stranger may have written it.
        weights: tensors by name.

    Raises:
        InputError: a class that is not allowed, weights of other sizes, NaN or infinite weights, or
            more memory than there is.
    """
    # Without memory: a card may ask for any size.
    with torch.device("meta"):
        planned: AnomalyDetector = build(card.model, kind=AnomalyDetector)
    # Buffers may grow with what was measured, such as an atlas; parameters never do.
    for name, value in planned.named_parameters():
        if not isinstance(weights.get(name), Tensor) or weights[name].shape != value.shape:
            raise InputError(f"its weights do not fit its model ({name:.80}, …)")
        # A network with a NaN marks nothing without any error: NaN is above no threshold.
        if not bool(torch.isfinite(weights[name]).all()):
            raise InputError(f"its weights {name:.80} hold NaN or infinite values")
    buffers = sum(value.numel() * value.element_size() for value in planned.buffers())
    require_memory(buffers, path, "do not trust this file")
    return build(card.model)
