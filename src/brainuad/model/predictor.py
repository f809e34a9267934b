"""One trained model, or several averaged, applied to prepared scans."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.random_draws import averaged
from brainuad.metrics.severity import anomaly_score
from brainuad.model.batch_size import batch_size_for, is_out_of_memory
from brainuad.model.detect import KINDS, PRECISIONS, detect_volume, device
from brainuad.model.findings import find
from brainuad.model.known import Known
from brainuad.model.prediction import Prediction, as_bright
from brainuad.model.prepared_scan import PreparedScan
from brainuad.model.suitability import percentile_of, pooled, unsuitable
from brainuad.networks.memory_layout import fastest_layout
from brainuad.postprocess.native import native_array, native_map, native_mask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import Threshold
from brainuad.preparation.model_input import NormalisedInput, input_of, made
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.settings.build import build
from brainuad.types import Detection, Volume
from brainuad.volumes.native_space import prepared_points
from brainuad.volumes.read import read_native
from brainuad.volumes.tiling import Tiling

PLAUSIBLE_SHARE = 0.4
"""Largest share of the brain that a mask may cover without a flag; the largest infarcts and tumours
with oedema stay below."""


class Predictor:
    """Detection, post-processing and the way back to native space.

    Args:
        detectors: several are averaged.
        known: of these.
        device_name: `auto`, or what torch knows.
        batch_size: tiles at once; None for what fits the memory.

    Raises:
        InputError: an option that is out of range or that the method does not have.
    """

    def __init__(
        self,
        detectors: Sequence[AnomalyDetector],
        known: Known,
        device_name: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch size is {batch_size}; use 1 or more")
        self.known = known
        self.statistics = pooled([detector.card.get("statistics") for detector in detectors])
        for detector, path in zip(detectors, known.paths, strict=True):
            _set_up(detector, path, device(device_name), known.samples)
        self.detectors = list(detectors)
        self.tilings = [build(detector.card["tiling"], kind=Tiling) for detector in detectors]
        self.postprocess = build(known.card["postprocess"], kind=Postprocess)
        self.input = input_of(known.card["input"])
        self.batch_sizes = [batch_size] * len(self.detectors)

    def __call__(self, scan: PreparedScan) -> Prediction:
        """Everything of one scan.

        Raises:
            InputError: what the models see could not be made, or a single tile does not fit the
                memory.
        """
        clock = _Clock()
        seen = self.seen(scan)
        clock("input")
        parts = self.detect(scan, seen)
        found = averaged(parts)
        clock("detection")
        spacing = scan.image.spacing_mm
        score = self.postprocess.score(found.anomaly_map[0].numpy(), scan.brain_mask, spacing)
        single = anomaly_score(score[scan.brain_mask])
        clock("post-processing")
        native = read_native(scan.native)
        prepared = Volume(score, scan.image.affine)
        last = self.postprocess.masks_last
        carried = native_map(prepared, scan.brain_mask, scan.space, native, last)
        around = carried.brain_mask, carried.score.spacing_mm
        limit = self.known.threshold_of(self.postprocess)(carried.score.array, *around)
        mask = native_mask(carried, self.postprocess, limit)

        def back(array: np.ndarray) -> np.ndarray:
            return native_array(Volume(array, scan.image.affine), native, scan.space)

        uncertainty = None if found.uncertainty is None else back(found.uncertainty[0].numpy())
        reconstruction = None
        # Tissue classes have no brightness to go back to.
        if found.reconstruction is not None and not isinstance(self.input, TissueInput):
            as_seen = replace(scan, image=Volume(seen[0], scan.image.affine))
            reconstruction = as_bright(
                found.reconstruction[0].numpy(), as_seen, native, carried.brain_mask
            )
        clock("native space")
        members = []
        maps = list(self._members(parts))
        for array, threshold in maps if len(maps) > 1 and mask.any() else ():
            smooth = back(self.postprocess.score(array, scan.brain_mask, spacing))
            members.append((smooth, threshold(smooth, *around)))
        to_mni = None
        if scan.in_mni:
            to_mni = partial(prepared_points, way=scan.space.way)
        findings = find(mask, *carried, to_mni, uncertainty, members)
        if not scan.sides_known:
            findings["side"] = ""
        clock("findings")
        doubts = unsuitable(self.statistics, scan.image.array, scan.brain_mask, scan.measures)
        clock("suitability")
        return Prediction(
            anomaly_map=carried.inside,
            mask=mask,
            affine=native.affine,
            findings=findings,
            score=single,
            percentile=percentile_of(self.statistics, single),
            threshold=limit,
            reconstruction=reconstruction,
            uncertainty=uncertainty,
            flags=(
                *_no_threshold(limit),
                *_too_large(mask, carried.brain_mask),
                *self.known.doubts,
                *doubts,
                *scan.flags,
            ),
            raw=_raw(found, scan, None if self.input is None else seen[0]),
            native=scan.native,
            seconds={"preparation": scan.seconds, **clock.seconds},
            notes=scan.notes,
        )

    def seen(self, scan: PreparedScan) -> np.ndarray:
        """What the models see of a scan, `(C, D, H, W)`, 0 outside the brain.

        The same function makes it for training, `brainuad.preparation.model_input.made`.

        Raises:
            InputError: it could not be made.
        """
        image = scan.image.array
        if self.input is None:
            return np.stack([image, *scan.others]) if scan.others else image[None]
        if isinstance(self.input, NormalisedInput) and scan.files:
            channels = [made(self.input, *files).array for files in scan.files]
            return np.stack([np.where(scan.brain_mask, one, np.float32(0)) for one in channels])
        try:
            return self.input.of(image, scan.brain_mask, scan.image.spacing_mm)[None]
        except ValueError as error:
            kind = "tissue map" if isinstance(self.input, TissueInput) else "input"
            raise InputError(f"{scan.native}: no {kind} ({error}); look at it") from None

    def detect(self, scan: PreparedScan, seen: np.ndarray) -> list[Detection]:
        """What each model says on the prepared grid, `(C, D, H, W)` on the CPU.

        Args:
            scan: prepared.
            seen: what the models see of it.
        """
        given = torch.from_numpy(seen), torch.from_numpy(scan.brain_mask)[None]
        found = []
        half = PRECISIONS[self.known.precision]
        for index, detector in enumerate(self.detectors):
            with torch.autocast(detector.device.type, half, enabled=half is not None):
                found.append(self._fitting(index, *given, scan))
        return found

    def _fitting(
        self, index: int, image: torch.Tensor, brain_mask: torch.Tensor, scan: PreparedScan
    ) -> Detection:
        """`detect_volume` in batches that fit; half as large after each failure, for good."""
        detector, tiling = self.detectors[index], self.tilings[index]
        size = self.batch_sizes[index] or batch_size_for(detector, tiling, image, brain_mask)
        while True:
            self.batch_sizes[index] = size
            try:
                affine = scan.image.affine
                return detect_volume(detector, tiling, image, brain_mask, size, affine)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if size == 1:
                raise InputError(
                    f"{scan.native}: out of memory with one tile at a time; use --device cpu"
                )
            size //= 2
            if detector.device.type == "cuda":
                torch.cuda.empty_cache()

    def _members(self, parts: Sequence[Detection]) -> Iterator[tuple[np.ndarray, Threshold]]:
        """Raw map and threshold of each draw of each model."""
        own = self.known.member_thresholds(self.postprocess)
        for part, threshold in zip(parts, own, strict=True):
            for array in (part.anomaly_map if part.draws is None else part.draws).numpy():
                yield array, threshold


def _no_threshold(limit: float) -> tuple[str, ...]:
    """A flag where a scan has none."""
    if not np.isnan(limit):
        return ()
    return ("too many of its scores are alike for a threshold on its own scale: nothing is marked",)


def _too_large(mask: np.ndarray, brain_mask: np.ndarray) -> tuple[str, ...]:
    """A flag where more of the brain is marked than a lesion takes."""
    share = float(mask.sum() / max(int(brain_mask.sum()), 1))
    if share <= PLAUSIBLE_SHARE:
        return ()
    return (f"{share:.0%} of the brain is marked: the threshold or the model does not fit it",)


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now


def _set_up(detector: AnomalyDetector, path: Path, place: str, samples: int | None) -> None:
    if samples is not None:
        if not detector.traits.samples:
            raise InputError(
                f"{path}: {type(detector).__name__} draws nothing; leave --samples out"
            )
        if samples < 2:
            raise InputError(f"samples is {samples}; a standard deviation takes two or more")
        setattr(detector, "n_samples", samples)  # noqa: B010  (a module's type says tensors)
    detector.keeps_draws = True
    detector.to(place)
    fastest_layout(detector, place)


def _raw(found: Detection, scan: PreparedScan, seen: np.ndarray | None) -> dict[str, Volume]:
    """The maps on the prepared grid, and what the models saw where that is not the scan itself."""
    parts = (found.anomaly_map, found.reconstruction, found.uncertainty)
    arrays = [None if part is None else part[0].numpy() for part in parts]
    return {
        kind: Volume(array, scan.image.affine)
        for kind, array in zip(KINDS, [*arrays, seen], strict=False)
        if array is not None
    }
