"""`Universal` as a function of tensors.

The method looks up the atlas on the CPU, takes the median of as many voxels as there are, and cuts
the brain's box out. Here the priors of the model's own grid are constants, the median is an entry
of the sorted voxels, and the box is gathered by indices.
"""

import types
from typing import Any

import numpy as np
import torch
from monai.networks.nets.basic_unet import UpCat
from torch import Tensor, nn
from torch.nn import functional

from brainuad.methods.parts.tissue_atlas import LEAST_INSIDE, TISSUES, atlas_at
from brainuad.methods.universal import CERTAIN_WHITE, CLIP, MULTIPLE, SMALLEST, Universal
from brainuad.types import Detection

STEPS = 2**15 - 1
"""Priors are stored as whole numbers of these steps, which halves the file."""


class WholeBrainGraph(nn.Module):
    """The score of one scan on the grid of the model.

    Args:
        method: the method, a copy for this purpose: its network is changed.
    """

    priors: Tensor
    certain_white: Tensor
    atlas: Tensor

    def __init__(self, method: Universal) -> None:
        super().__init__()
        grid = method.grid
        assert grid is not None, "a model of whole brains has a grid"
        found = atlas_at(grid.affine, np.argwhere(np.ones(grid.shape, bool)))
        maps = torch.from_numpy(np.stack([found[name] for name in TISSUES]))
        maps = maps.reshape(1, len(TISSUES), *grid.shape)
        white = maps[:, TISSUES.index("white")][:, None]
        brain = torch.from_numpy(found["brain"]).reshape(1, 1, *grid.shape)
        self.register_buffer("priors", (maps * STEPS).round().to(torch.int16))
        self.register_buffer("certain_white", white > CERTAIN_WHITE)
        self.register_buffer("atlas", brain > 0.5)
        self.network = _without_branches(method.network)
        self.gain, self.scores_by = method.gain, method.scores_by
        self.side = 1 if method.sign == "positive" else -1

    def forward(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """`(1, 1, D, H, W)` twice, as `Universal.score`."""
        count = brain_mask.sum()
        inside = (brain_mask & self.atlas).sum()
        lies_on_it = (inside >= LEAST_INSIDE * count) & (count > 0)
        white = _median(image, brain_mask, self.certain_white & lies_on_it)
        seen = (self.gain * (image / white - 1)).clamp(-CLIP, CLIP)
        seen = torch.where(brain_mask, seen, 0.0)
        priors = self.priors.float() / STEPS * lies_on_it
        given = torch.cat([seen, seen.flip(2), brain_mask.float(), priors], 1)
        cuts = [_Cut(brain_mask, axis) for axis in (2, 3, 4)]
        for cut in cuts:
            given = cut.taken(given)
        found = self.network(given)
        for cut in cuts:
            found = cut.returned(found)
        healthy = (white * (1 + found[:, 1:] / self.gain)).clamp(0, 1)
        if self.scores_by == "lesion":
            return Detection(torch.sigmoid(found[:, :1]), healthy)
        return Detection((self.side * (image - healthy) / white).clamp_min(0), healthy)


class _Cut:
    """The extent of a brain along one axis, as `universal._box` cuts and pads it.

    Args:
        brain_mask: `(1, 1, D, H, W)` bool.
        axis: the axis; along the first spatial one the extent is symmetric.
    """

    def __init__(self, brain_mask: Tensor, axis: int) -> None:
        others = [other for other in range(5) if other != axis]
        filled = brain_mask.to(torch.int32).amax(others)
        length = brain_mask.shape[axis]
        # Of an empty brain the whole axis: the largest entry is then the first one.
        low, high = filled.argmax(), length - filled.flip(0).argmax()
        if axis == 2:
            low = torch.minimum(low, length - high)
            high = length - low
        self.axis, self.length = axis, length
        self.low, self.size = low, high - low

    def taken(self, volume: Tensor) -> Tensor:
        """Cut the extent out, with zeros behind it to a size that the network takes."""
        steps = ((self.size + MULTIPLE - 1) // MULTIPLE).clamp_min(SMALLEST // MULTIPLE)
        places = _count_up(steps, -(-self.length // MULTIPLE))
        inside = (places < self.size).to(volume.dtype)
        at = (self.low + places).clamp_max(self.length - 1)
        return volume.index_select(self.axis, at) * self._along(inside)

    def returned(self, volume: Tensor) -> Tensor:
        """Put the extent back into its place, with zeros around."""
        places = torch.arange(self.length, device=volume.device)
        inside = (places >= self.low) & (places < self.low + self.size)
        at = torch.minimum((places - self.low).clamp_min(0), self.size - 1)
        return volume.index_select(self.axis, at) * self._along(inside.to(volume.dtype))

    def _along(self, values: Tensor) -> Tensor:
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(5)])


def _count_up(steps: Tensor, most: int) -> Tensor:
    """Return the numbers from 0 to as many multiples of `MULTIPLE`, at most `most`."""
    number: Any = steps
    if not torch.compiler.is_exporting():
        # As a tensor, so that a tracer takes it for no constant.
        return torch.arange(number * MULTIPLE, device=steps.device)
    number = steps.item()
    torch._check(number >= SMALLEST // MULTIPLE)
    torch._check(number <= max(most, SMALLEST // MULTIPLE))
    return torch.arange(number * MULTIPLE, device=steps.device)


def _median(image: Tensor, brain_mask: Tensor, certain_white: Tensor) -> Tensor:
    """Return the median of white matter (without any: of the brain), as `universal._white`."""
    white = brain_mask & certain_white
    chosen = white | (brain_mask & ~white.any())
    ordered = torch.where(chosen, image, torch.inf).flatten().sort().values
    middle = ((chosen.sum() - 1) // 2).clamp_min(0)
    found = ordered.index_select(0, middle.reshape(1))
    return torch.where(chosen.any(), found, 1.0).clamp_min(1e-6)


def _without_branches(network: nn.Module) -> nn.Module:
    """Replace the steps of MONAI's U-Net that ask for sizes: odd ones are padded if needed.

    Padding always and cutting what is too much gives the same.
    """
    for module in network.modules():
        if isinstance(module, UpCat):
            module.forward = types.MethodType(_joined, module)  # type: ignore[method-assign]
    return network


def _joined(self: UpCat, x: Tensor, skip: Tensor) -> Tensor:
    enlarged = functional.pad(self.upsample(x), [0, 1] * (x.ndim - 2), mode="replicate")
    for axis in range(2, x.ndim):
        enlarged = enlarged.narrow(axis, 0, skip.shape[axis])
    return self.convs(torch.cat([skip, enlarged], 1))
