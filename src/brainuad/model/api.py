"""The Python interface: `brainuad.load(model).predict(scan)`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.model.checkpoint import load_model, weights_hash
from brainuad.model.detect import chosen_precision
from brainuad.model.detect import device as device_of
from brainuad.model.known import Known
from brainuad.model.model_file import remember_hash
from brainuad.model.prediction import Prediction
from brainuad.model.predictor import Predictor
from brainuad.model.prepared_scan import from_records
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.recipes import check
from brainuad.preparation.slices import SlicePreparation
from brainuad.preparation.subject import prepare_subject
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build
from brainuad.shipped import resolved

Image = str | Path | nib.spatialimages.SpatialImage


class Model:
    """A trained model, or several averaged, with the preparation they were trained with.

    Attributes:
        predictor: applies it to prepared scans.
        known: what its files say, and how it is applied.
        recipe: the preparation, as plain values.
        steps: the preparation's geometric steps.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.known = predictor.known
        self.recipe = self.known.recipe
        check(self.recipe)
        self.steps: Preparation | SlicePreparation = build(self.recipe["steps"], RECIPE)

    @property
    def sequence(self) -> str:
        """The sequence of its scans; several, the channels, as one name."""
        return self.known.sequence

    @property
    def card(self) -> dict[str, Any]:
        """What travels with the weights, of the first model where there are several."""
        return self.known.card

    @property
    def trained_on(self) -> list[str]:
        """Subjects that one of the models was trained on."""
        return self.known.trained_on

    def predict(self, image: Image | Sequence[Image], brain_mask: Path | None = None) -> Prediction:
        """Anomaly map, mask and findings of one raw scan, on its own grid.

        Args:
            image: a NIfTI file, a folder of one DICOM series, or an image of nibabel; a head or
                a brain, as the model's preparation takes them; of a model of slices a 2D image.
                Of a model of several channels a list, one image for each of `sequence`; the
                results lie on the first one's grid.
            brain_mask: file on the (first) scan's grid; None to find the brain.

        Raises:
            InputError: unreadable, it cannot be prepared, or another number of images than the
                model takes.
        """
        images: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
        names = self.known.sequences
        if len(images) != len(names):
            raise InputError(
                f"found {len(images)} images, the model takes {len(names)}: {', '.join(names)}; "
                "give a list of one image for each, in this order"
            )
        with tempfile.TemporaryDirectory(prefix="brainuad-") as name:
            folder = Path(name)
            raw = []
            for number, (one, sequence) in enumerate(zip(images, names, strict=True)):
                own = f"scan{number or ''}.nii.gz"
                path = Path(one) if isinstance(one, str | Path) else folder / own
                if not isinstance(one, str | Path):
                    nib.save(one, path)
                mask = None if number else brain_mask
                raw.append(RawScan("scan", sequence, path, healthy=True, brain_mask=mask))
            records, failures = prepare_subject(raw, self.steps, folder)
            if failures:
                raise InputError(failures[0][1])
            return self.predictor(from_records(records, folder, self.recipe))

    def stamp(self) -> str:
        """What, besides the scan, decides a prediction."""
        return self.known.stamp


def load(
    *models: str | Path,
    device: str = "auto",
    batch_size: int | None = None,
    samples: int | None = None,
    threshold: float | str | None = None,
    precision: str = "32-true",
    preparation: Sequence[str] = (),
    sequence: str | None = None,
) -> Model:
    """Loads a model.

    Args:
        models: a checkpoint (`model.ckpt`), a run folder or a bundle; several, folds say, are
            averaged. Or the name of a model that comes with brainuad (`brainuad.models()`), as
            `universal`; an existing path of that name wins.
        device: `auto`, `cpu`, `cuda`, ….
        batch_size: tiles at once; None for what fits the memory.
        samples: random draws a scan, of methods that draw; None for the model's own number.
        threshold: in place of the model's: a number, or `scan`, `mebin` or `fixed` (see
            docs/protocol.md#threshold-variants). Of a model that comes with brainuad `fixed` is
            the default.
        precision: `32-true`, or faster `bf16-mixed` or `16-mixed`; `auto` for `bf16-mixed`
            where the machine computes in it.
        preparation: changes of it, `preparation.steps.KEY=VALUE`; see
            `brainuad.preparation.recipes.changed`.
        sequence: of the scans, where a model that comes with brainuad is one of several.

    Raises:
        InputError: a model that cannot be read, or models that do not fit together.
    """
    if not models:
        raise InputError("no model; give a model.ckpt or a bundle")
    paths = [resolved(model, sequence) for model in models]
    detectors = [load_model(path) for path in paths]
    cards = [detector.card for detector in detectors]
    precision = chosen_precision(precision, device_of(device))
    known = Known(paths, cards, threshold, samples, precision, preparation, sequence)
    known.weights = [weights_hash(detector) for detector in detectors]
    for path, found in zip(known.paths, known.weights, strict=True):
        remember_hash(path, found)
    return Model(Predictor(detectors, known, device, batch_size))
