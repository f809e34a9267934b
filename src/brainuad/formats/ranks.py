"""`IntensityDetector` as a function of tensors."""

import torch
from torch import Tensor, nn

from brainuad.methods.intensity import IntensityDetector
from brainuad.types import Detection


class RankGraph(nn.Module):
    """The score of one image: its brightness, or the rank of it within the brain.

    Args:
        method: the method.
    """

    def __init__(self, method: IntensityDetector) -> None:
        super().__init__()
        self.equalise = method.equalise

    def forward(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """`(1, C, *S)` and `(1, 1, *S)`, as `IntensityDetector.score`."""
        if self.equalise:
            channels = [_ranked(channel, brain_mask) for channel in image.split(1, 1)]
            image = torch.cat(channels, 1)
        return Detection(image.mean(1, keepdim=True), None)


def _ranked(channel: Tensor, brain_mask: Tensor) -> Tensor:
    """Return the share of the brain that is not brighter, `(1, 1, *S)`."""
    # The background is brighter than all, so that it counts for no voxel of the brain.
    values = torch.where(brain_mask, channel, torch.inf).flatten()
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).index_select(0, places.flatten())
    share = ranks.float() / brain_mask.sum().clamp_min(1)
    return torch.where(brain_mask, share.reshape(channel.shape), 0.0)
