"""Memories of healthy features, from which SQUID rebuilds a feature.

Xiang et al., CVPR 2023 (arXiv 2111.13495, sections 3.2 and 3.3); released code tiangexiang/SQUID,
`models/memory.py`. A feature is replaced by a weighted mean of a few stored ones, those that are
most similar to it.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TINY = 1e-12


def hard_shrinkage(weights: Tensor, threshold: Tensor | float) -> Tensor:
    """Set weights up to the threshold to 0 and keep the larger ones (`hard_shrink_relu`)."""
    above = weights - threshold
    return above.relu() * weights / (above.abs() + _TINY)


def gumbel_shrinkage(similarity: Tensor, k: int) -> Tensor:
    """Return the weights of the most similar entries, with the gradient of the whole softmax.

    Of the softmax the entries above the k-th largest stay, k - 1 of them, and are scaled to the sum
    1. The gradient is the softmax's, straight through (`gumbel_softmax`; nothing is drawn).

    Args:
        similarity: `(..., M)`.
        k: 2 or more.
    """
    soft = similarity.softmax(-1)
    edge = soft.topk(k).values[..., -1:]
    kept = F.normalize(hard_shrinkage(soft, edge), p=1, dim=-1)
    return (kept - soft).detach() + soft


def recall(features: Tensor, memory: Tensor, k: int, sharpness: float | None) -> Tensor:
    """Return the mean of the stored features that are most similar to each feature.

    Args:
        features: `(B, P, D)`, for P memories.
        memory: `(P, M, D)`.
        k: as in `gumbel_shrinkage`.
        sharpness: factor of the cosine similarity; None for plain products, as in the code, whose
            sharpness is the length of the features.

    Returns:
        `(B, P, D)`.
    """
    ours, stored = features, memory
    if sharpness is not None:
        ours, stored = sharpness * F.normalize(features, dim=-1), F.normalize(memory, dim=-1)
    weights = gumbel_shrinkage(torch.einsum("bpd,pmd->bpm", ours, stored), k)
    return torch.einsum("bpm,pmd->bpd", weights, memory)


class MemoryQueue(nn.Module):
    """The last healthy features of each place, first in, first out, without a gradient.

    Args:
        places: number of places, each with a memory of its own.
        slots: entries of each memory, 200 in the code's best settings.
        dimensions: numbers of an entry.
        k: as in `gumbel_shrinkage`.
        sharpness: as in `recall`.
    """

    entries: Tensor
    pointer: Tensor

    def __init__(
        self, places: int, slots: int, dimensions: int, k: int = 5, sharpness: float | None = None
    ) -> None:
        super().__init__()
        check(k, slots)
        self.k, self.sharpness = k, sharpness
        self.register_buffer("entries", _uniform(places, slots, dimensions))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Return what the memories have in place of the features `(B, places, D)`."""
        # A copy, because the entries change before the gradient is computed.
        return recall(features, self.entries.clone(), self.k, self.sharpness)

    @torch.no_grad()
    def store(self, features: Tensor) -> None:
        """Replace the oldest entries by the features `(B, places, D)`."""
        slots = self.entries.shape[1]
        new = features.detach()[-slots:].transpose(0, 1).to(self.entries.dtype)
        rows = (self.pointer + torch.arange(new.shape[1], device=new.device)) % slots
        self.entries[:, rows] = new
        self.pointer.copy_((self.pointer + new.shape[1]) % slots)


class MemoryMatrix(nn.Module):
    """Learned memories of the four quarters of a map (`MemoryMatrixBlock`).

    Args:
        slots: entries of each memory.
        channels: channels of the map.
        size: height and width of the map, even.
        k: as in `gumbel_shrinkage`.
        sharpness: as in `recall`.
        shortcut: share of the sites that keep their own feature in training.
    """

    def __init__(
        self,
        slots: int,
        channels: int,
        size: tuple[int, int],
        k: int = 5,
        sharpness: float | None = None,
        shortcut: float = 0.05,
    ) -> None:
        super().__init__()
        check(k, slots)
        self.k, self.sharpness, self.shortcut = k, sharpness, shortcut
        self.size = (size[0] // 2, size[1] // 2)
        dimensions = channels * self.size[0] * self.size[1]
        self.entries = nn.Parameter(_uniform(4, slots, dimensions))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, H, W)` in the memories' words."""
        quarters = cut(x, 2)
        flat = quarters.flatten(1).unflatten(0, (-1, 4))
        found = recall(flat, self.entries, self.k, self.sharpness)
        return masked_shortcut(
            joined(found.flatten(0, 1).view_as(quarters), 2), x, self.shortcut, self.training
        )


def masked_shortcut(found: Tensor, own: Tensor, share: float, training: bool) -> Tensor:
    """Let a random share of the sites keep their own feature, in training only.

    Args:
        found: `(B, C, H, W)`.
        own: features before, `(B, C, *S)` of the same shape.
        share: probability of a site, 0.05 in the code.
        training: whether to draw.
    """
    if not training:
        return found
    kept = torch.rand(len(own), 1, *own.shape[2:]).to(own.device) < share
    return torch.where(kept, own, found)


def cut(x: Tensor, side: int) -> Tensor:
    """Cut `(B, C, H, W)` into side x side patches, `(B side^2, C, h, w)`, row by row."""
    b, c, h, w = x.shape
    patches = x.reshape(b, c, side, h // side, side, w // side).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b * side**2, c, h // side, w // side)


def joined(patches: Tensor, side: int) -> Tensor:
    """Undo `cut`."""
    _, c, h, w = patches.shape
    x = patches.reshape(-1, side, side, c, h, w).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(-1, c, side * h, side * w)


def check(k: int, slots: int) -> None:
    """Raise ValueError where a shrinkage would leave no entry."""
    if not 2 <= k <= slots:
        raise ValueError(
            f"k is {k} of {slots} slots; use 2 or more and not more than the slots, because "
            "k - 1 entries stay"
        )


def _uniform(*shape: int) -> Tensor:
    bound = cast(float, shape[-1] ** -0.5)
    return torch.empty(shape).uniform_(-bound, bound)
