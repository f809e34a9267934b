"""Count the scans that a model flags as unsuitable.

    python experiments/predict/suitability.py COHORT

takes the embedded cohort (`brainuad-prepare phantom COHORT`), makes the statistics that a model of
each sequence would carry, from 6, 12 or all healthy subjects, and asks for every test scan of every
sequence whether it is flagged. Then files that are no such scans go the whole way from raw: noise,
a ball, and with `BRAINUAD_REAL_DATA` real scans of the right and of other sequences, against the
statistics of T2w. Writes `suitability.md`.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan, read_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.machine.files import write_text
from brainuad.model.prepared_scan import PreparedScan, from_cohort, from_record
from brainuad.model.suitability import training_statistics, unsuitable
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.preparation.recipes import default, of_cohort
from brainuad.preparation.subject import prepare_subject
from brainuad.records.statistics import TrainingStatistics
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.volumes.nifti import write_volume

HERE = Path(__file__).parent
SEQUENCES = ("T1w", "T2w", "FLAIR")
POSTPROCESS = Postprocess([], HealthyThreshold(), [])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    cohort = read_cohort(parser.parse_args().cohort)
    scans = {name: list(tested(cohort, name)) for name in SEQUENCES}
    rows = []
    for count in (6, 12, None):
        for own in SEQUENCES:
            known = statistics(cohort, own, count)
            subjects = str(len(known.measures["distance"]))
            for other in SEQUENCES:
                healthy, sick = (
                    [p for s, p in scans[other] if s.healthy == h] for h in (True, False)
                )
                rows.append((own, subjects, other, share(known, healthy), share(known, sick)))
    header = ["model", "subjects it knows", "scans", "healthy flagged", "with a lesion flagged"]
    known = statistics(cohort, "T2w", None)
    files = [(name, told(known, scan)) for name, scan in odd_files()]
    text = (
        "# Which scans are flagged\n\nWritten by `suitability.py`, which says what was done.\n\n"
        f"{to_markdown(header, rows)}\n"
        "## Files, from raw, by the statistics of the embedded T2w cohort\n\n"
        f"{to_markdown(['file', 'said'], files)}"
    )
    write_text(HERE / "suitability.md", text)
    print(text)


def statistics(cohort: Cohort, sequence: str, count: int | None) -> TrainingStatistics:
    """Return the first `count` healthy training and validation subjects."""
    names = [s.subject for split in ("train", "val") for s in cohort.select(split, sequence, True)]
    kept = [scan for scan in cohort.scans if scan.subject in names[:count]]
    part = Cohort(cohort.root, tuple(kept), cohort.info)
    nowhere = ScoreMaps(MapFolder(Path("nowhere")), POSTPROCESS)
    recipe = of_cohort(cohort, sequence)
    in_mni = recipe is not None and recipe.in_mni
    return training_statistics(part, sequence, nowhere, in_mni)


def tested(cohort: Cohort, sequence: str) -> Iterator[tuple[Scan, PreparedScan]]:
    """Test scans, as prediction sees them."""
    recipe = of_cohort(cohort, sequence)
    assert recipe is not None
    for scan in cohort.select("test", sequence):
        yield scan, from_cohort(scan, cohort, recipe)


def share(known: TrainingStatistics, scans: Sequence[PreparedScan]) -> str:
    """Return the number of flagged scans."""
    return f"{sum(bool(reasons(known, scan)) for scan in scans)} of {len(scans)}"


def reasons(known: TrainingStatistics, scan: PreparedScan) -> list[str]:
    """By the statistics alone."""
    return unsuitable(known, scan.image.array, scan.brain_mask, scan.measures)


def told(known: TrainingStatistics, scan: PreparedScan | str) -> str:
    """Return the flags that the table of subjects would have."""
    if isinstance(scan, str):
        return f"failed: {scan}"
    said = [*reasons(known, scan), *scan.flags]
    return f"flagged: {'; '.join(said)}" if said else "done"


def odd_files() -> Iterator[tuple[str, PreparedScan | str]]:
    """Name and prepared scan, or why it could not be prepared."""
    recipe = default(2.0)
    steps = instantiate(recipe.steps, packages=PREPARATION)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        affine = np.diag([2.0, 2, 2, 1])
        ball = np.sum(np.stack(np.meshgrid(*[np.linspace(-1, 1, 90)] * 3)) ** 2, axis=0) < 0.6
        made = {
            "noise": rng.normal(100, 20, ball.shape),
            "empty": np.zeros(ball.shape),
            "a ball of one brightness": 100.0 * ball,
            "a noisy ball": ball * rng.normal(100, 5, ball.shape),
        }
        files = {}
        for title, array in made.items():
            files[title] = folder / f"{len(files)}.nii.gz"
            write_volume(files[title], array, affine)
        if "BRAINUAD_REAL_DATA" in os.environ:
            real = Path(os.environ["BRAINUAD_REAL_DATA"])
            case = real / "openms_mni_1mm" / "patient07"
            files |= {
                f"real {kind} (MS)": case / f"{kind}.nii.gz" for kind in ("T2", "T1", "FLAIR")
            }
        for number, (title, path) in enumerate(files.items()):
            raw = RawScan(f"s{number}", "T2w", path, healthy=True)
            records, failures = prepare_subject([raw], steps, folder)
            if failures:
                yield title, failures[0][1].removeprefix(f"{path}: ")
                continue
            try:
                yield title, from_record(records[0], folder, recipe)
            except InputError as error:
                yield title, str(error).removeprefix(f"{path}: ")


if __name__ == "__main__":
    main()
