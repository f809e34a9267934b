"""FPI's network, against the graph that its code makes, computed step by step in NumPy."""

import numpy as np
import torch

from brainuad.networks.wide_residual import WideBlock, WideResidualAutoencoder


def test_it_has_the_released_number_of_parameters():
    network = WideResidualAutoencoder()
    trained = sum(parameter.numel() for parameter in network.parameters())
    moving = sum(buffer.numel() for name, buffer in network.named_buffers() if "running" in name)
    assert trained == 4_164_763
    assert trained + moving == 4_169_469


def _convolved(x, kernel, stride):
    """Keras's "same" convolution of `(C, H, W)`: as much padding as it takes, more of it behind."""
    out, _, width, _ = kernel.shape
    sides = [-(-side // stride) for side in x.shape[1:]]
    wanted = [max((n - 1) * stride + width - s, 0) for n, s in zip(sides, x.shape[1:], strict=True)]
    padded = np.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in wanted)])
    found = np.zeros((out, *sides))
    for row in range(sides[0]):
        for column in range(sides[1]):
            top, left = row * stride, column * stride
            seen = padded[:, top : top + width, left : left + width]
            found[:, row, column] = (kernel * seen).sum((1, 2, 3))
    return found


def _normalised(x, layer):
    """At rest, with Keras's epsilon."""
    mean, variance, gain, shift = (
        part.detach().double().numpy()[:, None, None]
        for part in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * gain + shift


def _enlarged(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _released_block(x, block, stride, up):
    """`_wide_basic`, line by line."""
    kernels = [block.convolution_1, block.convolution_2, block.shortcut]
    first, second, short = (k and k.weight.detach().double().numpy() for k in kernels)
    before, after = first.shape[1], first.shape[0]
    active = np.maximum(_normalised(x, block.normalise_1), 0)
    if before != after:
        x = active
    convolved = _convolved(active, first, 1 if up else stride)
    if up:
        convolved = _enlarged(convolved)
    convolved = np.maximum(_normalised(convolved, block.normalise_2), 0)
    convolved = _convolved(convolved, second, 1)
    if before != after:
        passed = _convolved(x, short, 1 if up else stride)
        passed = _enlarged(passed) if up else passed
    elif up:
        passed = _enlarged(x)
    else:
        rows, columns = x.shape[1] // stride, x.shape[2] // stride
        passed = x.reshape(before, rows, stride, columns, stride).mean((2, 4))
    return convolved + passed


def test_its_answers_are_those_of_the_released_graph():
    torch.manual_seed(0)
    network = WideResidualAutoencoder(channels=2, width=1).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        image = torch.rand(1, 2, 32, 16)
        found = network(image)[0].numpy()
    x = _convolved(image[0].double().numpy(), network.first.weight.detach().double().numpy(), 1)
    for block, stride in zip(network.down, (1, 2, 2, 2, 2), strict=True):
        x = _released_block(x, block, stride, up=False)
    assert x.shape == (64, 2, 1)
    for block in network.up:
        x = _released_block(x, block, 2, up=True)
    np.testing.assert_allclose(found, x, atol=1e-5)


def test_a_side_that_sixteen_does_not_divide_is_padded():
    network = WideResidualAutoencoder(width=1).eval()
    image = torch.rand(2, 1, 20, 33)
    padded = torch.zeros(2, 1, 32, 48)
    padded[..., :20, :33] = image
    with torch.no_grad():
        assert torch.equal(network(image), network(padded)[..., :20, :33])


def test_its_first_weights_have_keras_spread():
    torch.manual_seed(0)
    weight = WideBlock(64, 256).convolution_1.weight
    std = (2 / (64 * 9)) ** 0.5
    assert abs(weight.std().item() / std - 1) < 0.01
    assert weight.abs().max() <= 2 * std / 0.8796 + 1e-6
    assert WideBlock(4, 4).convolution_1.bias is None
