"""How much faster is a run's evaluation when each map is post-processed and carried once?

    python experiments/benchmarks/carried_once.py

Thresholds, statistics of the card, masks and scores of the embedded cohort, as a training takes
them after its detection, with `postprocess=default` and two kinds of maps beside each other:

- `anew`: each of the four steps reads, post-processes and carries a map for itself.
- `once`: the first step keeps the map, the others read it (`ScoreMaps.kept`).

Both in one process, in turns; the least CPU time of each counts. Twice: on the cohort as it is, at
2 mm, and with native scans at 1 mm that the maps are resampled to. The scores must be equal. Writes
`carried_once.json` beside this file and prints it.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from brainuad.cohorts.manifest import Cohort, Scan, write_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.thresholds import fit_thresholds
from brainuad.inference.masks import write_masks
from brainuad.machine.failures import Failures
from brainuad.model.suitability import training_statistics
from brainuad.postprocess.components import RemoveSmall
from brainuad.postprocess.erode import ErodeBrainMask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.smooth import Median
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.synthetic.phantom.cohort import write_phantom_cohort
from brainuad.types import Volume
from brainuad.volumes.native_space import to_native
from brainuad.volumes.nifti import read_volume, write_volume

HERE = Path(__file__).parent
SEQUENCE = "T2w"
CHAIN = Postprocess([Median(5.0), ErodeBrainMask(3.0)], HealthyThreshold(), [RemoveSmall(50.0)])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=1, help="of each kind")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limit = arguments.subjects
        cohort = write_phantom_cohort(folder / "made", sequences=[SEQUENCE], limit=limit)
        for scan in cohort.scans:
            write_map(scan, folder / "maps")
        kinds = {"2 mm": cohort, "native at 1 mm": with_native(cohort, folder / "native")}
        for kind, own in kinds.items():
            best = {"anew": np.inf, "once": np.inf}
            tables = {}
            for _ in range(arguments.rounds):
                for way in ("anew", "once"):
                    seconds, tables[way] = run(own, folder / "maps", way == "once")
                    best[way] = min(best[way], seconds)
                pd.testing.assert_frame_equal(tables["anew"], tables["once"])
            found[kind] = {
                **{f"{way}_cpu_s": round(seconds, 2) for way, seconds in best.items()},
                "times_faster": round(best["anew"] / best["once"], 2),
            }
            print(kind, found[kind], flush=True)
    setting = {"rounds": arguments.rounds, "scored": len(cohort.select("test", SEQUENCE))}
    setting["healthy_val"] = len(cohort.select("val", SEQUENCE))
    text = json.dumps({"setting": setting, "evaluations": found}, indent=2)
    (HERE / "carried_once.json").write_text(text + "\n")
    print(text)


def write_map(scan: Scan, folder: Path) -> None:
    """Write the distance of an image from its smoothed self."""
    image = read_volume(scan.image)
    inside = read_volume(scan.brain_mask).array > 0
    score = np.abs(image.array - ndimage.gaussian_filter(image.array, 2)) * inside
    write_volume(MapFolder(folder).file(scan.subject), score, image.affine)


def with_native(cohort: Cohort, folder: Path) -> Cohort:
    """Return the cohort with scans and labels at 1 mm, tilted by ten degrees."""
    turn = np.eye(4)
    turn[:2, :2] = [[0.985, -0.174], [0.174, 0.985]]
    scans = []
    for scan in cohort.scans:
        image = read_volume(scan.image)
        half = np.diag([0.5, 0.5, 0.5, 1.0])
        shape = tuple(2 * length for length in image.array.shape)
        like = Volume(np.zeros(shape, np.float32), turn @ image.affine @ half)
        files = {"native_image": scan.image, "native_lesion_mask": scan.lesion_mask}
        made = {}
        for key, file in files.items():
            if file is not None:
                made[key] = folder / f"{scan.subject}_{key}.nii.gz"
                array = to_native(read_volume(file).array, image.affine, like, order=0)
                write_volume(made[key], array, like.affine)
        scans.append(replace(scan, **made))
    return write_cohort(folder, scans, cohort.info)


def run(cohort: Cohort, maps: Path, once: bool) -> tuple[float, pd.DataFrame]:
    """Take the four steps after a detection; return their CPU seconds and the scores."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        own = ScoreMaps(MapFolder(maps), CHAIN, kept=Path(kept) if once else None)
        fitted, _ = fit_thresholds(cohort, SEQUENCE, own)
        training_statistics(cohort, SEQUENCE, own, None)
        test = cohort.select("test", SEQUENCE)
        failures = Failures()
        write_masks(test, own, MapFolder(Path(out)), fitted.healthy, failures)
        evaluation = evaluate_maps(
            cohort,
            SEQUENCE,
            {"own": maps},
            CHAIN,
            thresholds={"own": fitted.healthy},
            carried={"own": own},
        )
        seconds = time.process_time() - start
    failures.raise_if_any()
    return seconds, evaluation.scores


if __name__ == "__main__":
    main()
