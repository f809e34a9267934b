"""The network of Baur et al. against the released layers, counted and computed by hand."""

import pytest
import torch
from torch import nn

from brainuad.networks.unified_autoencoder import RestingNorm, UnifiedAutoencoder

RELEASED = {"up_features": (128, 64, 32, 32), "norm": "rest", "glorot": True, "dropout": 0.2}


def small(**options):
    torch.manual_seed(0)
    return UnifiedAutoencoder((16, 32), 1, (8, 16), 6, **options)


def layer(before, after, kernel):
    """A convolution with its offset, and the scale and shift behind it."""
    return before * after * kernel**2 + after + 2 * after


@pytest.mark.parametrize(("variational", "count"), [(True, 1_758_449), (False, 1_627_249)])
def test_the_released_network_has_the_released_number_of_parameters(variational, count):
    """The counts of the released code, and each layer of `models/customlayers.py` added up."""
    with torch.device("meta"):
        network = UnifiedAutoencoder(variational=variational, **RELEASED)
    assert sum(p.numel() for p in network.parameters()) == count
    down = [(1, 32), (32, 64), (64, 128), (128, 128)]
    up = [(128, 128), (128, 64), (64, 32), (32, 32)]
    dense = (2 if variational else 1) * (1024 * 128 + 128) + 128 * 1024 + 1024
    narrow = 128 * 16 + 16 + layer(16, 128, 1)
    assert sum(layer(*pair, 5) for pair in down + up) + narrow + dense + 32 + 1 == count


@pytest.mark.parametrize(("variational", "count"), [(True, 2_141_905), (False, 2_010_705)])
def test_the_network_of_older_checkpoints_is_still_there(variational, count):
    with torch.device("meta"):
        network = UnifiedAutoencoder(variational=variational)
    assert sum(p.numel() for p in network.parameters()) == count
    assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_at_rest_batch_normalisation_is_a_scale_and_a_shift():
    norm = RestingNorm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    image = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    expected = torch.tensor([2 * 3 / 1.001**0.5 + 0.5, -4 / 1.001**0.5])
    torch.testing.assert_close(norm(image).flatten(), expected)
    torch.testing.assert_close(norm.eval()(image).flatten(), expected)


def test_at_rest_an_image_knows_nothing_of_the_others_in_its_batch():
    images = torch.rand(3, 1, 16, 32, generator=torch.Generator().manual_seed(1))
    resting, working = small(norm="rest", dropout=0.0), small(dropout=0.0)
    torch.testing.assert_close(resting.train()(images)[:1], resting.eval()(images[:1]))
    assert not torch.allclose(working.train()(images)[:1], working(images[:1]), atol=1e-3)


def test_initial_weights_after_glorot():
    """Uniform up to sqrt(6 / (inputs + outputs)), a window's pixels each an input or output."""
    network = UnifiedAutoencoder(**RELEASED)
    encode, narrow = network.encoder[3], network.encoder[12]
    double = network.decoder[6]
    for module, inputs, outputs in (
        (encode, 32 * 25, 64 * 25),
        (narrow, 128, 16),
        (double, 128 * 25, 128 * 25),
        # Two dense layers of 128 in the released code, for mu and for log sigma.
        (network.to_latent, 1024, 128),
    ):
        bound = (6 / (inputs + outputs)) ** 0.5
        assert 0.95 * bound < module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not module.bias.any()


def test_what_is_dropped():
    image, z = torch.rand(2, 1, 16, 32), torch.rand(2, 6)
    twice = small(norm="rest", dropout=0.5).train()
    once = small(norm="rest", dropout=0.5, decoder_dropout=False, variational=False).train()
    assert not torch.equal(twice.decode(z), twice.decode(z))
    assert torch.equal(once.decode(z), once.decode(z))
    codes = [once.encode(image)[0] for _ in range(20)]
    assert 0.3 < (torch.stack(codes) == 0).float().mean() < 0.7
    assert torch.equal(once.eval().encode(image)[0], once.encode(image)[0])


def test_shapes():
    network = UnifiedAutoencoder(**RELEASED).eval()
    image = torch.rand(2, 1, 128, 128)
    assert network.encoder(image).shape == (2, 16 * 8 * 8)
    mu, log_sigma = network.encode(image)
    assert mu.shape == log_sigma.shape == (2, 128)
    assert network(image).shape == image.shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": (120, 128)}, "multiples of 16"),
        ({"features": (8, 12)}, "multiple of 8"),
        ({"up_features": (8, 8)}, "4 features and 2 up_features"),
        ({"norm": "layer"}, "norm is 'layer'; use one of batch, rest"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        UnifiedAutoencoder(**options)
