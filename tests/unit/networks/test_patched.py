"""Squares of pixels as channels, and one value a square interpolated between their centres."""

import pytest
import torch
from torch import nn

from brainuad.networks.patched import Patched


class Mean(nn.Module):
    """The mean of a square, as the network that says one value of it."""

    def forward(self, image):
        return image.mean(1, keepdim=True)


@pytest.mark.parametrize("size", [(8, 12), (8, 4, 12)])
def test_what_a_network_leaves_alone_comes_out_as_it_went_in(size):
    image = torch.randn(2, 3, *size)
    assert torch.equal(Patched(nn.Identity())(image), image)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_slope_through_the_centres_is_the_slope_between_them(patch):
    """Means of squares lie on a linear ramp at their centres; beyond the last centre it is flat."""
    ramp = torch.arange(16.0).expand(1, 1, 8, 16)
    found = Patched(Mean(), patch, smooth=True)(ramp)
    edge = (patch - 1) / 2
    torch.testing.assert_close(found, ramp.clamp(edge, 15 - edge))


def test_volumes_too():
    ramp = torch.arange(8.0)[:, None, None].expand(1, 1, 8, 4, 6)
    found = Patched(Mean(), 2, smooth=True)(ramp)
    torch.testing.assert_close(found, ramp.clamp(0.5, 6.5))
