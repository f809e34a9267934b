"""PatchCore: distance to the nearest of the healthy patches' features.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022 (arXiv 2106.08265);
code amazon-science/patchcore-inspection. A frozen encoder describes each patch (eqs. 1 to 3), the
descriptions of healthy patches are a memory bank (eq. 4), thinned to a core set by greedy k-centres
(eq. 5, algorithm 1), and the score of a patch is its distance to the nearest entry (eq. 6). As in
the code:

- Neighbourhoods of 3 x 3 cells are unfolded and averaged along their values to a fixed number, each
  layer resized to the first one's grid, the layers stacked and averaged once more.
- The k-centres are sought in a random projection, and start from the mean distance to 10 random
  patches in place of the N x N distances.
- The map is resized linearly and smoothed by a Gaussian of 4 pixels in 224, that is side / 56.

Differences:

- The encoder is one trained on the same healthy brains, with cells of 4 pixels of 2 mm; theirs is
  trained on ImageNet, whose weights need a download. To use them, give a module with
  `features(image, layers)` as `model.first_stage`.
- Each layer is divided by its standard deviation, so that all layers have the same weight.
- Only cells that touch the brain are stored and scored, and resizing and smoothing are means over
  the brain: the background is no healthy tissue, and its zeros would lower the brain's rim.
- The bank is bounded: `candidates` patches are drawn evenly, and `bank_size` is the most it keeps.
- The re-weighting (eq. 7) is the paper's for the score of an image, its patch of the largest
  distance. Here an image is scored by its map only, so every cell is re-weighted; with b neighbours
  the weight is at least 1 - 1 / b. Their code has none: `reweighting: 1`.
- Distances are not squared (theirs are, by their index), which does not change their order before
  smoothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector, Detection
from brainuad.methods.parts.cells import resized, to_pixels, touching
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.types import Batch

_CHUNK = 1024  # rows of a table of distances: 20 MB beside 5000 entries
_STARTS = 10  # random patches that the k-centres start from, as in the code
_SPARE = 7  # entries beyond those asked for that are measured exactly
_TINY = 1e-6


class PatchCore(AnomalyDetector):
    """Scores a patch by its distance to the nearest patch of healthy brains.

    Args:
        first_stage: frozen encoder with `features(image, layers)`, a list of `(B, C_p, *S_p)` of
            its first blocks.
        layers: the blocks to take, counted from 0. The first one's grid is that of the scores.
        width: numbers that describe a patch; 1024 in the paper.
        patch: cells per side of a neighbourhood, odd.
        candidates: largest number of patches from which the core set is chosen.
        coreset: share of them that is kept, in (0, 1].
        bank_size: largest number of entries that are kept.
        projection: dimensions of the random projection.
        neighbours: nearest entries whose distances are averaged.
        reweighting: b of eq. 7, entries around the nearest one; 1 for none.
        smoothing: standard deviation of the Gaussian in pixels; 0 for none.
        seed: random seed of the candidates and of the projection.
    """

    first_stage: LatentAutoencoder  # or any module with the same `features`
    bank: Tensor
    around: Tensor
    scale: Tensor
    sized_by_data = ("bank", "around")

    def __init__(
        self,
        first_stage: nn.Module,
        layers: Sequence[int] = (0, 1),
        width: int = 128,
        patch: int = 3,
        candidates: int = 50_000,
        coreset: float = 0.1,
        bank_size: int = 5000,
        projection: int = 128,
        neighbours: int = 1,
        reweighting: int = 9,
        smoothing: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(first_stage=first_stage)
        self.layers, self.width, self.patch = tuple(layers), width, patch
        self.candidates, self.coreset, self.bank_size = candidates, coreset, bank_size
        self.projection, self.seed = projection, seed
        self.neighbours, self.reweighting, self.smoothing = neighbours, reweighting, smoothing
        # The entries around each one are found with the bank, so that `reweighting` is not here.
        self.traits = replace(self.traits, detection_options=("neighbours", "smoothing"))
        self.register_buffer("bank", torch.zeros(0))
        self.register_buffer("around", torch.zeros(0, dtype=torch.long))
        self.register_buffer("scale", torch.ones(len(self.layers), 1))

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> None:
        """Fill the memory bank (eqs. 4 and 5).

        Raises:
            InputError: no tile has brain.
        """
        generator = torch.Generator().manual_seed(self.seed)
        keys = torch.zeros(0)
        kept = torch.zeros(0, len(self.layers), self.width)
        for batch in batches:
            mask = batch.brain_mask.to(self.device)
            tokens = self._layer_tokens(batch.image.to(self.device))
            found = tokens[touching(mask, tokens.shape[1:-2])].cpu()
            # A uniform sample of all patches in one pass: those with the smallest random keys.
            new = torch.rand(len(found), generator=generator)
            if len(keys) == self.candidates:
                found, new = found[new < keys.max()], new[new < keys.max()]
            keys, kept = torch.cat((keys, new)), torch.cat((kept, found))
            if len(keys) > self.candidates:
                keys, rows = keys.topk(self.candidates, largest=False)
                kept = kept[rows]
        if not len(kept):
            raise InputError(
                "patchcore: no training tile has a voxel of brain, and the memory bank needs some: "
                "look at the brain masks"
            )
        self.scale = _spread(kept).to(self.device)
        patches = self._stacked(kept.to(self.device))
        count = min(self.bank_size, max(round(self.coreset * len(patches)), 1))
        projected = _project(patches, self.projection, generator)
        starts = torch.randperm(len(patches), generator=generator)[:_STARTS].to(self.device)
        self.bank = patches[greedy_centres(projected, starts, count)]
        _, self.around = nearest(self.bank, self.bank, min(self.reweighting, count))

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the distances of the patches to the bank, resized and smoothed."""
        tokens = self._layer_tokens(image)
        cells = touching(brain_mask, tokens.shape[1:-2])
        scores = tokens.new_zeros(cells.shape)
        scores[cells] = self._patch_scores(self._stacked(tokens[cells]))
        pixels = to_pixels(scores[:, None], cells[:, None], image.shape[2:], self.smoothing)
        return Detection(pixels, None)

    def _patch_scores(self, patches: Tensor) -> Tensor:
        """Return the scores `(N,)` of patches `(N, width)` by eqs. 6 and 7."""
        bank = self.bank.float()
        distances, rows = nearest(patches, bank, min(self.neighbours, len(bank)))
        score = distances.mean(1)
        if self.around.shape[1] < 2:
            return score
        return torch.cat(
            [
                part * weight(ours, _distances_to(bank[self.around[nearby]], those))
                for part, ours, nearby, those in zip(
                    score.split(_CHUNK),
                    distances[:, 0].split(_CHUNK),
                    rows[:, 0].split(_CHUNK),
                    patches.split(_CHUNK),
                    strict=True,
                )
            ]
        )

    def _layer_tokens(self, image: Tensor) -> Tensor:
        """Return the description of each cell in each layer, `(B, *S_p, layers, width)`."""
        found = self.first_stage.features(image, max(self.layers) + 1)
        levels = [neighbourhoods(found[i].float(), self.patch, self.width) for i in self.layers]
        grid = levels[0].shape[2:]
        return torch.stack([resized(x, grid) for x in levels], -1).movedim(1, -1)

    def _stacked(self, tokens: Tensor) -> Tensor:
        """Average layers on one scale, `(N, layers, width)` to `(N, width)`."""
        return F.adaptive_avg_pool1d((tokens / self.scale).flatten(1)[:, None], self.width)[:, 0]


