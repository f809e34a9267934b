"""The diffusion U-Net by squares of pixels."""

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch.nn import functional

from brainuad.networks.pixel_unet import PixelUNet


def build(patch, channels=1):
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        2,
        channels * patch**2,
        channels * patch**2,
        num_res_blocks=1,
        channels=(8, 8),
        attention_levels=(False, False),
        norm_num_groups=4,
    )
    # Its last layer starts at zero.
    torch.nn.init.normal_(network.out[-1].conv.weight)
    return PixelUNet(network, patch).eval()


def test_without_squares_it_is_monais():
    network = build(1)
    x, t = torch.rand(2, 1, 8, 12), torch.tensor([3, 700])
    assert torch.equal(network(x, t), network.network(x, t))


def test_squares_of_pixels_are_channels():
    network = build(2, channels=2)
    x, t = torch.rand(2, 2, 8, 12), torch.tensor([3, 700])
    squares = torch.stack(
        [x[:, c, i::2, j::2] for c in (0, 1) for i in (0, 1) for j in (0, 1)], dim=1
    )
    found = network(x, t)
    expected = network.network.network(squares, t)
    torch.testing.assert_close(functional.pixel_unshuffle(found, 2), expected)


@pytest.mark.parametrize("size", [(8, 12), (9, 13), (10, 11)])
def test_every_size_comes_back_as_it_was(size):
    assert build(2)(torch.rand(1, 1, *size), torch.tensor([5])).shape == (1, 1, *size)
