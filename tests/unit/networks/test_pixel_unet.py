"""The diffusion U-Net by squares of pixels."""

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet, DiffusionUNetResnetBlock
from torch.nn import functional

from brainuad.networks.pixel_unet import PixelUNet, ScaleShiftBlock


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


def normalised(x, groups, weight, bias, eps):
    """Group normalisation, channel by channel."""
    found = torch.empty_like(x)
    size = x.shape[1] // groups
    for sample in range(len(x)):
        for channel in range(x.shape[1]):
            first = channel // size * size
            group = x[sample, first : first + size]
            value = (x[sample, channel] - group.mean()) / (group.var(correction=0) + eps).sqrt()
            found[sample, channel] = weight[channel] * value + bias[channel]
    return found


@pytest.mark.parametrize("way", ["up", "down", "same"])
def test_a_block_scales_and_shifts_by_its_formula(way):
    torch.manual_seed(0)
    monais = DiffusionUNetResnetBlock(
        2, 4, 6, None if way != "same" else 8, way == "up", way == "down", norm_num_groups=2
    )
    block = ScaleShiftBlock(monais).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    w = {name: value.detach() for name, value in block.named_parameters()}
    x, emb = torch.randn(3, 4, 4, 6).double(), torch.randn(3, 6).double()

    def resampled(x):
        if way == "up":
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        corners = [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return sum(corners) / 4 if way == "down" else x

    def silu(x):
        return x / (1 + (-x).exp())

    def convolved(x, name):
        return functional.conv2d(
            x, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding="same"
        )

    h = silu(normalised(x, 2, w["norm1.weight"], w["norm1.bias"], 1e-6))
    h = normalised(convolved(resampled(h), "conv1"), 2, w["norm2.weight"], w["norm2.bias"], 1e-6)
    both = silu(emb) @ w["time_emb_proj.weight"].T + w["time_emb_proj.bias"]
    count = h.shape[1]
    h = h * (1 + both[:, :count, None, None]) + both[:, count:, None, None]
    skip = resampled(x)
    if way == "same":
        skip = convolved(skip, "skip_connection")
    expected = skip + convolved(silu(h), "conv2")
    torch.testing.assert_close(block(x, emb), expected)


def test_the_timestep_scales_in_every_block():
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        *(2, 1, 1, 1, (8, 16), (False, True)), norm_num_groups=4, num_head_channels=8
    )
    blocks = sum(isinstance(m, DiffusionUNetResnetBlock) for m in network.modules())
    found = PixelUNet(network, scale_shift=True)
    assert sum(isinstance(m, ScaleShiftBlock) for m in found.modules()) == blocks
    assert not any(isinstance(m, DiffusionUNetResnetBlock) for m in found.modules())
    assert found(torch.rand(2, 1, 8, 12), torch.tensor([3, 700])).shape == (2, 1, 8, 12)
