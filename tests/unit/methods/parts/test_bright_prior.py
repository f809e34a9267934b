"""What is too dark in a scan scores nothing."""

import numpy as np
import pytest
import torch

from brainuad.methods.parts.bright_prior import keep_bright
from brainuad.methods.parts.residuals import signed
from brainuad.methods.vae import VAE
from brainuad.model.detect import detect_volume
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.types import Detection
from brainuad.volumes.tiling import SliceTiling


def test_by_hand():
    """Of 0, 0.1, ..., 1 the 0.9 quantile is 0.9."""
    image = torch.arange(11.0).reshape(1, 1, 1, 11) / 10
    ones = torch.ones_like(image)
    found = keep_bright(Detection(ones, image, 2 * ones, 3 * ones), image, 0.9)
    for part, value in ((found.anomaly_map, 1), (found.uncertainty, 2), (found.draws, 3)):
        assert part.flatten().tolist() == [0.0] * 9 + [value] * 2
    assert torch.equal(found.reconstruction, image)


def test_of_several_channels_the_mean_counts():
    image = torch.tensor([[0.0, 1.0, 0.6], [0.0, 0.0, 0.6]]).reshape(2, 1, 1, 3)
    found = keep_bright(Detection(torch.ones(1, 1, 1, 3), None), image, 0.9)
    assert found.anomaly_map.flatten().tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("quantile", [None, 0.9])
def test_the_quantile_is_of_the_whole_scan_not_of_a_slice(quantile):
    """As `utils/Evaluation.py:205`, :282-289 of the released code, the background included."""
    torch.manual_seed(0)
    network = UnifiedAutoencoder((16, 16), 1, (8, 8), 4)
    detector = VAE(network, signed, bright_quantile=quantile, n_samples=2)
    brain_mask = torch.zeros(1, 16, 16, 8, dtype=torch.bool)
    brain_mask[:, 3:13, 3:13, 1:7] = True
    # Slices become brighter from the bottom to the top.
    image = torch.rand(1, 16, 16, 8) * torch.linspace(0.3, 1, 8) * brain_mask
    found = detect_volume(detector, SliceTiling("axial", (16, 16)), image, brain_mask)
    plain = VAE(network, signed, n_samples=2)
    expected = detect_volume(plain, SliceTiling("axial", (16, 16)), image, brain_mask)
    dark = image.numpy() < np.quantile(image.numpy(), quantile or 0.0)
    for name in ("anomaly_map", "uncertainty"):
        score = getattr(expected, name).numpy().copy()
        score[dark] = 0
        assert np.array_equal(getattr(found, name).numpy(), score)
    assert torch.equal(found.reconstruction, expected.reconstruction)
    # The darkest slice with brain has nothing that is bright in this scan.
    assert (quantile is None) == bool(found.anomaly_map[..., 1].any())
