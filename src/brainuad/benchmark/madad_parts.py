"""Controls of a MAD-AD model with prototypes, made of its own parts."""

from pathlib import Path

from torch import nn

from brainuad.methods.autoencoder import KLAutoencoder
from brainuad.methods.madad import MADAD
from brainuad.methods.parts.residuals import signed
from brainuad.model.model import Model


def first_stage(checkpoint: Path) -> Model:
    """Return the autoencoder as a method by its own error, in the model's residual."""
    model = Model.load(checkpoint)
    assert isinstance(model.method, MADAD)
    model.method = KLAutoencoder(model.method.first_stage, model.method.residual)
    return model


def by_pixel(checkpoint: Path) -> Model:
    """Return the autoencoder as a method by its error in each pixel, not averaged."""
    model = Model.load(checkpoint)
    assert isinstance(model.method, MADAD)
    model.method = KLAutoencoder(model.method.first_stage, signed)
    return model


def prototype(checkpoint: Path) -> Model:
    """Return the model with a network that leaves the prototype as it is."""
    model = Model.load(checkpoint)
    assert isinstance(model.method, MADAD)
    for parameter in model.method.network.clean_head[-1].parameters():
        nn.init.zeros_(parameter)
    return model


CONTROLS = {"autoencoder": first_stage, "autoencoder by pixel": by_pixel, "prototype": prototype}
"""Controls by the names in the tables."""
