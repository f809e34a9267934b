"""Prototypes of healthy brains: for each position, the mean of the most similar training images.

Ours, beside the published AutoPaint. A convolutional network has no information about its place in
the brain, and a few dozen subjects are too few to learn the content of a hidden region. Here
k-means groups the healthy training images by similarity (registered slices mostly by their level),
and the mean of each group is a prototype. An image is matched by its visible pixels, so a slice
needs neither an index nor an affine. Scans that share a world are resampled to one grid before they
are cut; others keep their own frame.
"""

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn import functional

from brainuad.diffusion.process import Network
from brainuad.errors import InputError
from brainuad.methods.parts.grid_buffers import GridBuffers

_POOLS: dict[int, Callable[..., Tensor]] = {
    4: functional.adaptive_avg_pool2d,
    5: functional.adaptive_avg_pool3d,
}


class HealthyPrototypes(GridBuffers):
    """Means of groups of similar healthy images.

    Args:
        count: number of groups, if there are enough images.
        least: smallest mean number of images per group, so that few images make fewer groups.
        side: side of the pooled images that are grouped, in cells along each axis.
        most: largest number of images; of more, every second, every fourth, … is used. They are
            held in memory in half precision.

    Raises:
        ValueError: an argument is below 1.
    """

    sized_by_data = ("images",)
    images: Tensor

    def __init__(self, count: int = 64, least: int = 20, side: int = 24, most: int = 8192) -> None:
        super().__init__()
        if min(count, least, side, most) < 1:
            raise ValueError(
                f"count is {count}, least {least}, side {side}, most {most}; use 1 or more"
            )
        self.count = count
        self.least = least
        self.side = side
        self.most = most
        # Their size is that of the training images, see `GridBuffers`.
        self.register_buffer("images", torch.zeros(0))

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Group the training images `(B, C, *S)`; the same images give the same groups."""
        kept: list[Tensor] = []
        stride = 1
        for number, image in enumerate(image for batch in batches for image in batch):
            if number % stride:
                continue
            kept.append(image.half().cpu())
            if len(kept) > self.most:
                kept, stride = kept[::2], 2 * stride
        images = torch.stack(kept)
        pool, side = _POOLS[images.ndim], (self.side,) * (images.ndim - 2)
        small = [pool(part.float(), side).flatten(1) for part in images.split(256)]
        points = torch.cat(small).double().numpy()
        # Spread over the order of scans, because neighbours are similar.
        count = max(1, min(self.count, len(points) // self.least))
        first = np.linspace(0, len(points) - 1, count).round().astype(int)
        with warnings.catch_warnings():
            # A group without images is dropped.
            warnings.simplefilter("ignore", UserWarning)
            groups = kmeans2(points, points[first], iter=20, minit="matrix")[1]
        means = [images[groups == group].float().mean(0) for group in np.unique(groups)]
        self.images = torch.stack(means).to(self.images.device)

    def nearest(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return the prototype `(B, C, *S)` of least squared distance to each image's valid pixels.

        Args:
            image: `(B, C, *S)`.
            valid: `(B, 1, *S)` bool; values elsewhere do not matter.

        Raises:
            InputError: the images are of another size, or nothing was measured yet.
        """
        if image.shape[1:] != self.images.shape[1:]:
            given, own = (" x ".join(map(str, s[2:])) for s in (image.shape, self.images.shape))
            raise InputError(
                f"slices of {given} pixels for prototypes of {own or 'none yet'}; cut the scan as "
                "the training scans were (data.slice_size)"
            )
        seen = torch.where(valid, image, 0).float()
        prototypes = self.images.flatten(1)
        # |x - p|^2 over the valid pixels, without x^2, which is the same for all.
        where = valid.expand_as(image).flatten(1).to(prototypes.dtype)
        # A small difference of large sums, which half precision would change.
        with torch.autocast(image.device.type, enabled=False):
            distance = where @ prototypes.square().T - 2 * seen.flatten(1) @ prototypes.T
        return self.images[distance.argmin(1)]


def check_hints(taken: int, given: int) -> None:
    """Refuse a network that does not take the given hints.

    Args:
        taken: channels of hints that the network takes.
        given: channels of a prototype, 0 without prototypes.

    Raises:
        ValueError: they differ.
    """
    if taken != given:
        raise ValueError(
            f"the network takes {taken} channels of hints, of prototypes there are {given}; set "
            f"model.network.hints={given}"
        )


def correcting(network: Network, hint: Tensor) -> Network:
    """Return a network that sees `hint (B, C, h, w)` beside its latent and predicts the difference.

    Args:
        network: network of twice the channels, the hint behind the latent.
        hint: latent that it corrects, such as the nearest prototype.
    """

    def corrected(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        correction, mask = network(torch.cat([x_t, hint], dim=1), t)
        return hint + correction, mask

    return corrected
