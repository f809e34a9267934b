"""Slice protocol: the 2D scores of papers (docs/explanation/protocol.md#5-slices).

Axial slices of the prepared volumes are resampled to the paper's image size, and every pixel
counts, background included. The threshold is chosen on the test slices, so that it is an oracle.
"""

import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.cohorts.names import POOLED
from brainuad.errors import InputError
from brainuad.evaluation import slice_rules as rules
from brainuad.evaluation.flatter import FLATTER_COLUMNS, flatter
from brainuad.evaluation.results import COLUMNS, Evaluation, summarise_scores
from brainuad.evaluation.scoring import NAN, Row
from brainuad.evaluation.slice_store import (
    SliceStore,
    cut,
    framed,
    large_enough,
    regions,
    sorted_blocks,
)
from brainuad.evaluation.thresholds import require_unseen
from brainuad.machine.failures import Failures
from brainuad.machine.refused import writing
from brainuad.metrics import voxel
from brainuad.metrics.lesion import curve_overlap
from brainuad.postprocess.pipeline import Postprocess

DICE = {
    "pooled": ("oracle", "dice_pooled"),
    "mean": ("oracle_201", "dice_slice"),
    "quantiles": ("oracle_200", "dice_pooled"),
    "folds": ("folds", "dice_pooled"),
    "shared": ("oracle", "dice_slice"),
}
"""Rule of Dice to threshold and metric of its row."""


@dataclass(frozen=True)
class SliceProtocol:
    """Evaluation of slices in one paper.

    Args:
        name: name in the column `space` of the scores.
        size: `(H, W)` of the square frame; slices are resized to it, maps bilinearly and labels
            by nearest neighbour; None keeps the prepared grid.
        min_brain: slices with less than this share of the brain of the largest slice are left out.
        lesions_only: True leaves out slices without a lesion.
        dice: the paper's rule, besides the best Dice of all pixels together over all thresholds,
            which every table has: `pooled`, nothing else; `mean`, over slices, the best of 201
            thresholds, a slice with neither truth nor prediction counting as 1 (MAD-AD);
            `quantiles`, of all pixels together, the best of every (N/200)-th sorted score
            (MedIAnomaly); `folds`, of all pixels together, a median filter and a smallest
            component chosen by labels, the threshold from four fifths of the slices applied to the
            last (UniTransAD); `shared`, over slices, the best threshold for all, and each slice's
            own (IterMask2).
        limits: ends of the 201 thresholds; None takes 0 and the largest score of the test set,
            for maps that are not scaled to [0, 1].
        masked: True clears the background. MAD-AD's evaluation does not: its Gaussian moves
            scores over the brain's rim, and all of them count. Our maps are 0 outside the brain
            before that; others may have scores there.
        image_score: `mean` or `max` of the whole frame, background included.
        pro: True adds the per-region overlap up to 30 % false positive rate; regions are the
            components with 8 neighbours of each slice.
        largest_only: True keeps each person's slice with the largest lesion alone.
    """

    name: str
    size: tuple[int, int] | None
    min_brain: float
    lesions_only: bool
    dice: str
    limits: tuple[float, float] | None
    masked: bool = True
    image_score: str = "mean"
    pro: bool = False
    largest_only: bool = False

    def __post_init__(self) -> None:
        if self.dice not in DICE:
            raise ValueError(f"dice is '{self.dice}'; use one of {', '.join(DICE)}")
        if self.image_score not in ("mean", "max"):
            raise ValueError(f"image_score is '{self.image_score}'; use mean or max")
        if self.dice == "folds" and self.size is None:
            raise ValueError("dice is 'folds', which filters slices of one size; give a size")


