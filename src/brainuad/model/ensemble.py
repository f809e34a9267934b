"""Several models whose maps are averaged: folds of a cross-validation, or different methods."""

from dataclasses import dataclass

from brainuad.model.card import Card
from brainuad.model.known import Known
from brainuad.model.model import Model
from brainuad.model.predict import predict_prepared, predict_raw, sequence_of


@dataclass(frozen=True)
class Ensemble:
    """Models whose maps are averaged.

    Attributes:
        models: models that agree in sequence, preparation and post-processing.
        known: cards of the models, with the choices of threshold and preparation.
    """

    models: tuple[Model, ...]
    known: Known

    sequence = property(sequence_of)
    predict = predict_raw
    predict_prepared = predict_prepared

    @property
    def card(self) -> Card:
        """The card of the first model."""
        return self.known.card
