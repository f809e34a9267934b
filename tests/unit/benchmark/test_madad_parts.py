"""Controls of a MAD-AD model: its own parts."""

from types import SimpleNamespace

import pytest
import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL

from brainuad.benchmark import madad_parts
from brainuad.methods.autoencoder import KLAutoencoder
from brainuad.methods.madad import MADAD
from brainuad.methods.parts.residuals import signed
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.masked_unet import MaskedUNet


@pytest.fixture
def model(monkeypatch):
    """Return an untrained model, the one that every path stands for."""
    none = (False, False)
    inner = AutoencoderKL(2, 1, 1, 1, (8, 8), none, 4, 4)
    network = MaskedUNet(4, 8, 2, (1, 2), 1, 0.0, 4, none)
    method = MADAD(LatentAutoencoder(inner), network, signed)
    torch.nn.init.ones_(network.clean_head[-1].weight)
    found = SimpleNamespace(method=method)
    monkeypatch.setattr(madad_parts.Model, "load", lambda path: found)
    return found


@pytest.mark.parametrize("name", ["autoencoder", "autoencoder by pixel"])
def test_the_autoencoder_alone_is_a_method(model, name, tmp_path):
    first_stage = model.method.first_stage
    method = madad_parts.CONTROLS[name](tmp_path).method
    assert isinstance(method, KLAutoencoder)
    assert method.autoencoder is first_stage


def test_the_prototype_is_what_a_network_of_zeros_corrects(model, tmp_path):
    method = madad_parts.CONTROLS["prototype"](tmp_path).method
    clean, _ = method.network(torch.rand(1, 4, 8, 8), torch.zeros(1, dtype=torch.long))
    assert not clean.any()