class _Stores(NamedTuple):
    """Slices by the paper's rules, and all slices with brain on the prepared grid."""

    paper: SliceStore
    ours: SliceStore


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
    """Score the axial slices of the test subjects of one sequence; arguments as `evaluate_maps`.

    A subject is a volume, or one slice as a volume of one plane; `person` of a scan names the
    person of a slice. `flatter` of the result is the table of `brainuad.evaluation.flatter`.

    Raises:
        InputError: a test subject was trained on, no test subject, or no map could be scored.
    """
    test = cohort.select("test", sequence)
    require_unseen(cohort, test, trained_on)
    val = cohort.select("val", sequence, allow_empty=True)
    space = f"slice:{protocol.name}"
    common = {"cohort": cohort.name, "sequence": sequence, "space": space, "subject": POOLED}
    rows: list[dict[str, Any]] = []
    flattered: list[dict[str, Any]] = []
    failures = Failures()
    for number, (method, folder) in enumerate(maps.items()):
        with tempfile.TemporaryDirectory(prefix="brainuad-") as spool:
            there, own_maps = Path(spool), MapFolder(folder)
            stores, bad = _collect(test, own_maps, postprocess, protocol, there / "test")
            failures += bad
            if not len(stores.paper):
                if number == 0:
                    last = failures[-1][1] if failures else "the protocol leaves every slice out"
                    raise InputError(f"{folder}: no slice could be scored: {last}")
                failures.append((f"({method})", f"{folder}: no slice could be scored"))
                continue
            sick = [scan for scan in val if not scan.healthy] if protocol.dice == "folds" else []
            tuning, bad = _collect(sick, own_maps, postprocess, protocol, there / "val")
            failures += bad
            found = _score(stores.paper, tuning.paper, protocol, there / "paper")
            rows += [common | {"method": method} | row._asdict() for row in found]
            well = [scan for scan in val if scan.healthy]
            healthy, bad = _healthy_threshold(well, own_maps, postprocess, there / "healthy")
            failures += bad
            own = _own(found, protocol)
            flattered += [
                {"method": method} | row
                for row in flatter(stores.ours, healthy, there / "ours", own, protocol.name)
            ]
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    context = {key: common[key] for key in ("cohort", "sequence", "space")}
    context["split_hash"] = cohort.split_hash()
    return Evaluation(
        scores=scores,
        summary=summarise_scores(scores, seed),
        thresholds={},
        curves={},
        lesions=pd.DataFrame(columns=["subject", "method"]),
        false_positives={},
        failures=Failures(dict.fromkeys(failures)),
        context=context,
        flatter=pd.DataFrame(flattered, columns=list(FLATTER_COLUMNS)),
    )


def _collect(
    scans: Iterable[Scan],
    maps: MapFolder,
    postprocess: Postprocess,
    protocol: SliceProtocol,
    path: Path,
) -> tuple[_Stores, Failures]:
    """Return the slices of all scans, and the scans without a usable map."""
    stores = _Stores(*(SliceStore(path.with_name(f"{path.name}-{x}")) for x in _Stores._fields))
    failures = Failures()
    for scan in scans:
        with failures.catching(scan.subject):
            ours = cut(scan, maps, postprocess)
            theirs = ours if protocol.masked else cut(scan, maps, postprocess, masked=False)
            stores.ours.add(ours)
            kept = large_enough(theirs, protocol.min_brain)
            if protocol.lesions_only:
                kept = [piece for piece in kept if piece.area]
            stores.paper.add(framed(kept, protocol.size))
    if protocol.largest_only:
        return _Stores(stores.paper.largest(), stores.ours), failures
    return stores, failures


def _healthy_threshold(
    scans: Iterable[Scan], maps: MapFolder, postprocess: Postprocess, path: Path
) -> tuple[float | None, Failures]:
    """Return the healthy threshold on the prepared grid; None without a healthy validation map."""
    failures = Failures()
    with writing(path), path.open("wb") as file:
        for scan in scans:
            with failures.catching(scan.subject):
                for piece in cut(scan, maps, postprocess):
                    file.write(piece.score[piece.brain].tobytes())
    if not path.stat().st_size:
        return None, failures
    return postprocess.threshold.fit([np.memmap(path, np.float32, "r")]), failures


