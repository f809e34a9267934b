"""Agreement of an exported file with our own detection, measured on painted lesions."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainuad.formats.example import LESIONS_ML, ExampleScan, example_scan
from brainuad.methods.base import AnomalyDetector
from brainuad.model.detect import detect_volume
from brainuad.model.model import Model
from brainuad.types import Detection

LARGEST_DIFFERENCE = 1e-3
"""Largest difference of two maps that agree."""

LEAST_DICE = 0.999
"""Smallest Dice of two masks that agree."""

Run = Callable[[Tensor, Tensor], Tensor]
"""(tiles `(B, C, *S)`, brain masks `(B, 1, *S)` bool) -> anomaly maps `(B, 1, *S)`."""

Scored = Callable[[ExampleScan], np.ndarray]
"""Scan -> post-processed map `(D, H, W)`."""


@dataclass(frozen=True)
class Compared:
    """Two detections in one scan.

    Attributes:
        lesion_ml: volume of the painted lesion.
        largest_difference: largest difference of the post-processed maps.
        dice: Dice of both masks; None where both are empty.
        marked_voxels: voxels of our mask.
    """

    lesion_ml: float
    largest_difference: float
    dice: float | None
    marked_voxels: int


def agreement(model: Model, ours: Scored, theirs: Scored, runner: str) -> dict[str, Any]:
    """Compare another program's maps and masks with those of the model, as plain values.

    Args:
        model: the model.
        ours: its own maps.
        theirs: maps by the exported file.
        runner: name and version of the program that computes it.
    """
    scans = [example_scan(model, ml, seed) for seed, ml in enumerate(LESIONS_ML)]
    found = [_compared(model, scan, ours(scan), theirs(scan)) for scan in scans]
    defined = [one.dice for one in found if one.dice is not None]
    return {
        "runner": runner,
        "against": f"brainuad with torch {torch.__version__}",
        "on": "brains made of the MNI152 tissue maps, each with one painted lesion",
        "largest_difference": max(one.largest_difference for one in found),
        "smallest_dice": min(defined) if defined else None,
        "scans": [asdict(one) for one in found],
    }


def own_map(model: Model, scan: ExampleScan) -> np.ndarray:
    """Return the model's own post-processed map of a scan."""
    image, brain_mask = _tensors(scan)
    return _score(model, model.detect(image, brain_mask, scan.grid.affine), scan)


def map_by_tiles(model: Model, scan: ExampleScan, run: Run, batch_size: int) -> np.ndarray:
    """Return the map whose tiles another program scores; all around them is ours."""
    given = _Other(model.method, run), model.tiling, *_tensors(scan), batch_size, scan.grid.affine
    found = detect_volume(*given, grid=model.method.grid, flips=model.card.flips)
    return _score(model, found, scan)


def agrees(measured: dict[str, Any]) -> bool:
    """Return whether maps and masks are equal within `LARGEST_DIFFERENCE` and `LEAST_DICE`."""
    dice = measured["smallest_dice"]
    return measured["largest_difference"] <= LARGEST_DIFFERENCE and (
        dice is None or dice >= LEAST_DICE
    )


def _compared(model: Model, scan: ExampleScan, ours: np.ndarray, theirs: np.ndarray) -> Compared:
    around = scan.brain_mask, scan.grid.empty.spacing_mm
    post = model.postprocess
    threshold = model.known.threshold_of(post)(ours, *around)
    mask, other = (post.segment(score, *around, threshold) for score in (ours, theirs))
    both = int(mask.sum()) + int(other.sum())
    dice = 2 * float((mask & other).sum()) / both if both else None
    apart = float(np.abs(ours - theirs).max())
    return Compared(scan.lesion_ml, apart, dice, int(mask.sum()))


def _tensors(scan: ExampleScan) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scan.image), torch.from_numpy(scan.brain_mask)[None]


def _score(model: Model, found: Detection, scan: ExampleScan) -> np.ndarray:
    map_ = found.anomaly_map[0].numpy()
    return model.postprocess.score(map_, scan.brain_mask, scan.grid.empty.spacing_mm)


class _Other(AnomalyDetector):
    """A method whose tiles another program scores."""

    def __init__(self, method: AnomalyDetector, run: Run) -> None:
        super().__init__()
        self.traits = method.traits
        self._run = run
        self._judge = method.judge_scan

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the other program's map."""
        return Detection(self._run(image, brain_mask), None)

    def judge_scan(self, found: Detection, image: Tensor) -> Detection:
        """Judge as the method does."""
        return self._judge(found, image)
