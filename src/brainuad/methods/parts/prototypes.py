"""Prototypes of healthy brains: for each position, the mean of the most similar training images.

Ours, beside the published AutoPaint: a network of convolutions does not know where in the brain it
is, and from a few dozen subjects it does not learn what a hole's place should hold. Here k-means
sorts the healthy training images by their looks (of registered slices: mostly by their level), and
the mean of each group is a prototype. An image finds its own by what is seen of it, so that neither
an index nor an affine has to travel with a slice. Scans that share a world are laid on one grid
before they are cut; of others, each slice counts as it lies in its frame.
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
    """Means of groups of healthy images that look alike.

    Args:
        count: groups, where there are as many images.
        least: images that a group has on average, so that of few images there are fewer groups.
        side: side of the pooled images that are grouped, in cells along each axis.
        most: largest number of images; of more, every second, every fourth, … is taken. They are
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
        """Groups the training images `(B, C, *S)`; the same ones give the same groups."""
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
        # Spread over the scans' order, in which neighbours are alike.
        count = max(1, min(self.count, len(points) // self.least))
        first = np.linspace(0, len(points) - 1, count).round().astype(int)
        with warnings.catch_warnings():
            # A group that loses all of its images is no prototype, and no loss.
            warnings.simplefilter("ignore", UserWarning)
            groups = kmeans2(points, points[first], iter=20, minit="matrix")[1]
        means = [images[groups == group].float().mean(0) for group in np.unique(groups)]
        self.images = torch.stack(means).to(self.images.device)

    def nearest(self, image: Tensor, valid: Tensor) -> Tensor:
        """The prototype `(B, C, *S)` of least squared distance to what is seen of each image.

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
        # |x - p|^2 over the valid pixels, without the x^2 that is the same for all.
        where = valid.expand_as(image).flatten(1).to(prototypes.dtype)
        # A small difference of large sums, which half precision would decide otherwise.
        with torch.autocast(image.device.type, enabled=False):
            distance = where @ prototypes.square().T - 2 * seen.flatten(1) @ prototypes.T
        return self.images[distance.argmin(1)]


def check_hints(taken: int, given: int) -> None:
    """Refuses a network that does not take the hints there are.

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
    """A network that sees `hint (B, C, h, w)` beside its latent and predicts the difference to it.

    Args:
        network: network of twice the channels, the hint behind the latent.
        hint: what it corrects, such as the nearest prototype.
    """

    def corrected(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        correction, mask = network(torch.cat([x_t, hint], dim=1), t)
        return hint + correction, mask

    return corrected
