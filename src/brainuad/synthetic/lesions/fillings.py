"""Fillings of synthetic lesions: another image, another intensity, another texture."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from brainuad.synthetic.grids import draw_places, drawn, kth_smallest, pixel_grid, sampled
from brainuad.synthetic.lesions.contract import Painted, blend, uniform
from brainuad.synthetic.lesions.shapes import Shape
from brainuad.synthetic.noise.coarse import coarse_noise
from brainuad.types import Batch


@dataclass(frozen=True)
class ForeignPatch:
    """Foreign patch interpolation, FPI: Tan et al. 2020, arXiv 2011.04197, `patch_ex` of its code.

    Inside the shape h, x' = (1 - a) x + a y with y the same place of another image and the factor
    a drawn for each sample; the share is a. Where x = y it is 0, as in the authors' code, so a
    batch of one, whose donor is itself, stays healthy.

    Args:
        shape: theirs is `CentralBoxes()`.
        factor: a, uniform between the two; theirs.
    """

    shape: Shape
    factor: tuple[float, float] = (0.05, 0.95)

    def __call__(
        self,
        image: Tensor,
        brain_mask: Tensor,
        generator: torch.Generator | None = None,
        donors: Batch | None = None,
    ) -> Painted:
        """See `contract`; with `donors`, y is of the sample in the same place among them."""
        share = self.shape(brain_mask, generator).float()
        share = share * uniform(*self.factor, image, generator)
        donor = image.roll(1, 0) if donors is None else donors.image
        return blend(image, donor, share * (donor != image).any(1, keepdim=True))


@dataclass(frozen=True)
class IntensityShift:
    """Brighter or darker tissue: x' = x + share * (contrast - (1 - k) * (x - mean)).

    With k = 1 its texture is kept, folds and all; with k = 0 it becomes one even value.

    Args:
        shape: shape, best with a soft border.
        contrast: its size, uniform between the two, as a share of the range of the sample's brain
            (2nd to 98th percentile).
        bright: probability that it is brighter, not darker.
        texture: k, the part of the texture that is kept, uniform between the two; `mean` is the
            share-weighted one over the lesion.
    """

    shape: Shape
    contrast: tuple[float, float] = (0.15, 0.5)
    bright: float = 0.5
    texture: tuple[float, float] = (1.0, 1.0)

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`."""
        share = self.shape(brain_mask, generator).float()
        shift = draw_shift(image, brain_mask, self.contrast, self.bright, generator)
        if tuple(self.texture) == (1.0, 1.0):
            return blend(image, image + shift, share)
        kept = uniform(*self.texture, image, generator)
        mean = _weighted_mean(image, share)
        return blend(image, torch.lerp(mean, image, kept) + shift, share)


