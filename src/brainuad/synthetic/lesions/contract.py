"""Contract of a corruption: a callable `(image, brain_mask, generator=None) -> Painted`.

Images are `(B, C, *S)` in [0, 1], slices and volumes alike; masks `(B, 1, *S)` bool. Draws are
made for a whole batch on its device; the same generator gives the same ones. The donor of what
comes from another image is the sample before it in the batch (the last one of the first).
`ForeignPatch` and `PoissonImage` can be called with other donors.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from brainuad.synthetic.grids import drawn


class Painted(NamedTuple):
    """A corrupted batch.

    Attributes:
        image: `(B, C, *S)` in [0, 1], bit for bit the input's where `share` is 0, unless small
            changes are left out of the share (`PoissonImage.tolerance`).
        share: `(B, 1, *S)` float in [0, 1], how far each pixel was moved towards the anomaly; 0
            outside the brain, unless the shape is not cut to it (`CentralBoxes`).
        severity: `(B,)` in [0, 1], where the corruption knows how severe each sample's anomaly is
            by more than its pixels; None for the largest change of a pixel.
        kind: `(B,)` long, number of the corruption of a mixture that each sample met, -1 for none;
            None where there is one kind.
    """

    image: Tensor
    share: Tensor
    severity: Tensor | None = None
    kind: Tensor | None = None


Corruption: TypeAlias = Callable[..., Painted]


def blend(image: Tensor, anomaly: Tensor, share: Tensor) -> Painted:
    """The share of the way from the image `(B, C, *S)` to the anomaly of the same shape."""
    mixed = torch.lerp(image, anomaly.to(image.dtype), share.to(image.dtype)).clamp(0, 1)
    return Painted(torch.where(share > 0, mixed, image), share)


def severity_of(painted: Painted, image: Tensor) -> Tensor:
    """Return the severity of each sample's anomaly, `(B,)`; see `Painted`. `image` is healthy."""
    if painted.severity is not None:
        return painted.severity
    return (painted.image - image).abs().flatten(1).amax(1)


def outline(share: Tensor) -> Tensor:
    """Return the region of each sample's anomaly: at least half of its largest share.

    Args:
        share: `(B, 1, *S)`, of `Painted`.

    Returns:
        `(B, 1, *S)` bool.
    """
    most = share.flatten(1).amax(1).reshape(-1, *[1] * (share.ndim - 1))
    return (share > 0) & (share >= 0.5 * most)


def uniform(
    low: float, high: float, image: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """A draw a sample, `(B, 1, ...)` with as many axes as the image."""
    draw = drawn(torch.rand, (len(image),), image, generator)
    return (low + (high - low) * draw).reshape(-1, *[1] * (image.ndim - 1))
