"""Measure exact scores beside the scripts of papers: time and memory.

    python experiments/benchmarks/scoring.py

Processes, one after the other, so that each peak of memory is its own:

- `reference` holds all maps and truths and tries 201 thresholds, a copy of every map each, the way
  the released evaluation of MAD-AD does, then AP and AUROC of scikit-learn on everything. No PRO.
- `brainuad` reads one volume at a time: AP, AUROC, PRO and best Dice of each subject over *all*
  thresholds, the best threshold shared by all, pooled AP and AUROC.
- `lesions` scores lesions and surfaces of each volume with brainuad and with MONAI.
- `evaluation` is all of `evaluate_maps` on a cohort of files: reading, `postprocess=default`, every
  metric and threshold variant, trust checks.

Writes `scoring.json` beside this file and prints it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPE = (182, 218, 182)
PARTS = ("make", "reference", "brainuad", "lesions", "evaluation")
OUT = Path(__file__).with_suffix(".json")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.part:
        functions = (make, reference, ours, lesions, evaluation)
        part = dict(zip(PARTS, functions, strict=True))[arguments.part]
        found = part(arguments.folder, arguments.volumes)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({**found, "peak_gib": round(peak, 2)}))
        return
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            command = [sys.executable, __file__, "--part", name, "--folder", folder]
            command += ["--volumes", str(arguments.volumes)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, results[name], flush=True)
    del results["make"]
    for name in ("auprc", "auroc"):
        assert abs(results["reference"][name] - results["brainuad"][name]) < 1e-6
    # A grid can only fall short of all thresholds.
    assert results["reference"]["best_dice"] <= results["brainuad"]["best_dice"] + 1e-9
    summary = {
        "volumes": arguments.volumes,
        "shape": SHAPE,
        **results,
        "times_faster": round(results["reference"]["seconds"] / results["brainuad"]["seconds"], 1),
        "times_faster_than_monai": round(
            results["lesions"]["monai_seconds"] / results["lesions"]["seconds"], 1
        ),
    }
    OUT.write_text(json.dumps(summary, indent=2) + "\n")
    print(OUT.read_text())


def make(folder: Path, volumes: int) -> dict[str, float]:
    """Writes maps, truths and the brain: noise with a structure, a lesion that is a little up."""
    from scipy import ndimage

    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij", sparse=True)
    brain = sum(axis**2 for axis in axes) < 0.55
    np.save(folder / "brain.npy", brain)
    for i in range(volumes):
        rng = np.random.default_rng(i)
        noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE).astype(np.float32), 3)
        centre, radius = rng.uniform(-0.35, 0.35, 3), rng.uniform(0.08, 0.2)
        lesion = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2
        score = np.abs(noise / noise.std() + 1.5 * lesion) * brain
        np.save(folder / f"score{i}.npy", (score / score.max()).astype(np.float32))
        np.save(folder / f"truth{i}.npy", lesion & brain)
    return {}


def read(folder: Path, volumes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Map and truth of each volume."""
    for i in range(volumes):
        yield np.load(folder / f"score{i}.npy"), np.load(folder / f"truth{i}.npy")


