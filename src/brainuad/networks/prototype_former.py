"""Tokens rebuilt from the prototypes of their own image: the trained part of INP-Former.

Luo et al., CVPR 2025 (arXiv 2503.02424); released code luow23/INP-Former,
`models/vision_transformer.py` and `models/uad.py`.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-8  # of the layer normalisations, as in the code


class PrototypeFormer(nn.Module):
    """Extractor of an image's prototypes, bottleneck and decoder guided by the prototypes.

    Args:
        width: numbers for each token.
        heads: heads of the attentions; they divide the width.
        prototypes: number of prototypes of an image, 6 in the paper.
        blocks: number of blocks of the decoder, 8 in the paper.
        mlp_ratio: hidden width of each perceptron, in widths.
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        prototypes: int = 6,
        blocks: int = 2,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.queries = nn.Parameter(torch.randn(prototypes, width))
        self.extractor = Extractor(width, heads, hidden)
        self.bottleneck = perceptron(width, hidden)
        self.decoder = nn.ModuleList(GuidedBlock(width, heads, hidden) for _ in range(blocks))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def prototypes_of(self, tokens: Tensor, inside: Tensor) -> Tensor:
        """Return the prototypes `(B, M, C)` of tokens `(B, N, C)`, of those `inside` `(B, N)`."""
        queries = self.queries.expand(len(tokens), -1, -1)
        return cast(Tensor, self.extractor(queries, tokens, inside))

    def rebuild(
        self, tokens: Tensor, prototypes: Tensor, place: Tensor | None = None
    ) -> list[Tensor]:
        """Rebuild tokens from prototypes.

        Args:
            tokens: `(B, N, C)`.
            prototypes: `(B, M, C)`.
            place: code of each token's position, `(N, C)`, that the bottleneck also sees.

        Returns:
            The output `(B, N, C)` of each block of the decoder, the last block first.
        """
        x = self.bottleneck(tokens if place is None else tokens + place)
        found = []
        for block in self.decoder:
            x = block(x, prototypes)
            found.append(x)
        return found[::-1]


class Extractor(nn.Module):
    """Cross-attention by which queries gather an image's tokens (`Aggregation_Block`)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, _EPS)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, _EPS)
        self.mlp = perceptron(width, hidden)

    def forward(self, queries: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """Return `(B, M, C)` of queries `(B, M, C)` and tokens `(B, N, C)`.

        Only the tokens `inside`, `(B, N)` bool, are seen; all of them where none is.
        """
        seen = inside | ~inside.any(1, keepdim=True)
        keys, values = split_heads(self.to_kv(self.norm(tokens)), 2 * self.heads).chunk(2, 1)
        own = split_heads(self.to_q(self.norm(queries)), self.heads)
        found = F.scaled_dot_product_attention(own, keys, values, seen[:, None, None])
        queries = queries + self.out(join_heads(found))
        return queries + cast(Tensor, self.mlp(self.norm_mlp(queries)))


class GuidedBlock(nn.Module):
    """Block of the decoder (`Prototype_Block`).

    The weights of the prototypes are ReLU(s cos(query, key)), with a learned s for each head and no
    softmax. There is no residual path around the attention: so nothing of a token passes that the
    prototypes lack.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.norm = nn.LayerNorm(width, _EPS)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, _EPS)
        self.mlp = perceptron(width, hidden)

    def forward(self, tokens: Tensor, prototypes: Tensor) -> Tensor:
        """Return `(B, N, C)` of tokens `(B, N, C)` and prototypes `(B, M, C)`."""
        keys, values = split_heads(self.to_kv(self.norm(prototypes)), 2 * self.heads).chunk(2, 1)
        own = split_heads(self.to_q(self.norm(tokens)), self.heads)
        cosines = F.normalize(own, dim=-1) @ F.normalize(keys, dim=-1).transpose(-2, -1)
        x = self.out(join_heads((cosines * self.scale).relu() @ values))
        return cast(Tensor, x + self.mlp(self.norm_mlp(x)))


def perceptron(width: int, hidden: int) -> nn.Sequential:
    """Build a perceptron with one hidden layer."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return `(B, N, heads C)` as `(B, heads, N, C)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Return `(B, heads, N, C)` as `(B, N, heads C)`."""
    return x.transpose(1, 2).flatten(2)
