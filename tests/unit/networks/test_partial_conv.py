import pytest
import torch
from torch import nn
from torch.nn import functional

from brainuad.networks.partial_conv import PartialConv, join

CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}


def _layer(dims, stride=1, kernel=3, channels=2, out=3):
    torch.manual_seed(0)
    layer = PartialConv(dims, channels, out, kernel, stride)
    nn.init.normal_(layer.bias)
    return layer


def _image(dims, channels=2, side=9):
    return torch.randn(2, channels, *[side] * dims, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_is_a_convolution_where_all_is_valid(dims, stride, kernel):
    layer, image = _layer(dims, stride, kernel), _image(dims)
    found, valid = layer(image, torch.ones_like(image[:, :1]))
    plain = CONVOLVE[dims](image, layer.conv.weight, layer.bias.flatten(), stride, kernel // 2)
    rim = -(-(kernel // 2) // stride)
    inner = (slice(None), slice(None), *[slice(rim, -rim)] * dims)
    torch.testing.assert_close(found[inner], plain[inner])
    assert (valid == 1).all()


def test_beyond_the_border_nothing_is_valid():
    layer = PartialConv(2, 1, 1)
    nn.init.ones_(layer.conv.weight)
    found, _ = layer(torch.full((1, 1, 4, 4), 2.0), torch.ones(1, 1, 4, 4))
    # Nine times the mean of what is there, not nine times less for the zeros around it.
    torch.testing.assert_close(found, torch.full((1, 1, 4, 4), 18.0))


def test_renormalises_by_the_share_of_valid_pixels():
    layer = PartialConv(2, 1, 1)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3))
        layer.bias.fill_(10.0)
    image, valid = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    # Seen from the middle: weight 0 on 3, weight 5 on 7, and weight 8 on a pixel in the hole.
    image[0, 0, 1, 1], image[0, 0, 2, 3], image[0, 0, 3, 3] = 3.0, 7.0, 100.0
    valid[0, 0, 1, 1] = valid[0, 0, 2, 3] = 1
    found, after = layer(image, valid)
    assert found[0, 0, 2, 2].item() == pytest.approx((0 * 3 + 5 * 7) * 9 / 2 + 10)
    assert found[0, 0, 4, 0].item() == 0
    assert after[0, 0].tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("dims", [2, 3])
def test_does_not_see_into_the_hole(dims):
    layer, image = _layer(dims), _image(dims)
    valid = (_image(dims, 1, 9) > 0).float()
    expected = layer(image, valid)[0]
    for garbage in (1e6, -3.0, torch.finfo(torch.float32).max):
        found = layer(torch.where(valid > 0, image, torch.tensor(garbage)), valid)[0]
        assert torch.equal(found, expected)


def test_joined_images_keep_their_own_validity():
    layer = PartialConv(2, 3, 1)
    nn.init.ones_(layer.conv.weight)
    first, second = torch.full((1, 1, 3, 3), 2.0), torch.full((1, 2, 3, 3), 5.0)
    valid, other = torch.ones(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    other[..., 1] = 1
    both, share = join(first, valid, second * other, other)
    torch.testing.assert_close(share[0, 0, 0], torch.tensor([1 / 3, 1, 1 / 3]))
    found, _ = layer(both, share)
    # From the middle: 9 values of 2 and 6 of 5, of 27.
    assert found[0, 0, 1, 1].item() == pytest.approx((9 * 2 + 6 * 5) * 27 / 15)


# Of sizes above and below what the transposed kernel is worth its making for, even and odd.
@pytest.mark.parametrize(("dims", "side"), [(2, 8), (2, 24), (2, 35), (3, 6), (3, 8), (3, 9)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_over_doubled_is_doubling_joining_and_convolving(dims, side, kernel):
    layer, half = _layer(dims, kernel=kernel, channels=5).double(), -(-side // 2)
    below, skip = _image(dims, 3, half).double(), _image(dims, 2, side).double()
    valid, other = (_image(dims, 1, half) > 0).double(), (_image(dims, 1, side) > 0).double()
    parts = (below * valid, valid, skip * other, other)
    doubled = [functional.interpolate(part, skip.shape[2:]) for part in parts[:2]]
    for found, expected in zip(
        layer.over_doubled(*parts), layer(*join(*doubled, *parts[2:])), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_gradients_over_doubled_are_exact():
    layer = _layer(2, channels=2).double()
    below, skip = _image(2, 1, 12).double(), _image(2, 1, 24).double()
    valid, other = torch.ones(2, 1, 12, 12).double(), torch.ones(2, 1, 24, 24).double()

    given = [below.requires_grad_(), skip.requires_grad_(), layer.conv.weight, layer.bias]
    # What is given is moved in place, the layer's own weights among it.
    assert torch.autograd.gradcheck(
        lambda *_: layer.over_doubled(below, valid, skip, other)[0], given
    )


def test_gradients_are_exact_and_none_reaches_the_hole():
    layer = _layer(2).double()
    image = _image(2, side=5).double().requires_grad_()
    valid = (_image(2, 1, 5) > 0).double()
    assert torch.autograd.gradcheck(lambda x: layer(x, valid)[0], [image])
    layer(image, valid)[0].sum().backward()
    assert (image.grad[(valid == 0).expand_as(image)] == 0).all()


def test_compiles_to_the_same():
    layer, image = _layer(2), _image(2)
    valid = (_image(2, 1) > 0).float()
    # Without code generation, which needs a C++ compiler: the graph must be captured in one piece.
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for found, expected in zip(compiled(image, valid), layer(image, valid), strict=True):
        torch.testing.assert_close(found, expected)


def _as_nvidia(image, mask, weight, bias, stride):
    """NVIDIA's `models/partialconv2d.py`, with a mask of one channel."""
    ones, padding = torch.ones(1, 1, *weight.shape[2:]), weight.shape[2] // 2
    count = functional.conv2d(mask, ones, None, stride, padding)
    ratio = ones.numel() / (count + 1e-8)
    updated = count.clamp(0, 1)
    raw = functional.conv2d(image * mask, weight, bias, stride, padding)
    offset = bias.reshape(1, -1, 1, 1)
    return ((raw - offset) * ratio * updated + offset) * updated, updated


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (5, 2), (3, 1)])
def test_is_nvidias(kernel, stride):
    layer, image = _layer(2, stride, kernel), _image(2, side=24)
    mask = (torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(2)) > 0.9).float()
    mask[..., 8:, 8:] = 0
    found, valid = layer(image, mask)
    weight, bias = layer.conv.weight, layer.bias.flatten()
    expected, updated = _as_nvidia(image, mask, weight, bias, stride)
    assert 0 < updated.mean() < 1
    assert torch.equal(valid, updated)
    torch.testing.assert_close(found, expected)
