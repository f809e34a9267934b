"""The denoising U-Net: its parts against slow references, its sizes against the released code."""

import pytest
import torch
from torch.nn import functional

from brainuad.networks.denoising_unet import (
    DenoisingUNet,
    groups_of,
    halve,
    reflect,
    standardise,
)


def test_weights_are_standardised_filter_by_filter():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
    found = standardise(weight)
    for one, before in zip(found, weight, strict=True):
        values = before.flatten().tolist()
        mean = sum(values) / 27
        deviation = (sum((v - mean) ** 2 for v in values) / 26) ** 0.5
        expected = [(v - mean) / (deviation + 1e-5) for v in values]
        assert one.flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 8, 12, 16, 24, 64, 128, 256, 512])
def test_groups_are_the_middle_divisor_as_in_the_released_code(channels):
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    assert groups_of(channels) == divisors[len(divisors) // 2]


def test_two_levels_by_hand():
    torch.manual_seed(0)
    network = DenoisingUNet(1, (4, 8))
    image = torch.rand(2, 1, 6, 8)

    def block(x, layers):
        for convolution, norm in ((layers[0], layers[2]), (layers[3], layers[5])):
            x = functional.pad(x, (1, 1, 1, 1), mode="reflect")
            x = functional.conv2d(x, standardise(convolution.weight), convolution.bias)
            x = functional.group_norm(x * x.sigmoid(), norm.num_groups, norm.weight, norm.bias)
        return x

    skip = block(image, network.down[0])
    low = block(functional.avg_pool2d(skip, 2), network.down[1])
    high = block(torch.cat([network.enlarge[0](low), skip], 1), network.up[0])
    torch.testing.assert_close(network(image), network.last(high))


def test_the_published_size_has_the_released_codes_parameters():
    with torch.device("meta"):
        network = DenoisingUNet(4, (64, 128, 256, 512))
    convolutions = [(4, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    convolutions += [(512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64)]
    convolutions += [(64, 64)]
    expected = sum(9 * a * b + b + 2 * b for a, b in convolutions)
    expected += sum(4 * a * b + b for a, b in ((512, 256), (256, 128), (128, 64)))
    expected += 64 * 4 + 4
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("size", [(24, 32), (23, 29), (12, 9, 16)])
def test_every_size_comes_back_as_it_was(size):
    network = DenoisingUNet(2, (4, 8, 8), spatial_dims=len(size))
    assert network(torch.rand(1, 2, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("size", [(4, 6), (4, 6, 8)])
def test_borders_and_means_are_torchs(size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reflect(x), functional.pad(x, (1, 1) * len(size), mode="reflect"))
    pool = functional.avg_pool2d if len(size) == 2 else functional.avg_pool3d
    torch.testing.assert_close(halve(x), pool(x, 2))
