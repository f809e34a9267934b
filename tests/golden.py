"""Golden maps: what tiny, seeded runs of the real command give, recorded and compared.

Two environment variables, read by `tests/integration/test_golden_maps.py`:

- `BRAINUAD_GOLDEN_RECORD=DIR` writes the recordings into DIR in place of comparing;
  `BRAINUAD_GOLDEN_RECORD=tests/data/golden` records anew what is in the repository.
- `BRAINUAD_GOLDEN_EXACT=DIR` compares bit for bit with the recordings in DIR, every score of the
  run included: for the same machine before and after a change that must change nothing.

Without them the recordings in `tests/data/golden` are compared within the tolerances below.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tiny import ROOT

from brainuad.cli.train import main as train_command
from brainuad.volumes.nifti import read_volume

Recording = dict[str, np.ndarray]
"""`map`, `native_map` float32, `native_mask` bool, `threshold`, and `rows` with their `values`."""

GOLDEN = ROOT / "tests" / "data" / "golden"
RECORD, EXACT = "BRAINUAD_GOLDEN_RECORD", "BRAINUAD_GOLDEN_EXACT"
MODELS = sorted(
    path.stem
    for path in (ROOT / "configs" / "model").glob("*.yaml")
    if RECORD in os.environ or (GOLDEN / f"{path.stem}.npz").is_file()
)
"""Model configurations with a recording; a new method has none until one is made."""

# Kernels for another CPU (SSE in place of AVX) and two threads move a map by up to 3e-3 of its
# maximum in one voxel, and by up to 8e-4 on average: the first steps of Adam make much of little.
# Another seed moves it by 7e-2 and more in one voxel.
MAP_TOLERANCE = 1e-2
MEAN_TOLERANCE = 2e-3
# Of the voxels in either mask, but two always: some lie at the threshold. One of 449 changed sides
# on another CPU.
MASK_TOLERANCE = 0.02
MASK_VOXELS = 2
# Relative; up to 1.5e-3 on another CPU.
THRESHOLD_TOLERANCE = 5e-3
# Absolute; up to 8e-4 on another CPU.
SCORE_TOLERANCE = 5e-3
# As many voxels of a mask of 50 as `MASK_VOXELS` allows.
DICE_TOLERANCE = 3e-2

COMPARED = {
    *("none auprc", "none anomaly_score", "none recon_l1", "none auroc"),
    *("healthy dice", "healthy fpr_healthy", "otsu dice", "oracle dice"),
}
"""Scores that are compared with a tolerance; others jump where a voxel changes sides."""

TRAINING = [
    *("max_epochs=1", "++trainer.limit_train_batches=4", "++trainer.limit_val_batches=2"),
    *("trainer.accelerator=cpu", "++trainer.enable_progress_bar=false", "datamodule.batch_size=8"),
]
FOLDER = ["data=folder", "data.sequence=T2w", "data.spacing_mm=3", "data.slice_size=[32,32]"]
BANK = ["data=anatomies", "data.sequence=FLAIR", "data.cohort.sequences=[FLAIR]"]
SIZE = ["device=cpu", "jobs=1", "report=false", "controls=none"]
VOLUMES = ["tiling.size=[32,32,32]", "datamodule.batch_size=2"]


@dataclass(frozen=True)
class Case:
    """A run to record.

    Attributes:
        experiment: its name.
        words: overrides beside those of every case.
        cohort: `plain`; `moved`, whose scans lie elsewhere natively; or `bank`, of anatomies.
        subject: whose maps are kept, one with a lesion.
    """

    experiment: str
    words: tuple[str, ...] = ()
    cohort: str = "plain"
    subject: str = "sub06"


_HYSTERESIS = "{_target_: brainuad.postprocess.threshold.Hysteresis, low: 0.5}"
_OTSU = "{_target_: brainuad.postprocess.threshold.Otsu, background: true}"

# The first steps of a context VAE at its usual rate would not show in its maps, and tissue has its
# brightest value in healthy brains too: nothing would be above the usual threshold. The lesions
# are bright, on the side that the preset leaves out; in 3 mm they are smaller than it asks.
_TISSUE = ("model.optimizer.lr=0.005", "postprocess.threshold.alpha=0.1")
_CHAIN = ("model/residual=l1_side", "postprocess.map_steps.0.above=0.9")
_STREGA = (*_TISSUE, *_CHAIN, "postprocess.mask_steps.0.min_area_mm2=20")
_STREGA_3D = ("model.optimizer.lr=0.012", "postprocess.threshold.alpha=0.3", *_CHAIN)
# Nor would those of a VAE whose normalisation is at rest; at twice this rate it diverges.
_VAE = ("model.optimizer.lr=0.01",)
_BANK = (
    *("datamodule.scans=8", "datamodule.val_scans=2", "datamodule.num_workers=0"),
    *("data.cohort.val=1", "data.cohort.test=1", "data.cohort.sick=1"),
)
_WORDS = {"strega": _STREGA, "disyre": ("model.window=32",), "vae": _VAE, "ae": _VAE}

CASES = {
    **{model: Case(model, _WORDS.get(model, ())) for model in MODELS},
    "universal": Case("universal", _BANK, "bank", "tumour000"),
    "with_flips": Case("vae", (*_VAE, "flips=true")),
    "with_relative": Case("vae", (*_VAE, "relative=healthy")),
    # The experiment strega, of the case strega, sees tissue too.
    "with_tissue": Case("vae", (*_VAE, "input=tissue", "input.tissue.backend=gmm", _TISSUE[1])),
    "with_hysteresis": Case("dae", (f"+postprocess.binarise={_HYSTERESIS}",)),
    "with_otsu": Case("intensity", (f"+postprocess.otsu={_OTSU}",)),
    "with_warp": Case("zscore", (), "moved"),
    "with_warp_trained": Case("strega", _STREGA, "moved"),
    # The experiment scores by one pass, without sampling.
    "with_sampler": Case("madad_prototypes", ("model.scores_by=residual",)),
    "volumes_dae": Case("dae_3d", tuple(VOLUMES)),
    "volumes_strega": Case("strega_3d", (*VOLUMES, *_STREGA_3D)),
}
"""Every model config with a recording, found by itself, and what it does not reach."""

OF_ANY_COHORT = [model for model in MODELS if CASES[model].cohort == "plain"]
"""Models that train on whatever healthy scans there are; the others draw their own."""


@contextmanager
def alone() -> Iterator[None]:
    """One torch thread, and the process left as it was found."""
    environment, arguments = dict(os.environ), sys.argv
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    # The command sets it, and where a test before left it on, it would print tracebacks.
    os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)


def call(command: Callable[[], int], words: Sequence[str]) -> None:
    """Runs a command in this process as with these words on its line, and asks for success."""
    with alone():
        sys.argv = [f"{command.__module__}.py", *words]
        status = command()
    assert status == 0, f"{command.__module__} {' '.join(words)}: status {status}"


def train(words: Sequence[str], out: Path) -> Path:
    """The run folder that the training command leaves."""
    call(train_command, [*words, f"paths.output_dir={out}"])
    return out


def words_of(case: Case, cohort: Path, cache: Path) -> list[str]:
    """The command line of a case."""
    place = [*FOLDER, f"data.source={cohort}"]
    if case.cohort == "bank":
        place = [*BANK, f"data.bank={cohort}"]
    place += [f"paths.cache_dir={cache}"]
    return [f"experiment={case.experiment}", *SIZE, *TRAINING, *place, *case.words]


def read_run(out: Path, subject: str) -> Recording:
    """What is kept of a run folder: the maps of one subject and all its scores."""
    scores = pd.read_csv(out / "scores.csv", keep_default_na=False)
    own = scores[scores.method != "oracle_reconstruction"]
    numbers = pd.to_numeric(own.value, errors="coerce").to_numpy(float)
    healthy = own[own.threshold == "healthy"].threshold_value
    return {
        "map": read_volume(out / "prepared" / f"{subject}_anomaly.nii.gz").array,
        "native_map": read_volume(out / f"{subject}_anomaly.nii.gz").array,
        "native_mask": read_volume(out / f"{subject}_mask.nii.gz").array > 0,
        "threshold": np.float64(healthy.iloc[0]),
        "rows": (own.subject + " " + own.threshold + " " + own.metric).to_numpy(str),
        "values": numbers,
    }


def write(recording: Recording, path: Path) -> None:
    """Writes a recording as one compressed file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **recording)


