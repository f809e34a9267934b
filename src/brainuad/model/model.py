"""A trained method with everything that turns a prepared scan into an anomaly map."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainuad import __version__
from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.places import from_plain
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import atomic_path
from brainuad.machine.fingerprint import hash_weights
from brainuad.machine.limits import is_out_of_memory
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.model.batch_size import batch_size_for
from brainuad.model.built import built_method
from brainuad.model.bundle import is_bundle, named_file, read_bundle
from brainuad.model.card import Card
from brainuad.model.card_schema import FORMAT
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.detect import detect_volume
from brainuad.model.device import PRECISIONS
from brainuad.model.known import Known
from brainuad.model.predict import predict_prepared, predict_raw, sequence_of
from brainuad.model.runtime import Runtime
from brainuad.networks.memory_layout import fastest_layout
from brainuad.postprocess.pipeline import Postprocess
from brainuad.preparation.model_input import ModelInput, as_input, input_of
from brainuad.settings.build import build
from brainuad.settings.upgraded import upgraded_weights
from brainuad.types import Detection
from brainuad.volumes.header import read_header
from brainuad.volumes.tiling import Tiling

RELATIVE = "relative."
"""Prefix of the weights of what scores are relative to."""


class Model:
    """A trained method with everything that turns a prepared scan into an anomaly map.

    Attributes:
        method: scores tiles.
        card: configuration and cohort; saved with the weights.
        tiling: cuts a volume into tiles, and joins them.
        view: input of the method; None for the cohort's intensities.
        relative: scores of healthy brains that scores are relative to; None for absolute scores.
        runtime: device, precision and memory.
        path: file of the model; empty for a model of this process.
    """

    path = Path()
    sequence = property(sequence_of)
    predict = predict_raw
    predict_prepared = predict_prepared

    def __init__(
        self,
        method: AnomalyDetector,
        card: Card | None,
        tiling: Tiling,
        view: ModelInput | None = None,
        relative: RelativeToHealthy | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.method = method
        self.card = card or Card({}, {}, {}, "", None)
        self.tiling = tiling
        self.view = view
        self.relative = relative
        self.runtime = runtime or Runtime()

    @classmethod
    def load(cls, path: Path, runtime: Runtime | None = None) -> "Model":
        """Build what a card describes, and fill in its weights.

        Args:
            path: checkpoint, run folder that holds one, or bundle of `brainuad-export`.
            runtime: device, precision and memory.

        Raises:
            InputError: an unreadable file (see `read_checkpoint` and `read_bundle`); no card, one
                of another major version or one that names foreign code; or weights that do not fit.
        """
        path = named_file(path)
        content = read_bundle(path) if is_bundle(path) else read_checkpoint(path)
        card = Card.from_json(path, content.get("brainuad"))
        weights = upgraded_weights(card.model, content["state_dict"])
        try:
            method = built_method(path, card, weights)
            relative = build(card.relative, kind=RelativeToHealthy | None)
            tiling = build(card.tiling, kind=Tiling)
            model = cls(method, card, tiling, input_of(card.input), relative, runtime)
        except InputError as error:
            raise InputError(f"{path}: {error}; do not use it, or get it again") from None
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"{path}: its weights do not fit its model ({str(error).splitlines()[0]})"
            ) from None
        model.path = path
        if card.grid is not None:
            method.grid = from_plain(card.grid)
        return model

    def save(self, path: Path) -> None:
        """Write weights and card, atomically."""
        content = {
            "state_dict": {name: value.cpu() for name, value in self.state_dict().items()},
            "brainuad": replace(self.card, version=__version__, format=FORMAT).to_json(),
        }
        # Into an open file: else the archive holds the temporary name, and the same weights give
        # other bytes every time.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights of the method and of `relative`."""
        relative = self.relative.state_dict(prefix=RELATIVE) if self.relative is not None else {}
        return {**self.method.state_dict(), **relative}

    def load_state_dict(self, weights: Mapping[str, Tensor]) -> None:
        """Fill in the weights of `state_dict`.

        Raises:
            RuntimeError: they do not fit.
        """
        own = dict(weights)
        if self.relative is not None:
            names = [name for name in weights if name.startswith(RELATIVE)]
            rest = {name.removeprefix(RELATIVE): own.pop(name) for name in names}
            self.relative.load_state_dict(rest)
        self.method.load_state_dict(own)

    @cached_property
    def known(self) -> Known:
        """The card with the choices of threshold and preparation; by default the card's own.

        Raises:
            InputError: the card has no threshold.
        """
        return Known([self.path], [self.card])

    @cached_property
    def postprocess(self) -> Postprocess:
        """The post-processing of a raw map to a score and a mask.

        Raises:
            InputError: the card describes none.
        """
        found: Postprocess = build(self.card.postprocess, kind=Postprocess)
        return found

    @property
    def models(self) -> tuple["Model"]:
        """The model alone, as an ensemble of one."""
        return (self,)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the names and values of all weights, the method's configuration, `flips`."""
        flips = " flips" if self.card.flips else ""
        return hash_weights(self.state_dict(), about=f"{self.card.model!r}{flips}")

    @property
    def fingerprint(self) -> str:
        """All that decides a map beside the scan, as text."""
        return f"{self.weights_hash} {self.runtime.precision}"

    @property
    def fixed_threshold(self) -> float | None:
        """The method's own threshold; None where scores are relative, on another scale."""
        return None if self.relative is not None else self.method.traits.own_threshold

    @property
    def learns(self) -> bool:
        """Return whether the model depends on healthy training brains."""
        return self.method.learns or self.relative is not None

    def with_options(self, options: Mapping[str, Any]) -> "Model":
        """Return the model with other options of its method, such as `scores_by`.

        The copy has absolute scores: `relative` holds statistics of the model's own maps.

        Args:
            options: options of the card's `model`, by name; those of a group keep its other ones.

        Raises:
            InputError: the method has no such option.
        """
        config = dict(self.card.model)
        for name, value in options.items():
            within = isinstance(value, Mapping) and "_target_" not in value
            config[name] = {**(config.get(name) or {}), **value} if within else value
        method = build(config)
        method.load_state_dict(self.method.state_dict())
        method.to(self.method.device)
        method.grid = self.method.grid
        card = replace(self.card, model=config)
        return Model(method, card, self.tiling, self.view, runtime=self.runtime)

    def on_device(self) -> "Model":
        """Move the method to the device, in the memory layout that is fastest there.

        Training uses the same layout, so that a loaded model's maps equal those of its run.
        """
        self.method.to(self.runtime.device)
        fastest_layout(self.method, self.runtime.device)
        return self

    def views(self, scans: Sequence[Scan], failures: Failures) -> Sequence[Scan]:
        """Return the scans with the method's input; those that fail are left out."""
        seen, bad = as_input(scans, self.view, self.runtime.folder, self.runtime.jobs)
        failures += bad
        return seen

    def detect_scan(self, scan: Scan) -> Detection:
        """Return the maps of one of `views`, `(C, D, H, W)`, on the CPU.

        Raises:
            InputError: an unreadable scan, or an error of `detect`.
        """
        image, brain_mask = load_scan(scan)
        return self.detect(image, brain_mask, read_header(scan.image).affine)

    def detect(
        self, image: Tensor, brain_mask: Tensor, affine: np.ndarray | None = None
    ) -> Detection:
        """Return the maps of a prepared volume, tile by tile.

        `detect_volume` says how the grid of the training scans and `flips` of the card are used.

        Args:
            image: `(C, D, H, W)`, input of the method.
            brain_mask: `(1, D, H, W)` bool.
            affine: `(4, 4)`, voxels to their world in mm; None for the training scans' grid.

        Returns:
            `Detection` without batch axis, on the CPU.

        Raises:
            InputError: the map is not finite, the scan does not overlap the grid of the training
                scans, or a single tile does not fit the memory.
        """
        half = PRECISIONS[self.runtime.precision]
        with torch.autocast(self.method.device.type, half, enabled=half is not None):
            found = self._detect_fitting(image, brain_mask, affine)
            if self.relative is not None:
                found = self.relative(found, affine)
        # NaN is above no threshold, so the map would look like a healthy brain.
        if not bool(torch.isfinite(found.anomaly_map).all()):
            raise InputError(
                "the model's anomaly map holds NaN or infinite values; use another model, or "
                "compute in more precision (32-true)"
            )
        return found

    def _detect_fitting(
        self, image: Tensor, brain_mask: Tensor, affine: np.ndarray | None
    ) -> Detection:
        """Detect in batches that fit; each failure halves the batch size of this model."""
        size = self.runtime.batch_size or batch_size_for(
            self.method, self.tiling, image, brain_mask
        )
        while True:
            self.runtime = replace(self.runtime, batch_size=size)
            try:
                given = self.method, self.tiling, image, brain_mask, size, affine
                return detect_volume(*given, grid=self.method.grid, flips=self.card.flips)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if size == 1:
                raise InputError("out of memory with one tile at a time; use --device cpu")
            size //= 2
            if self.method.device.type == "cuda":
                torch.cuda.empty_cache()