def reference(folder: Path, volumes: int) -> dict[str, float]:
    """The way of the released scripts, from their description."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    data = list(read(folder, volumes))
    start = time.perf_counter()
    best = 0.0
    for threshold in np.linspace(0, 1, 201):
        dices = []
        for score, truth in data:
            mask = score.copy()
            mask[mask > threshold] = 1
            mask[mask < 1] = 0
            both = (mask * truth).sum()
            dices.append(2 * both / (mask.sum() + truth.sum() + 1e-6))
        best = max(best, float(np.mean(dices)))
    grid = time.perf_counter() - start
    brain = np.load(folder / "brain.npy")
    score = np.concatenate([score[brain] for score, _ in data])
    truth = np.concatenate([truth[brain] for _, truth in data])
    found = {"auprc": average_precision_score(truth, score), "auroc": roc_auc_score(truth, score)}
    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 2),
        "grid_seconds": round(grid, 2),
        "best_dice": best,
        **found,
    }


def ours(folder: Path, volumes: int) -> dict[str, float]:
    """brainuad, from files, one volume at a time."""
    from brainuad.metrics import voxel
    from brainuad.metrics.registry import MapCase

    brain = np.load(folder / "brain.npy")
    start = time.perf_counter()
    subjects, single = [], []
    for i, (score, truth) in enumerate(read(folder, volumes)):
        case = MapCase(score, truth, brain)
        single.append(
            (
                voxel.curve_average_precision(case.curve),
                voxel.curve_auroc(case.curve),
                voxel.curve_best_dice(case.curve)[0],
                case.overlap,
            )
        )
        subjects.append(case.sorted.on_disk(folder / f"sorted{i}.npy"))
    shared = voxel.best_shared_threshold(subjects)
    best = np.mean([voxel.dice_at(subject, np.array([shared]))[0] for subject in subjects])
    pooled = voxel.curve(subjects)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "best_dice": float(best),
        "auprc": voxel.curve_average_precision(pooled),
        "auroc": voxel.curve_auroc(pooled),
        "mean_subject_auprc": float(np.mean([values[0] for values in single])),
    }


def lesions(folder: Path, volumes: int) -> dict[str, float]:
    """Lesion-wise and surface scores of a noisy segmentation, a volume; MONAI beside."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    from brainuad.metrics.registry import MaskCase, compute

    volumes = min(volumes, 5)
    brain = np.load(folder / "brain.npy")
    mine = theirs = 0.0
    for score, truth in read(folder, volumes):
        mask = score > np.quantile(score[brain], 0.98)
        start = time.perf_counter()
        compute("mask", MaskCase(mask, truth, brain, (1.0, 1.0, 1.0)), "lesion")
        middle = time.perf_counter()
        pair = [torch.from_numpy(array)[None, None] for array in (mask, truth)]
        compute_hausdorff_distance(*pair, include_background=True, percentile=95)
        compute_average_surface_distance(*pair, include_background=True, symmetric=True)
        theirs += time.perf_counter() - middle
        mine += middle - start
    return {
        "seconds": round(mine / volumes, 3),
        "monai_seconds": round(theirs / volumes, 3),
    }


def evaluation(folder: Path, volumes: int) -> dict[str, float]:
    """The whole evaluation of a cohort with one healthy validation scan for two patients."""
    from brainuad.cohorts.manifest import Scan, write_cohort
    from brainuad.evaluation.maps import evaluate_maps
    from brainuad.postprocess.components import RemoveSmall
    from brainuad.postprocess.erode import ErodeBrainMask
    from brainuad.postprocess.pipeline import Postprocess
    from brainuad.postprocess.smooth import Median
    from brainuad.postprocess.threshold import HealthyThreshold
    from brainuad.volumes.nifti import write_volume

    affine = np.eye(4)
    affine[:3, 3] = -90, -126, -72
    write_volume(folder / "brain.nii.gz", np.load(folder / "brain.npy"), affine, np.uint8)
    scans = []
    for i, (score, truth) in enumerate(read(folder, volumes)):
        name, sick = f"s{i}", i % 3 > 0
        write_volume(folder / "maps" / f"{name}_anomaly.nii.gz", score, affine)
        write_volume(folder / f"{name}_lesion.nii.gz", truth, affine, np.uint8)
        scans.append(
            Scan(
                subject=name,
                sequence="T2w",
                image=folder / "maps" / f"{name}_anomaly.nii.gz",
                brain_mask=folder / "brain.nii.gz",
                healthy=not sick,
                split="test" if sick else "val",
                lesion_mask=folder / f"{name}_lesion.nii.gz" if sick else None,
                pathology="ball" if sick else "",
            )
        )
    cohort = write_cohort(folder, scans, {"name": "benchmark"})
    chain = Postprocess([Median(5.0), ErodeBrainMask(3.0)], HealthyThreshold(), [RemoveSmall(50.0)])
    start = time.perf_counter()
    evaluate_maps(cohort, "T2w", {"own": folder / "maps"}, chain)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "seconds_a_volume": round(seconds / volumes, 2)}


if __name__ == "__main__":
    main()
