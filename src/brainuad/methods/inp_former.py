"""INP-Former: prototypes of normal tissue from the scan itself.

Luo et al., "Exploring Intrinsic Normal Prototypes within a Single Image for Universal Anomaly
Detection", CVPR 2025 (arXiv 2503.02424); released code luow23/INP-Former. A frozen encoder turns an
image into tokens x. A few learned queries attend to them and become the image's intrinsic normal
prototypes p (`networks/prototype_former.py`). A decoder rebuilds each token from the prototypes
only, so a lesion, a minority of its own image, is not rebuilt. With the layers of encoder and
decoder averaged in groups, e_g and d_g:

    L = mean_g [1 - cos(e_g, d_g)] + 0.2 mean_i min_m [1 - cos(x_i, p_m)]

The cosine is that of the flattened maps of an image. The gradient at each token is multiplied by
(d / mean d)^3 with d = 1 - cos of that token ("soft mining", `utils.global_cosine_hm_adaptive`).
The second term is the coherence of the prototypes (`models/uad.py`, `gather_loss`). A token's score
is the mean over groups of 1 - cos(e_g, d_g). With `scores_by=coherence` it is the distance to the
nearest prototype, as in the paper's zero-shot mode.

Differences:

- The encoder. Theirs is DINOv2 (ViT-B/14 with registers), whose weights need a download. Here an
  autoencoder trained on the same brains stands in, with cells of 4 pixels and two layers of 64
  channels; their decoder has 8 blocks, here it has one a layer. An encoder that learned to
  reconstruct is a weaker judge of "the same tissue".
- The stand-in's features have large means and say nothing of the place. So each channel is
  standardised by the healthy cells (`standardise`), and a fixed sine code of the position is added
  before the bottleneck (`place`).
- Only cells of the brain are gathered, rebuilt, judged and smoothed: background would take
  prototypes.
- AdamW in place of StableAdamW.

The prototypes are those of one slice. A large lesion fills many of its cells: it can win a
prototype, and then its interior scores normal and only its rim does not.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.cells import to_pixels, touching
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.prototype_former import PrototypeFormer
from brainuad.types import Batch, Detection

_TINY = 1e-6


class INPFormer(AnomalyDetector):
    """Scores a cell by what the prototypes of its own slice cannot rebuild.

    Args:
        first_stage: frozen encoder with `features(image, layers)`, a list of `(B, C, *S_p)` of its
            first blocks.
        network: the trained part; one block of its decoder for each layer.
        optimizer: factory; the paper's is StableAdamW with 1e-3 and a weight decay of 1e-4.
        scheduler: factory or None.
        layers: the encoder's blocks to take, counted from 0; all of one grid and width.
        groups: rows of `layers` that are averaged before they are compared.
        coherence: weight of the coherence of the prototypes; 0.2 in the code.
        mining: exponent of the soft mining; 3 in the code, 0 for none.
        standardise: whether each channel is standardised by the healthy cells (ours).
        place: whether the bottleneck sees a code of the position (ours).
        scores_by: `decoder`, or `coherence` for the distance to the nearest prototype.
        smoothing: standard deviation of the Gaussian in pixels; 0 for none.

    Raises:
        ValueError: the decoder's blocks are not as many as the layers, or an unknown `scores_by`.
    """

    traits = Traits(
        detection_options=("scores_by", "smoothing"), compiled=("prototypes_of", "rebuild")
    )
    first_stage: LatentAutoencoder  # or any module with the same `features`
    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        first_stage: nn.Module,
        network: PrototypeFormer,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        layers: Sequence[int] = (0, 1),
        groups: Sequence[Sequence[int]] = ((0,), (1,)),
        coherence: float = 0.2,
        mining: float = 3.0,
        standardise: bool = True,
        place: bool = True,
        scores_by: Literal["decoder", "coherence"] = "decoder",
        smoothing: float = 2.0,
    ) -> None:
        super().__init__(optimizer, scheduler, first_stage)
        if len(network.decoder) != len(layers):
            raise ValueError(
                f"the decoder has {len(network.decoder)} blocks for {len(layers)} layers; set "
                "model.network.blocks to the number of model.layers"
            )
        if scores_by not in ("decoder", "coherence"):
            raise ValueError(f"scores_by is '{scores_by}'; use decoder or coherence")
        self.network = network
        self.layers, self.groups = tuple(layers), [list(rows) for rows in groups]
        self.coherence, self.mining = coherence, mining
        self.standardise, self.place = standardise, place
        self.scores_by, self.smoothing = scores_by, smoothing
        width = network.queries.shape[1]
        self.register_buffer("centre", torch.zeros(len(self.layers), width))
        self.register_buffer("spread", torch.ones(len(self.layers), width))

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure mean and standard deviation of each channel over the cells of healthy brains."""
        if not self.standardise:
            return
        count = 0
        first, second = torch.zeros(2, *self.centre.shape, dtype=torch.float64)
        for batch in batches:
            found = self._features(batch.image.to(self.device))
            inside = touching(batch.brain_mask.to(self.device), found.shape[3:])
            cells = found.movedim((1, 2), (-2, -1))[inside].double().cpu()
            count += len(cells)
            first += cells.sum(0)
            second += cells.square().sum(0)
        if count:
            mean = first / count
            deviation = (second / count - mean**2).clamp_min(0).sqrt().clamp_min(_TINY)
            self.centre, self.spread = (
                mean.float().to(self.device),
                deviation.float().to(self.device),
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above."""
        tokens, inside, grid = self._tokens(batch.image, batch.brain_mask)
        x = tokens.mean(1)
        prototypes = self.network.prototypes_of(x, inside)
        given, rebuilt = self._grouped(tokens, self._rebuilt(x, prototypes, grid))
        parts = [
            mined_cosine(ours, theirs, inside, self.mining)
            for ours, theirs in zip(given, rebuilt, strict=True)
        ]
        decoder = torch.stack(parts).mean()
        near = nearest_prototype(x, prototypes)
        coherence = (near * inside).sum() / inside.sum().clamp_min(1)
        loss = decoder + self.coherence * coherence
        return {"loss": loss, "decoder": decoder, "coherence": coherence}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the distances of the cells, resized and smoothed."""
        tokens, inside, grid = self._tokens(image, brain_mask)
        x = tokens.mean(1)
        prototypes = self.network.prototypes_of(x, inside)
        if self.scores_by == "coherence":
            distance = nearest_prototype(x, prototypes)
        else:
            groups = self._grouped(tokens, self._rebuilt(x, prototypes, grid))
            pairs = zip(*groups, strict=True)
            distance = torch.stack([_distance(ours, theirs) for ours, theirs in pairs]).mean(0)
        scores, cells = (part.unflatten(1, grid)[:, None] for part in (distance * inside, inside))
        return Detection(to_pixels(scores, cells, image.shape[2:], self.smoothing), None)

    def _features(self, image: Tensor) -> Tensor:
        """Return the encoder's layers, `(B, layers, C, *S_p)`."""
        found = self.first_stage.features(image, max(self.layers) + 1)
        return torch.stack([found[i].float() for i in self.layers], 1)

    def _tokens(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """Return tokens `(B, layers, N, C)`, which are in the brain `(B, N)`, and their grid."""
        with torch.no_grad():
            found = self._features(image)
        grid = list(found.shape[3:])
        tokens = found.flatten(3).transpose(2, 3)
        tokens = (tokens - self.centre[:, None]) / self.spread[:, None]
        return tokens, touching(brain_mask, grid).flatten(1), grid

    def _rebuilt(self, x: Tensor, prototypes: Tensor, grid: Sequence[int]) -> list[Tensor]:
        place = place_code(grid, x.shape[-1]).to(x) if self.place else None
        return self.network.rebuild(x, prototypes, place)

    def _grouped(
        self, tokens: Tensor, rebuilt: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the averages of each group, of the encoder and of the decoder."""
        return (
            [tokens[:, rows].mean(1) for rows in self.groups],
            [torch.stack([rebuilt[row] for row in rows]).mean(0) for rows in self.groups],
        )


def mined_cosine(given: Tensor, rebuilt: Tensor, inside: Tensor, exponent: float) -> Tensor:
    """Return 1 - cos of the flattened maps, mean over images, with soft mining of its gradient.

    The gradient of `rebuilt` at each token is multiplied by (d / mean d)^exponent, where d is
    1 - cos of that token and the mean is that of the batch.

    Args:
        given: `(B, N, C)`.
        rebuilt: `(B, N, C)`.
        inside: tokens that count, `(B, N)` bool.
        exponent: 0 for the plain gradient.
    """
    given, rebuilt = given.float(), rebuilt.float()
    with torch.no_grad():
        distance = _distance(given, rebuilt) * inside
        mean = distance.sum() / inside.sum().clamp_min(1)
        factor = (distance / mean.clamp_min(_TINY)).pow(exponent)[..., None]
    if rebuilt.requires_grad:
        rebuilt.register_hook(lambda gradient: gradient * factor)
    ours, theirs = (torch.where(inside[..., None], x, 0).flatten(1) for x in (given, rebuilt))
    return 1 - F.cosine_similarity(ours, theirs).mean()


def nearest_prototype(tokens: Tensor, prototypes: Tensor) -> Tensor:
    """Return 1 - cos of tokens `(B, N, C)` and the nearest of prototypes `(B, M, C)`: `(B, N)`."""
    ours, theirs = (F.normalize(x.float(), dim=-1) for x in (tokens, prototypes))
    return 1 - torch.einsum("bnc,bmc->bnm", ours, theirs).amax(2)


def place_code(grid: Sequence[int], width: int) -> Tensor:
    """Return a sine code of the position of each cell, `(N, width)`, in [-1, 1].

    Each axis has an equal share of the numbers, half of them sines and half cosines of 2^k pi t,
    with t from 0 to 1 along the axis and k evenly from 0 to 4; numbers that are left over are 0.
    """
    waves = width // (2 * len(grid))
    axes = [torch.linspace(0, 1, size) for size in grid]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    steps = 2.0 ** torch.linspace(0, 4, waves)
    angles = math.pi * points[..., None] * steps
    code = torch.cat([angles.sin(), angles.cos()], -1).flatten(1)
    return F.pad(code, (0, width - code.shape[1]))


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(ours.float(), theirs.float(), dim=-1)