def neighbourhoods(features: Tensor, patch: int, width: int) -> Tensor:
    """Average the neighbourhood of each cell to a fixed number of values (eqs. 1 to 3).

    Args:
        features: `(B, C, *S)`.
        patch: cells per side, odd; the grid is padded with zeros.
        width: numbers for each neighbourhood.

    Returns:
        `(B, width, *S)`, averages along the flattened channels and cells.
    """
    dims = features.ndim - 2
    windows = F.pad(features, (patch // 2,) * (2 * dims))
    for axis in range(2, 2 + dims):
        windows = windows.unfold(axis, patch, 1)
    flat = windows.movedim(1, 1 + dims).flatten(1 + dims)  # (B, *S, C * patch^dims)
    pooled = F.adaptive_avg_pool1d(flat.flatten(0, -2)[:, None], width)[:, 0]
    return pooled.unflatten(0, flat.shape[:-1]).movedim(-1, 1)


def greedy_centres(points: Tensor, starts: Tensor, count: int) -> Tensor:
    """Choose points that leave none far from the chosen ones (eq. 5, algorithm 1).

    Args:
        points: `(N, D)`.
        starts: rows; the first choice is the point of the largest mean distance to them.
        count: rows to choose, at most N.

    Returns:
        The rows `(count,)` in the order of choice, none twice.
    """
    squares = points.square().sum(1)

    def distance_to(row: Tensor) -> Tensor:
        products = points @ points[row]  # one pass over the points, without a copy of them
        return (squares + squares[row] - 2 * products).clamp_min(0).sqrt()

    far = torch.stack([distance_to(row) for row in starts]).mean(0)
    chosen = torch.zeros(count, dtype=torch.long, device=points.device)
    for i in range(count):
        chosen[i] = far.argmax()
        far = torch.minimum(far, distance_to(chosen[i]))
        far[chosen[i]] = -1.0  # of equal points the next one, not this one again
    return chosen


def nearest(patches: Tensor, bank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return distances and rows, both `(N, count)`, of the nearest entries, in chunks.

    Matrix products, whose rounding depends on the chunk, find a few more than `count`; differences
    then measure those. That is as exact as `torch.cdist` without products, and 9 times as fast.
    """
    squares = bank.square().sum(1)
    distances, rows = [], []
    with torch.autocast(patches.device.type, enabled=False):  # too coarse to find the nearest
        for chunk in patches.split(_CHUNK):
            rough = squares - 2 * chunk @ bank.T
            found = rough.topk(min(count + _SPARE, len(bank)), largest=False).indices
            exact = _distances_to(bank[found], chunk).topk(count, largest=False)
            distances.append(exact.values)
            rows.append(found.gather(1, exact.indices))
    return torch.cat(distances), torch.cat(rows)


def weight(distance: Tensor, around: Tensor) -> Tensor:
    """Weigh a patch by the entries around its nearest one (eq. 7).

    Args:
        distance: `(N,)` to the nearest entry m*.
        around: `(N, b)` to the entries around m*, with m* itself.

    Returns:
        `1 - exp(distance) / sum(exp(around))`, `(N,)`: larger where m* is itself alone.
    """
    return 1 - (distance - around.logsumexp(1)).exp()  # without the overflow of exp


def _distances_to(entries: Tensor, patches: Tensor) -> Tensor:
    """Return `(N, b)` from `(N, b, width)` and `(N, width)`."""
    return (entries - patches[:, None]).square().sum(-1).sqrt()


def _spread(tokens: Tensor) -> Tensor:
    """Return the standard deviation `(layers, 1)` of each layer of `(N, layers, width)`."""
    return tokens.var(0, unbiased=False).mean(1, keepdim=True).sqrt().clamp_min(_TINY)


def _project(points: Tensor, dimensions: int, generator: torch.Generator) -> Tensor:
    """Project `(N, D)` by a random matrix, which nearly keeps distances; not to more than D."""
    if dimensions >= points.shape[1]:
        return points
    matrix = torch.randn(points.shape[1], dimensions, generator=generator) / dimensions**0.5
    return points @ matrix.to(points.device)
