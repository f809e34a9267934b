"""Slice protocol: the 2D numbers of papers, kept apart (docs/protocol.md#5-slices).

Axial slices of the prepared volumes, resampled to the paper's image size, every pixel of them,
background included, and a threshold chosen on the test slices themselves: an oracle throughout.
"""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.names import POOLED
from brainuad.errors import InputError
from brainuad.evaluation.results import COLUMNS, Evaluation, summarise_scores
from brainuad.evaluation.scoring import score_volume
from brainuad.metrics import voxel
from brainuad.postprocess.pipeline import Postprocess
from brainuad.types import Volume
from brainuad.volumes.nifti import read_label, read_mask
from brainuad.volumes.tiling import SliceTiling

THRESHOLDS = 201


@dataclass(frozen=True)
class SliceProtocol:
    """What a paper does with slices.

    Args:
        name: in the column `space` of the scores.
        size: `(H, W)` of the square frame; slices are resized to it, maps bilinearly and labels
            by nearest neighbour; None keeps the prepared grid.
        min_brain: slices with a smaller share of brain, of the slice with the most, are left out.
        lesions_only: leave out slices without a lesion.
        dice: `mean`, over slices, the best of 201 thresholds, a slice with neither truth nor
            prediction counting as 1 (MAD-AD); or `pooled`, of all pixels together, exact over
            all thresholds (MedIAnomaly, whose grid of 1,000 quantiles approaches it).
        limits: ends of the 201 thresholds; None takes 0 and the largest score of the test set,
            for maps that are not scaled to [0, 1].
        masked: whether the chain clears what is not brain. MAD-AD's evaluation does not: its
            Gaussian carries scores over the brain's rim, and all of them count. A map of ours has
            nothing outside the brain before that, a foreign one what it was written with.
    """

    name: str
    size: tuple[int, int] | None
    min_brain: float
    lesions_only: bool
    dice: str
    limits: tuple[float, float] | None
    masked: bool = True

    def __post_init__(self) -> None:
        if self.dice not in ("mean", "pooled"):
            raise ValueError(f"dice is '{self.dice}'; use mean or pooled")


def evaluate_slices(
    cohort: Cohort,
    sequence: str,
    maps: Mapping[str, Path],
    postprocess: Postprocess,
    protocol: SliceProtocol,
    *,
    trained_on: Collection[str] = (),
    seed: int = 0,
) -> Evaluation:
    """Scores the axial slices of the test subjects of one sequence; arguments as `evaluate_maps`.

    Raises:
        InputError: a test subject was trained on, no test subject, or no map could be scored.
    """
    test = cohort.select("test", sequence)
    if seen := sorted({scan.who for scan in test} & set(trained_on)):
        raise InputError(
            f"{cohort.root}: test subjects {', '.join(seen)} were trained on; take them out of test"
        )
    space = f"slice:{protocol.name}"
    common = {"cohort": cohort.name, "sequence": sequence, "space": space, "subject": POOLED}
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    for number, (method, folder) in enumerate(maps.items()):
        with tempfile.TemporaryDirectory(prefix="brainuad-") as spool:
            pieces: list[tuple[np.ndarray, np.ndarray]] = []
            ordered: list[voxel.SortedScores] = []
            for index, scan in enumerate(test):
                try:
                    found = _slices(scan, folder, postprocess, protocol)
                except InputError as error:
                    failures.append((scan.subject, str(error)))
                    continue
                if len(found[0]):
                    pieces.append(_on_disk(found, Path(spool) / f"{index}"))
                    split = voxel.sort_scores(found[0].ravel(), found[1].ravel())
                    ordered.append(split.on_disk(Path(spool) / f"{index}.sorted.npy"))
            if not pieces:
                if number == 0:
                    raise InputError(f"{folder}: no slice could be scored: {_last(failures)}")
                failures.append((f"({method})", f"{folder}: no slice could be scored"))
                continue
            rows += [
                common | {"method": method, "threshold": t, "threshold_value": v} | row
                for t, v, row in _score(pieces, ordered, protocol)
            ]
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    none = pd.DataFrame(columns=["subject", "method"])
    context = {key: common[key] for key in ("cohort", "sequence", "space")}
    context["split_hash"] = cohort.split_hash()
    summary = summarise_scores(scores, seed)
    failures = list(dict.fromkeys(failures))
    return Evaluation(scores, summary, {}, {}, none, {}, failures, context)


