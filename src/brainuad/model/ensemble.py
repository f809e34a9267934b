"""Several models whose maps are averaged: folds of a cross-validation, or different methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainuad.model.card import Card
from brainuad.model.known import Known
from brainuad.model.model import Model
from brainuad.model.predict import Image, predict_prepared, predict_raw
from brainuad.model.prediction import Prediction
from brainuad.model.prepared_scan import PreparedScan


@dataclass(frozen=True)
class Ensemble:
    """Models whose maps are averaged.

    Attributes:
        models: they agree in sequence, preparation and post-processing.
        known: their cards, with the choices of threshold and preparation.
    """

    models: tuple[Model, ...]
    known: Known

    @property
    def card(self) -> Card:
        """The card of the first model."""
        return self.known.card

    @property
    def sequence(self) -> str:
        """The sequence of the scans; several, the channels, as one name."""
        return self.known.sequence

    def predict(self, image: Image | Sequence[Image], brain_mask: Path | None = None) -> Prediction:
        """Return anomaly map, mask and findings of one raw scan; see `Model.predict`."""
        return predict_raw(self.models, self.known, image, brain_mask)

    def predict_prepared(self, scan: PreparedScan) -> Prediction:
        """Return the same of a prepared scan."""
        return predict_prepared(self.models, self.known, scan)
