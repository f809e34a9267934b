import pytest
import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL

from brainuad.networks.latent_autoencoder import LatentAutoencoder, measure_scale


def _autoencoder(levels=3, patch=1):
    torch.manual_seed(0)
    channels, none = (8,) * levels, (False,) * levels
    pixels = patch**2
    network = AutoencoderKL(2, pixels, pixels, 1, channels, none, 4, 4)
    return LatentAutoencoder(network, patch)


@pytest.mark.parametrize(
    ("levels", "patch", "factor"), [(3, 1, 4), (4, 1, 8), (2, 2, 4), (3, 2, 8)]
)
def test_downsampling_by_levels_and_patches(levels, patch, factor):
    autoencoder = _autoencoder(levels, patch)
    mean, std = autoencoder.encode(torch.rand(2, 1, 32, 48))
    assert autoencoder.downsampling == factor
    assert mean.shape == std.shape == (2, 4, 32 // factor, 48 // factor)
    assert autoencoder.decode(mean).shape == (2, 1, 32, 48)


def test_images_are_in_minus_one_to_one_inside():
    autoencoder, image = _autoencoder(), torch.rand(1, 1, 16, 16)
    mean, std = autoencoder.network.encode(2 * image - 1)
    torch.testing.assert_close(autoencoder.encode(image), (mean, std))
    torch.testing.assert_close(autoencoder.decode(mean), (autoencoder.network.decode(mean) + 1) / 2)


def test_sampled_latents_have_unit_deviation_at_the_measured_scale():
    autoencoder, images = _autoencoder(), [torch.rand(8, 1, 16, 16) for _ in range(4)]
    scale = measure_scale(autoencoder.eval(), images)
    mean, std = autoencoder.encode(torch.cat(images))
    samples = [mean + std * torch.randn_like(std) for _ in range(50)]
    assert torch.cat(samples).std().item() == pytest.approx(1, abs=0.01)
    assert autoencoder.scale.item() == scale
    # The scale changes the latent, not the image.
    before = autoencoder.decode(mean)
    autoencoder.scale.mul_(2)
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(torch.cat(images))[0]), before)