def _score(store: SliceStore, tuning: SliceStore, protocol: SliceProtocol, path: Path) -> list[Row]:
    """Return the scores by the paper's rules."""
    images = np.array([getattr(piece.score, protocol.image_score)() for piece in store])
    sick = np.array([piece.sick for piece in store])
    blocks = sorted_blocks(store, path)
    curve = voxel.curve(blocks)
    values = {
        "slices": float(len(store)),
        "auprc_pooled": voxel.curve_average_precision(curve),
        "auroc_pooled": voxel.curve_auroc(curve),
        "slice_auroc": voxel.auroc(images, sick),
        # Undefined where every image is abnormal.
        "slice_ap": NAN if sick.all() else voxel.average_precision(images, sick),
    }
    known = store.labelled()
    if protocol.pro:
        values["pro_pooled"] = curve_overlap(*regions(known), curve)
    best, where = voxel.curve_best_dice(curve)
    rows = [Row("oracle", voxel.just_below(where), "dice_pooled", best)]
    lesions = any(piece.truth.any() for piece in known)
    if protocol.dice == "mean" and len(known):
        limits = protocol.limits or (0.0, float(max(piece.score.max() for piece in known)))
        pairs = ((piece.score[None], piece.truth[None]) for piece in known)
        best, where = rules.best_of_thresholds(pairs, limits)
        rows.append(Row("oracle_201", where, "dice_slice", best))
    elif protocol.dice == "quantiles" and lesions:
        ordered = np.concatenate([piece.score.ravel() for piece in known])
        ordered.sort()
        best, where = rules.best_of_quantiles(blocks, ordered)
        rows.append(Row("oracle_200", where, "dice_pooled", best))
    elif protocol.dice == "folds" and lesions:
        rows += _tuned(known, tuning.labelled(), values)
    elif protocol.dice == "shared" and lesions:
        sick_ones = [(p.score, p.truth) for p in known if p.truth.any()]
        best, where = rules.best_shared(lambda: sick_ones)
        rows.append(Row("oracle", voxel.just_below(where), "dice_slice", best))
        each = [voxel.best_dice(score.ravel(), truth.ravel())[0] for score, truth in sick_ones]
        rows.append(Row("oracle_subject", NAN, "dice_slice", float(np.mean(each))))
    return [*(Row("none", NAN, *pair) for pair in values.items()), *rows]


def _tuned(known: SliceStore, tuning: SliceStore, values: dict[str, float]) -> list[Row]:
    """Return UniTransAD's scores, tuned on labelled validation slices, else on test slices."""
    pairs, theirs = ([(piece.score, piece.truth) for piece in side] for side in (known, tuning))
    has_lesions = any(truth.any() for _, truth in theirs)
    chosen = rules.tune(theirs if has_lesions else pairs)
    filtered = rules.median_filtered(pairs, chosen.median)
    scores, truths = map(_joined, zip(*filtered, strict=True))
    curve = voxel.curve([voxel.sort_scores(scores, truths)])
    mean, spread = rules.folds_dice(filtered, chosen.smallest)
    values |= {
        "median_pixels": float(chosen.median),
        "smallest_pixels": float(chosen.smallest),
        "tuned_on_val": float(has_lesions),
        "auroc_filtered": voxel.curve_auroc(curve),
        "auprc_filtered": voxel.curve_average_precision(curve),
    }
    return [Row("folds", NAN, "dice_pooled", mean), Row("folds", NAN, "dice_pooled_sd", spread)]


def _joined(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


def _own(rows: list[Row], protocol: SliceProtocol) -> dict[str, float]:
    """Return the paper's Dice, AUROC and AP."""
    found = {(row.threshold, row.metric): row.value for row in rows}
    keys = {
        "dice": DICE[protocol.dice],
        "auroc": ("none", "auroc_pooled"),
        "ap": ("none", "auprc_pooled"),
    }
    return {metric: found[key] for metric, key in keys.items() if key in found}