def check(name: str, found: Recording) -> None:
    """Records, or compares with the recording, as the environment says."""
    record, exact = os.environ.get(RECORD), os.environ.get(EXACT)
    if record:
        write(found, Path(record) / f"{name}.npz")
        return
    path = Path(exact or GOLDEN) / f"{name}.npz"
    how = f"{RECORD}={path.parent} pytest tests/integration/test_golden_maps.py -k {name}"
    assert path.is_file(), f"no recording of '{name}'; make it with {how}"
    with np.load(path) as file:
        expected = dict(file)
    (check_exact if exact else check_close)(found, expected)


def check_exact(found: Recording, expected: Recording) -> None:
    """Every array is the same, bit for bit."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key, strict=True)


def check_map(name: str, found: np.ndarray, known: np.ndarray) -> None:
    """A map within the tolerances."""
    assert known.any(), f"the recorded {name} is empty"
    assert found.shape == known.shape
    difference = np.abs(found - known) / np.abs(known).max()
    largest, mean = difference.max(), difference[known != 0].mean()
    said = f"{name} differs by {largest:.1e} of its maximum, on average by {mean:.1e}"
    assert largest <= MAP_TOLERANCE, said
    assert mean <= MEAN_TOLERANCE, said


def check_close(found: Recording, expected: Recording) -> None:
    """Maps, masks, threshold and scores within the tolerances."""
    for key in ("map", "native_map"):
        check_map(key, found[key], expected[key])
    masks = found["native_mask"], expected["native_mask"]
    assert masks[1].any(), "the recorded mask is empty"
    differing, either = (np.count_nonzero(op(*masks)) for op in (np.logical_xor, np.logical_or))
    allowed = max(MASK_VOXELS, MASK_TOLERANCE * either)
    assert differing <= allowed, f"{differing} of the mask's {either} voxels differ"
    np.testing.assert_allclose(
        found["threshold"], expected["threshold"], rtol=THRESHOLD_TOLERANCE, err_msg="threshold"
    )
    now, then = (_compared(recording) for recording in (found, expected))
    assert now.keys() == then.keys()
    for row, value in then.items():
        allowed = DICE_TOLERANCE if row.endswith(" dice") else SCORE_TOLERANCE
        np.testing.assert_allclose(now[row], value, rtol=0, atol=allowed, err_msg=row)


def _compared(recording: Recording) -> dict[str, float]:
    rows = zip(recording["rows"].tolist(), recording["values"].tolist(), strict=True)
    return {row: value for row, value in rows if row.split(" ", 1)[1] in COMPARED}