def best_of_thresholds(
    slices: list[tuple[np.ndarray, np.ndarray]], limits: tuple[float, float]
) -> tuple[float, float]:
    """The best mean Dice over slices and its threshold, of 201 evenly spaced ones.

    A pixel is positive above the threshold; a slice without truth scores 1 where nothing is
    positive, else 0 (the released evaluation of MAD-AD). Every slice is sorted once.

    Args:
        slices: scores `(N, H, W)` and truths `(N, H, W)` bool, a pair a subject.
        limits: first and last threshold.
    """
    thresholds = np.linspace(*limits, THRESHOLDS)
    total, count = np.zeros(THRESHOLDS), 0
    for score, truth in slices:
        for piece, label in zip(score, truth, strict=True):
            ordered = np.sort(piece, axis=None).astype(np.float64)
            predicted = ordered.size - np.searchsorted(ordered, thresholds, side="right")
            lesion = np.sort(piece[label]).astype(np.float64)
            hits = lesion.size - np.searchsorted(lesion, thresholds, side="right")
            total += (
                2 * hits / np.maximum(predicted + lesion.size, 1)
                if lesion.size
                else (predicted == 0)
            )
            count += 1
    best = int(total.argmax())
    return float(total[best] / count), float(thresholds[best])


def _score(
    pieces: list[tuple[np.ndarray, np.ndarray]],
    ordered: list[voxel.SortedScores],
    protocol: SliceProtocol,
) -> list[tuple[str, float, dict[str, Any]]]:
    """Threshold, its value, metric and value of each row."""
    curve = voxel.curve(ordered)
    mean = np.concatenate([score.mean(axis=(1, 2)) for score, _ in pieces])
    sick = np.concatenate([truth.any(axis=(1, 2)) for _, truth in pieces])
    values = {
        "slices": float(len(mean)),
        "auprc_pooled": voxel.curve_average_precision(curve),
        "auroc_pooled": voxel.curve_auroc(curve),
        "slice_auroc": voxel.auroc(mean, sick),
        "slice_ap": voxel.average_precision(mean, sick),
    }
    rows = [("none", float("nan"), {"metric": k, "value": v}) for k, v in values.items()]
    best, where = voxel.curve_best_dice(curve)
    rows.append(("oracle", voxel.just_below(where), {"metric": "dice_pooled", "value": best}))
    if protocol.dice == "mean":
        limits = protocol.limits or (0.0, float(max(score.max() for score, _ in pieces)))
        best, where = best_of_thresholds(pieces, limits)
        rows.append(("oracle_201", where, {"metric": "dice_slice", "value": best}))
    return rows


def _slices(
    scan: Scan, maps: Path, postprocess: Postprocess, protocol: SliceProtocol
) -> tuple[np.ndarray, np.ndarray]:
    """Scores `(N, H, W)` float32 and truths `(N, H, W)` bool of a scan's chosen slices."""
    found = score_volume(scan, maps, postprocess, "prepared", protocol.masked)
    score = found.score
    if protocol.masked:
        # A chain that masks last keeps the background until here.
        score = Volume(np.where(found.brain_mask, score.array, 0), score.affine)
    if not scan.healthy and scan.lesion_mask is None:
        raise InputError(f"{scan.image}: pathological without a lesion mask; add it to score it")
    label = scan.lesion_mask
    truth = read_label(label, like=score) if label else np.zeros(score.array.shape, bool)
    brain = read_mask(scan.brain_mask, like=score).sum(axis=(0, 1))
    kept = (brain > 0) & (brain >= protocol.min_brain * brain.max())
    if protocol.lesions_only:
        kept &= truth.any(axis=(0, 1))
    arrays = np.stack([score.array, truth], axis=0)[..., kept].astype(np.float32)
    tiles = torch.from_numpy(np.moveaxis(arrays, -1, 0))
    if protocol.size is not None and len(tiles):
        side = max(tiles.shape[2:])
        # Padded to a square first: resizing must not change the brain's proportions.
        tiling = SliceTiling("axial", (side, side))
        tiles = tiling.split(torch.from_numpy(arrays))[0]
        smooth = functional.interpolate(tiles[:, :1], protocol.size, mode="bilinear")
        sharp = functional.interpolate(tiles[:, 1:], protocol.size, mode="nearest")
        tiles = torch.cat([smooth, sharp], dim=1)
    return tiles[:, 0].numpy(), tiles[:, 1].numpy() > 0.5


def _last(failures: list[tuple[str, str]]) -> str:
    return failures[-1][1] if failures else "the protocol leaves every slice out"


def _on_disk(found: tuple[np.ndarray, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray]:
    files = [path.with_suffix(end) for end in (".score.npy", ".truth.npy")]
    for file, array in zip(files, found, strict=True):
        np.save(file, array, allow_pickle=False)
    score, truth = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    return score, truth
