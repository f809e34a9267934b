"""Prediction of a scan: map, mask, findings and reasons to doubt."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.map_folder import KINDS
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.methods.parts.random_draws import averaged
from brainuad.metrics.severity import anomaly_score
from brainuad.model.card import Card
from brainuad.model.findings import find
from brainuad.model.known import Known
from brainuad.model.prediction import Prediction, as_bright
from brainuad.model.prepared_scan import PreparedScan, from_records
from brainuad.model.suitability import percentile_of, pooled, unsuitable
from brainuad.postprocess.native import native_array, native_map, native_mask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import Threshold
from brainuad.preparation.model_input import ModelInput, NormalisedInput, made
from brainuad.preparation.subject import prepare_subject
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.types import Detection, Volume
from brainuad.volumes.native_space import prepared_points
from brainuad.volumes.read import read_native

Image = str | Path | nib.spatialimages.SpatialImage

PLAUSIBLE_SHARE = 0.4
"""Largest share of the brain that a mask may cover without a flag; the largest infarcts and tumours
with oedema stay below."""


class Detecting(Protocol):
    """Members of a model that predictions use."""

    @property
    def card(self) -> Card:
        """Configuration and cohort of the training."""

    @property
    def view(self) -> ModelInput | None:
        """Input of the method; None for the cohort's intensities."""

    @property
    def postprocess(self) -> Postprocess:
        """The post-processing of a raw map to a score and a mask."""

    def detect(self, image: Tensor, brain_mask: Tensor, affine: np.ndarray) -> Detection:
        """Return the maps of a prepared scan, given as input of the method."""


class Predicting(Protocol):
    """A model, or several that are averaged."""

    @property
    def models(self) -> Sequence[Detecting]:
        """The models; they agree in the post-processing."""

    @property
    def known(self) -> Known:
        """Cards of the models, and the choices of threshold and preparation."""


def sequence_of(model: Predicting) -> str:
    """Return the sequence of the scans; of several channels one name."""
    return model.known.sequence


def predict_raw(
    model: Predicting,
    image: Image | Sequence[Image],
    brain_mask: Path | None = None,
) -> Prediction:
    """Prepare one raw scan as the training scans were, and return what is found in it.

    Args:
        model: the model, or several that are averaged.
        image: NIfTI file, folder of one DICOM series, or image of nibabel; a head or a brain, as
            the model's preparation takes them; of a model of slices a 2D image. Of a model of
            several channels a list, one image for each of `known.sequences`; the results lie on
            the first one's grid.
        brain_mask: file on the (first) scan's grid; None to find the brain.

    Raises:
        InputError: unreadable, it cannot be prepared, or another number of images than the model
            takes.
    """
    known = model.known
    images: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
    names = known.sequences
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
        records, failures = prepare_subject(raw, known.steps, folder)
        if failures:
            raise InputError(failures[0][1])
        return predict_prepared(model, from_records(records, folder, known.recipe))


def predict_prepared(model: Predicting, scan: PreparedScan) -> Prediction:
    """Return what is found in one prepared scan.

    Args:
        model: the model, or several that are averaged. Maps of models of several kinds are first
            divided by their own thresholds (`Known.scales`).
        scan: scan prepared as the training scans were.

    Raises:
        InputError: the input of the method could not be made, or a single tile does not fit the
            memory.
    """
    models, known = model.models, model.known
    clock = _Clock()
    postprocess = models[0].postprocess
    statistics = pooled([one.card.training_statistics for one in models])
    view = models[0].view
    if known.scales is None:
        seen = [seen_by(view, scan)] * len(models)
    else:
        seen = [seen_by(one.view, scan) for one in models]
        # Healthy maps of several kinds have no common distribution.
        statistics = statistics and replace(statistics, scores=())
    clock("input")
    parts = _detected(models, known, scan, seen)
    found = averaged(parts)
    clock("detection")
    spacing = scan.image.spacing_mm
    score = postprocess.score(found.anomaly_map[0].numpy(), scan.brain_mask, spacing)
    single = anomaly_score(score[scan.brain_mask])
    clock("post-processing")
    native = read_native(scan.native)
    prepared = Volume(score, scan.image.affine)
    carried = native_map(prepared, scan.brain_mask, scan.space, native, postprocess.masks_last)
    around = carried.brain_mask, carried.score.spacing_mm
    limit = known.threshold_of(postprocess)(carried.score.array, *around)
    mask = native_mask(carried, postprocess, limit)

    def back(array: np.ndarray) -> np.ndarray:
        return native_array(Volume(array, scan.image.affine), native, scan.space)

    uncertainty = None if found.uncertainty is None else back(found.uncertainty[0].numpy())
    reconstruction = None
    # Tissue classes have no brightness to return to.
    if found.reconstruction is not None and not isinstance(view, TissueInput):
        as_seen = replace(scan, image=Volume(seen[0][0], scan.image.affine))
        healthy = found.reconstruction[0].numpy()
        reconstruction = as_bright(healthy, as_seen, native, carried.brain_mask)
    clock("native space")
    members = []
    maps = list(_members(parts, known.member_thresholds(postprocess)))
    for array, threshold in maps if len(maps) > 1 and mask.any() else ():
        smooth = back(postprocess.score(array, scan.brain_mask, spacing))
        members.append((smooth, threshold(smooth, *around)))
    to_mni = partial(prepared_points, way=scan.space.way) if scan.in_mni else None
    findings = find(mask, *carried, to_mni, uncertainty, members, native.array)
    if not scan.sides_known:
        findings["side"] = ""
    clock("findings")
    doubts = unsuitable(statistics, scan.image.array, scan.brain_mask, scan.measures)
    clock("suitability")
    return Prediction(
        anomaly_map=carried.inside,
        mask=mask,
        brain=carried.brain_mask,
        affine=native.affine,
        findings=findings,
        score=single,
        percentile=percentile_of(statistics, single),
        threshold=limit,
        reconstruction=reconstruction,
        uncertainty=uncertainty,
        flags=(
            *_no_threshold(limit),
            *_too_large(mask, carried.brain_mask),
            *known.doubts,
            *doubts,
            *scan.flags,
        ),
        raw=_raw(found, scan, None if view is None else seen[0][0]),
        native=scan.native,
        seconds={"preparation": scan.seconds, **clock.seconds},
        notes=scan.notes,
        image=native.array,
        sides_known=scan.sides_known,
    )


