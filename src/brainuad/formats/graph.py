"""A method as one function of tensors, which other runtimes can compute.

Most methods are such a function already. Those whose code asks for values of the image in between
have their own module here, which computes the same with tensors alone.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from brainuad.errors import InputError
from brainuad.formats.norms import exact_norms
from brainuad.formats.ranks import RankGraph
from brainuad.formats.whole_brain import WholeBrainGraph
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.intensity import IntensityDetector
from brainuad.methods.patchcore import PatchCore
from brainuad.methods.universal import Universal
from brainuad.model.model import Model
from brainuad.types import Detection

ONE_PASS = (
    "ae",
    "asymmetry",
    "autoencoder",
    "dae",
    "fpi",
    "intensity",
    "madad with scores_by=mask or clean",
    "patchcore",
    "strega",
    "universal",
    "vae",
    "zscore",
)
"""Methods that can be exported, as the user names them."""

_SCORES: dict[type[AnomalyDetector], Callable[[Any], Callable[[Tensor, Tensor], Detection]]] = {
    IntensityDetector: RankGraph,
    PatchCore: lambda method: method.score_every_cell,
    Universal: WholeBrainGraph,
}
"""Score of one tile, by tensors alone, of methods whose own asks for values in between."""


class Graph(nn.Module):
    """Function from tiles and brain masks to anomaly maps, and reconstructions if there are any.

    Args:
        method: the method; it is copied, and the copy is in evaluation mode on the CPU.

    Attributes:
        one_tile: whether it takes one tile at a time.
    """

    def __init__(self, method: AnomalyDetector) -> None:
        super().__init__()
        own = copy.deepcopy(method).cpu().eval().requires_grad_(False)
        made = _SCORES.get(type(method))
        self.one_tile = made is not None
        exact_norms(own)
        self.method = own
        self.scores = own.score if made is None else made(own)

    def forward(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, ...]:
        """`(B, C, *S)` and `(B, 1, *S)` bool to `(B, 1, *S)` and perhaps `(B, C, *S)`."""
        found = self.method.finished(self.scores(image, brain_mask), brain_mask)
        return tuple(part for part in found[:2] if part is not None)


def graph_of(model: Model) -> Graph:
    """Return the graph of a model.

    Raises:
        InputError: its scores take more than one pass, or are relative to healthy brains.
    """
    name = type(model.method).__name__
    if not model.method.traits.one_pass:
        raise InputError(
            f"{model.path}: {name} samples, repeats its steps or was not tried in these formats; "
            f"use --format bundle, or a model of {', '.join(ONE_PASS)}"
        )
    if model.relative is not None:
        raise InputError(
            f"{model.path}: its scores are relative to healthy brains, which these formats cannot "
            "hold; use --format bundle, or train with relative=none"
        )
    return Graph(model.method)


def example_tiles(model: Model, count: int = 1) -> tuple[Tensor, Tensor]:
    """Return tiles of the model's size with something in them, and their masks."""
    channels = len(model.card.channels)
    shape = tile_shape(model)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = torch.stack(axes).square().sum(0) < 0.8
    brain_mask = inside.expand(count, 1, *shape).clone()
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, channels, *shape, generator=generator)
    return torch.where(brain_mask, 0.5 + 0.2 * noise, 0), brain_mask


def tile_shape(model: Model) -> tuple[int, ...]:
    """Return the shape of the model's tiles; of a model without one, a shape that it takes."""
    size = getattr(model.tiling, "size", None)
    if size is not None:
        return tuple(size)
    if model.method.grid is not None:
        return tuple(model.method.grid.shape)
    return FREE


FREE = (32, 40, 24)
"""Shape of the example for models that take volumes of any shape."""


def takes_any_shape(model: Model) -> bool:
    """Return whether the model's tiles may have any shape."""
    return getattr(model.tiling, "size", None) is None and model.method.grid is None
