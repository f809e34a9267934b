"""What the code wrote before its modules moved is still read; see `tests/data/before_rooms`."""

import shutil
from pathlib import Path
from typing import Any

import golden
import hydra
import numpy as np
import pandas as pd
import pytest
from tiny import AFFINE, ROOT, brain, lesion, write_tiny_cohort

import brainuad
from brainuad.cli.evaluate import main as evaluate_command
from brainuad.cli.report import main as report_command
from brainuad.cohorts.manifest import Scan, read_cohort
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.preparation.recipes import of_cohort
from brainuad.settings.instantiate import PREPARATION, RUN_PACKAGES, instantiate
from brainuad.settings.moved import moved
from brainuad.volumes.nifti import write_volume

pytestmark = [
    pytest.mark.slow,
    # The checkpoints were made in another folder, and a run that goes on finds its own there.
    pytest.mark.filterwarnings("ignore:.*(Checkpoint directory|dirpath has changed)"),
]

OLD = ROOT / "tests" / "data" / "before_rooms"
TARGETS = (OLD / "targets.txt").read_text(encoding="utf-8").split()
DATA = ["data=folder", "data.source=cohort", "data.sequence=T2w"]
# The command that README.md names, with `ckpt=last` and one epoch more.
RESUME = [
    *(
        "experiment=autopaint_prototypes",
        "model.network.features=[4,4,4]",
        "model.network.kernels=[3,3,3]",
    ),
    *("model.scheduler.epochs=2", "model.freeze_norm_epoch=1", "model.prototypes.count=2"),
    *(*DATA, "data.spacing_mm=3", "data.slice_size=[24,32]", "device=cpu", "jobs=1"),
    *("trainer.accelerator=cpu", "paths.cache_dir=cache", "report=false", "predict=false"),
    *("max_epochs=2", "ckpt=last"),
]


def resolve_target(target: str) -> Any:
    """What a `_target_` of an old configuration names today."""
    found = hydra.utils.get_object(moved(target))
    assert found.__module__.startswith((*RUN_PACKAGES, *PREPARATION))
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the old files beside their cohort, which a seed makes anew."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    write_tiny_cohort(tmp_path / "cohort", sick=1)
    shutil.copy(OLD / "cohort.json", tmp_path / "cohort")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_scan(folder: Path) -> Path:
    """A brain with a lesion that no model has seen, and its mask beside it."""
    image, mask = brain(11)
    image = np.clip(image + 0.4 * lesion(), 0, 1).astype(np.float32)
    write_volume(folder / "scan.nii.gz", image, AFFINE)
    write_volume(folder / "scan_brain.nii.gz", mask, AFFINE, np.uint8)
    return folder / "scan.nii.gz"


def map_of_model(path: Path, folder: Path) -> np.ndarray:
    """The anomaly map of a checkpoint or a run folder."""
    image = write_scan(folder)
    scan = Scan("scan", "T2w", image, folder / "scan_brain.nii.gz", healthy=True, split="test")
    model = Model.load(path, Runtime(batch_size=32))
    with golden.alone():
        found = model.on_device().detect_scan(scan)
    return found.anomaly_map[0].numpy()


def map_of_bundle(path: Path, folder: Path) -> np.ndarray:
    """The map that the Python interface gives, before post-processing."""
    with golden.alone():
        found = brainuad.load(path, device="cpu").predict(write_scan(folder))
    return found.raw["anomaly"].array


def map_after_resuming(folder: Path) -> np.ndarray:
    """The map of the interrupted run after one epoch more; in the working folder."""
    golden.train(RESUME, Path("resume"))
    return map_of_model(Path("resume"), folder)


def check_map(name: str, found: np.ndarray) -> None:
    """As `golden.check_close` compares maps; every third axial slice was kept."""
    with np.load(OLD / "expected.npz") as file:
        golden.check_map(name, found[..., ::3], file[name])


def test_a_checkpoint_gives_the_map_it_gave(place: Path) -> None:
    check_map("model", map_of_model(place / "run" / "model.ckpt", place))


def test_a_bundle_gives_the_map_it_gave(place: Path) -> None:
    check_map("bundle", map_of_bundle(place / "bundle.zip", place))


def test_an_interrupted_run_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = map_after_resuming(place)
    assert "resuming from resume/checkpoints/last.ckpt" in capsys.readouterr().out
    assert len(pd.read_csv("resume/metrics.csv")) == 2
    check_map("resumed", found)


def test_a_run_folder_is_scored_as_it_was(place: Path) -> None:
    words = [*DATA, "maps=run/prepared", "name=autopaint", "jobs=1"]
    golden.call(evaluate_command, [*words, "paths.cache_dir=cache", "paths.output_dir=again"])
    before, after = (pd.read_csv(place / run / "scores.csv") for run in ("run", "again"))
    # The reconstructions were not kept.
    kept = ~((before.method == "autopaint") & before.metric.str.startswith("recon_"))
    before = before[kept].reset_index(drop=True)
    # Thresholds that were not there then, and a control that no longer has any of healthy brains.
    after = after[after.threshold.isin(before.threshold)].reset_index(drop=True)
    before, after = (
        table[~((table.method == "oracle_reconstruction") & (table.threshold == "healthy"))]
        .drop(columns="threshold_value")
        .reset_index(drop=True)
        for table in (before, after)
    )
    pd.testing.assert_frame_equal(after, before, rtol=1e-4, atol=1e-6)


def test_a_run_folder_is_reported(place: Path) -> None:
    golden.call(report_command, ["run"])
    page = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert "sub06" in page
    assert "cannot be read" not in page


def test_a_cohort_says_how_it_was_prepared() -> None:
    cohort = read_cohort(OLD)
    assert len(cohort.scans) == 6
    recipe = of_cohort(cohort, "T2w")
    assert recipe is not None
    for part, kind in {"steps": "Preparation", "normalise": "Nyul", "limits": "Limits"}.items():
        made = instantiate(getattr(recipe, part), packages=PREPARATION)
        assert type(made).__name__ == kind


RENAMED = {"ChannelsLast": "MemoryLayout"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_leads_to_something_of_its_name(target: str) -> None:
    found = resolve_target(target)
    name = target.rpartition(".")[2]
    assert getattr(found, "__name__", "") == RENAMED.get(name, name)