def seen_by(view: ModelInput | None, scan: PreparedScan) -> np.ndarray:
    """Return the input of a method, `(C, D, H, W)`, 0 outside the brain.

    Training uses the same functions.

    Raises:
        InputError: it could not be made.
    """
    image = scan.image.array
    if view is None:
        return np.stack([image, *scan.others]) if scan.others else image[None]
    if isinstance(view, NormalisedInput) and scan.files:
        channels = [made(view, *files).array for files in scan.files]
        return np.stack([np.where(scan.brain_mask, one, np.float32(0)) for one in channels])
    try:
        return view.of(image, scan.brain_mask, scan.image.spacing_mm)[None]
    except ValueError as error:
        kind = "tissue map" if isinstance(view, TissueInput) else "input"
        raise InputError(f"{scan.native}: no {kind} ({error}); look at it") from None


def _detected(
    models: Sequence[Detecting], known: Known, scan: PreparedScan, seen: Sequence[np.ndarray]
) -> list[Detection]:
    """Return the maps of each model on the prepared grid, `(C, D, H, W)` on the CPU."""
    brain_mask = torch.from_numpy(scan.brain_mask)[None]
    try:
        parts = [
            model.detect(torch.from_numpy(image), brain_mask, scan.image.affine)
            for model, image in zip(models, seen, strict=True)
        ]
    except InputError as error:
        raise InputError(f"{scan.native}: {error}") from None
    if known.scales is None:
        return parts
    return [standardised(part, scale) for part, scale in zip(parts, known.scales, strict=True)]


def standardised(found: Detection, scale: float) -> Detection:
    """Return maps divided by a model's own threshold, without its reconstruction.

    Models of several kinds see different inputs, whose reconstructions have no mean.
    """

    def by_scale(part: Tensor | None) -> Tensor | None:
        return None if part is None else part / scale

    uncertainty, draws = by_scale(found.uncertainty), by_scale(found.draws)
    return Detection(found.anomaly_map / scale, None, uncertainty, draws)


def _members(
    parts: Sequence[Detection], thresholds: Sequence[Threshold]
) -> Iterator[tuple[np.ndarray, Threshold]]:
    """Yield raw map and threshold of each draw of each model."""
    for part, threshold in zip(parts, thresholds, strict=True):
        for array in (part.anomaly_map if part.draws is None else part.draws).numpy():
            yield array, threshold


def _no_threshold(limit: float) -> tuple[str, ...]:
    """Return a flag where a scan has no threshold."""
    if not np.isnan(limit):
        return ()
    return ("Use another threshold: nothing is marked (too many scores of the scan are equal)",)


def _too_large(mask: np.ndarray, brain_mask: np.ndarray) -> tuple[str, ...]:
    """Return a flag where the marked share of the brain is larger than `PLAUSIBLE_SHARE`."""
    share = float(mask.sum() / max(int(brain_mask.sum()), 1))
    if share <= PLAUSIBLE_SHARE:
        return ()
    return (f"Check whether model and threshold fit the scan ({share:.0%} of the brain is marked)",)


class _Clock:
    """Stopwatch: seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now


def _raw(found: Detection, scan: PreparedScan, seen: np.ndarray | None) -> dict[str, Volume]:
    """Return the maps on the prepared grid, and the models' input where it is not the scan."""
    parts = (found.anomaly_map, found.reconstruction, found.uncertainty)
    arrays = [None if part is None else part[0].numpy() for part in parts]
    return {
        kind: Volume(array, scan.image.affine)
        for kind, array in zip(KINDS, [*arrays, seen], strict=False)
        if array is not None
    }