@dataclass(frozen=True)
class TextureSwap:
    """Tissue from elsewhere, with the mean or the histogram of what it replaces.

    So that intensity does not give the lesion away: what is wrong is the texture. The code of
    DISYRE v2 (Naval Marimont et al. 2024, arXiv 2407.06635) can match the mean of its foreign
    textures (`normalize_fp`). The tissue comes from a random place of the sample before it in the
    batch; a batch of one gives its own. Where that place has no brain nothing is painted.

    Args:
        shape: shape, best with a soft border.
        match: `mean`: the share-weighted mean over the lesion stays, unless values leave [0, 1];
            `histogram`: the very values that were there, in the order of the texture's.
        scale: scale of the texture, uniform between the two; above 1 enlarges.
    """

    shape: Shape
    match: Literal["mean", "histogram"] = "mean"
    scale: tuple[float, float] = (1.0, 1.0)

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`.

        Raises:
            ValueError: unknown `match`.
        """
        share = self.shape(brain_mask, generator).float()
        texture, tissue = from_elsewhere(image, brain_mask, share, self.scale, generator)
        share = share * tissue
        if self.match == "histogram":
            inside = (share > 0).expand_as(image)
            old = image.masked_fill(~inside, torch.inf).flatten(2).sort(2).values
            rank = texture.masked_fill(~inside, torch.inf).flatten(2).argsort(2).argsort(2)
            matched = old.gather(2, rank).reshape(image.shape)
        elif self.match == "mean":
            matched = texture + _weighted_mean(image - texture, share)
        else:
            raise ValueError(f"match is '{self.match}'; use mean or histogram")
        return blend(image, torch.where(share > 0, matched, image), share)


@dataclass(frozen=True)
class CoarseNoise:
    """The denoising autoencoder's noise: blobs all over the brain (see `coarse_noise`).

    The share is the size of the noise, 1 at three standard deviations of its grid's nodes.

    Args:
        cells: number of cells of the grid along every axis.
        sigma: standard deviation of the nodes, of intensities in [0, 1].
    """

    cells: int = 16
    sigma: float = 0.2

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`."""
        noise = coarse_noise(image, brain_mask, self.cells, self.sigma, generator)
        share = (noise.abs().amax(1, keepdim=True) / (3 * self.sigma)).clamp(0, 1)
        noised = (image + noise).clamp(0, 1)
        return Painted(torch.where(share > 0, noised, image), share)


def draw_shift(
    image: Tensor,
    brain_mask: Tensor,
    contrast: tuple[float, float],
    bright: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A signed change of intensity for each sample, `(B, C, 1, ...)`; see `IntensityShift`."""
    size = uniform(*contrast, image, generator)
    brighter = uniform(0, 1, image, generator) < bright
    flat = image.flatten(2).masked_fill(~brain_mask.flatten(2), torch.inf).flatten(0, 1)
    last = (brain_mask.flatten(1).sum(1) - 1).clamp_min(0).repeat_interleave(image.shape[1])
    low, high = (
        kth_smallest(flat, (last * part).round().long() + 1).reshape(*image.shape[:2], 1)
        for part in (0.02, 0.98)
    )
    # An empty brain has no range, and nothing is painted into it.
    reach = torch.where(brain_mask.flatten(1).any(1)[:, None, None], high - low, 0)
    return torch.where(brighter, size, -size) * reach.reshape(*reach.shape[:2], *size.shape[2:])


def from_elsewhere(
    image: Tensor,
    brain_mask: Tensor,
    share: Tensor,
    scale: tuple[float, float],
    generator: torch.Generator | None = None,
    donors: Batch | None = None,
) -> tuple[Tensor, Tensor]:
    """Return a random part of the donor's brain, laid over each sample's lesion.

    Args:
        image: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        share: `(B, 1, *S)`, of the lesion.
        scale: scale of the donor's part, uniform between the two; 1 copies pixels.
        generator: None for the global one.
        donors: one for each sample; None takes the sample before it.

    Returns:
        `(B, C, *S)`, and where it is brain, `(B, 1, *S)` bool.
    """
    size = image.shape[2:]
    donor, tissue = donors or (image.roll(1, 0), brain_mask.roll(1, 0))
    place = draw_places(tissue, drawn(torch.rand, (len(image), 1), image, generator))[:, 0]
    zoom = uniform(*scale, image, generator).reshape(-1, 1, 1)
    grid = pixel_grid(image).reshape(-1, len(size))
    weight = share.flatten(1)
    with torch.autocast(image.device.type, enabled=False):
        centre = (weight @ grid / weight.sum(1, keepdim=True).clamp_min(1e-6)).round()
    position = (grid - centre[:, None]) / zoom + place[:, None]
    position = position.reshape(len(image), *size, len(size))
    laid = sampled(donor.float(), position).to(image.dtype)
    brain = sampled(tissue.float(), position, "nearest")
    return laid, brain > 0.5


def _weighted_mean(values: Tensor, share: Tensor) -> Tensor:
    """The mean of `(B, C, *S)` weighted by `(B, 1, *S)`, `(B, C, 1, ...)`."""
    weight = share.flatten(2).sum(2).clamp_min(1e-6)
    mean = (values * share).flatten(2).sum(2) / weight
    return mean.reshape(*mean.shape, *[1] * (values.ndim - 2))
