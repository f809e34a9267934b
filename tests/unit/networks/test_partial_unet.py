import pytest
import torch

from brainuad.networks.partial_unet import PartialUNet


def _network(dims=2):
    torch.manual_seed(0)
    return PartialUNet(1, (4, 8, 8), (5, 3, 3), dims).eval()


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 40)), (2, (23, 30)), (3, (16, 20, 13))])
def test_comes_back_to_the_size_it_was_given(dims, size):
    image = torch.rand(2, 1, *size)
    found = _network(dims)(image, torch.rand(2, 1, *size) > 0.3)
    assert found.shape == image.shape
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("training", [False, True])
def test_does_not_see_into_the_hole(training):
    network = _network().train(training)
    image = torch.rand(2, 1, 32, 32)
    valid = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    valid[:, :, 8:20, 8:24] = False
    expected = network(image, valid)
    assert torch.equal(network(torch.where(valid, image, 1e6), valid), expected)
    assert not torch.equal(network(torch.where(valid, image + 0.1, image), valid), expected)


def test_closes_holes_as_large_as_the_brain():
    network = PartialUNet(1, (4, 8, 8, 8), (3, 3, 3, 3)).eval()
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[:, :, 8:56, 8:56] = False
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    # Every value is positive, so that 0 would be a pixel that nothing reached.
    assert (network(torch.ones(1, 1, 64, 64), valid) > 0).all()


@pytest.mark.slow
def test_compiles_to_the_same():
    network, image = _network(), torch.rand(2, 1, 64, 48)
    valid = torch.rand(2, 1, 64, 48) > 0.3
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image, valid), network(image, valid))


def test_one_kernel_a_halving():
    with pytest.raises(ValueError, match="3 features and 2 kernels"):
        PartialUNet(1, (4, 8, 8), (3, 3))


def test_the_network_of_liu_et_al_has_eight_halvings():
    """Layer by layer as in their appendix (and PriorNet's libs/unet_model.py:269-297)."""
    features, kernels = (64, 128, 256, *[512] * 5), (7, 5, 5, *[3] * 5)
    with torch.device("meta"):
        network = PartialUNet(1, features, kernels)
    down = [(1, 64, 7), (64, 128, 5), (128, 256, 5), (256, 512, 3), *[(512, 512, 3)] * 4]
    up = [*[(1024, 512, 3)] * 4, (768, 256, 3), (384, 128, 3), (192, 64, 3), (65, 1, 3)]
    weights = sum(before * after * kernel**2 for before, after, kernel in down + up)
    # A scale and a shift a map but in the first and the last layer, which have an offset.
    others = sum(2 * after for _, after, _ in [*down[1:], *up[:-1]]) + 64 + 1
    assert sum(p.numel() for p in network.parameters()) == weights + others
    image = torch.rand(1, 1, 256, 256, device="meta")
    for conv in network.down:
        image = conv.conv(image)
    assert image.shape == (1, 512, 1, 1)


def test_a_single_image_that_is_halved_to_a_pixel_is_normalised_by_what_was_seen_before():
    torch.manual_seed(0)
    network = PartialUNet(1, (4, 8, 8), (3, 3, 3)).train()
    image, valid = torch.rand(2, 1, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    network(image, valid)
    bottom = network.down_norms[2]
    before = bottom.running_mean.clone()
    found = network(image[:1], valid[:1])
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.equal(bottom.running_mean, before)
    assert bottom.weight.grad is not None


@pytest.mark.parametrize("training", [False, True])
def test_with_a_mirror_image_and_a_hint_it_does_not_see_into_the_hole_either(training):
    torch.manual_seed(0)
    network = PartialUNet(
        1, (4, 8, 8), (3, 3, 3), hints=1, mirror=True, full_resolution=True
    ).train(training)
    image, hint = torch.rand(2, 2, 1, 31, 32)
    valid = torch.ones(2, 1, 31, 32, dtype=torch.bool)
    # Across the middle, so that both halves of it hide the same of each other.
    valid[:, :, 8:20, 8:24] = False
    expected = network(image, valid, hint)
    assert expected.shape == image.shape
    assert torch.equal(network(torch.where(valid, image, 1e6), valid, hint), expected)
    assert not torch.equal(network(image, valid, hint + 0.1), expected)


def test_a_mirror_image_shows_what_is_opposite_of_the_hole():
    """A single layer of one pixel: in the hole it has nothing but the mirror image."""
    network = PartialUNet(1, (1,), (1,), mirror=True, full_resolution=True)
    image = torch.rand(1, 1, 8, 6)
    valid = torch.ones(1, 1, 8, 6, dtype=torch.bool)
    valid[..., 1, 2] = False
    with torch.no_grad():
        for conv in (network.down[0].conv, network.up[0].conv):
            conv.weight.zero_()
        # The way up copies the mirror image from the skip: features first, then the two images.
        network.up[0].conv.weight[0, 2, 1, 1] = 1
    found = network(torch.where(valid, image, 1e6), valid)
    ratio = found[0, 0, 1, 2] / image[0, 0, 6, 2]
    assert ratio > 0.9
    torch.testing.assert_close(found[0, 0, 4, 2], image[0, 0, 3, 2])


def test_full_resolution_halves_once_less():
    found = [
        sum(conv.conv.stride == (2, 2) for conv in PartialUNet(1, (4, 8), (3, 3), **options).down)
        for options in ({}, {"full_resolution": True})
    ]
    assert found == [2, 1]
