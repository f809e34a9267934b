import pytest
import torch

from brainuad.methods.parts.elbo_gradient import elbo_gradient
from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder

A, B, WEIGHT = 0.5, 3.0, 0.2


def encode(x):
    """mu = A x and sigma = 1: KL = (A x)^2 / 2."""
    return A * x, torch.zeros_like(x)


def decode(z):
    return B * z


def test_by_hand():
    image = torch.tensor([0.2, -0.4]).reshape(1, 1, 1, 2)
    with torch.no_grad():
        kl = elbo_gradient(encode, decode, image, WEIGHT, "kl")
        both = elbo_gradient(encode, decode, image, WEIGHT, "elbo")
    expected = WEIGHT * A**2 * image.abs()
    torch.testing.assert_close(kl, expected)
    # 1/2 (A B x - x)^2 has the gradient (A B - 1)^2 x.
    torch.testing.assert_close(both, expected + (A * B - 1) ** 2 * image.abs())
    assert not both.requires_grad


def detector(**options):
    torch.manual_seed(0)
    return StRegA(ContextVAE((16, 32), 1, (4, 8), 6), signed, **options)


def batch():
    image = torch.rand(3, 1, 16, 32, generator=torch.Generator().manual_seed(1))
    return image, torch.ones(3, 1, 16, 32, dtype=torch.bool)


def test_the_objectives_weights_as_sums():
    image, brain_mask = batch()
    method = detector(gradient="elbo", kl_weight=0.03, reconstruction_weight=2.0)
    found = method.anomaly_map(image, brain_mask)
    x = image.clone().requires_grad_()
    mu, log_sigma = method.network.encode(x)
    kl = 0.5 * (mu**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma)
    error = 0.5 * (method.network.decode(mu) - x) ** 2
    # Per image, 6 latent dimensions and 512 pixels: 0.03 mean KL + 2 mean error, times 512 / 2.
    (0.03 * 512 / 2 * kl.sum() / 6 + error.sum()).backward()
    torch.testing.assert_close(found, x.grad.abs())


def test_an_image_does_not_depend_on_the_others_and_no_weight_gets_a_gradient():
    image, brain_mask = batch()
    method = detector(gradient="kl")
    whole = method.anomaly_map(image, brain_mask)
    torch.testing.assert_close(method.anomaly_map(image[1:2], brain_mask[1:2]), whole[1:2])
    assert whole.max() > 0
    assert all(parameter.grad is None for parameter in method.parameters())


def test_times_the_residual():
    image, brain_mask = batch()
    slope = detector(gradient="kl").detect(image, brain_mask)
    found = detector(gradient="kl", times_residual=True).detect(image, brain_mask)
    residual = detector().detect(image, brain_mask)
    torch.testing.assert_close(found.anomaly_map, slope.anomaly_map * residual.anomaly_map)
    torch.testing.assert_close(found.reconstruction, residual.reconstruction)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="gradient is 'z'"):
        detector(gradient="z")
    with pytest.raises(ValueError, match="n_samples=0"):
        detector(gradient="kl", n_samples=2)
    plain = UnifiedAutoencoder((16, 32), 1, (4, 8), 6, variational=False)
    with pytest.raises(ValueError, match="variational"):
        StRegA(plain, signed, gradient="kl")
