"""Every method's maps, masks and scores are those that were recorded; see `tests/golden.py`."""

from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from moved_cohort import write_moved_cohort
from tiny import AFFINE, brain, lesion, write_tiny_cohort, write_tiny_model
from tiny_head import write_tiny_bank

import brainuad
from brainuad.volumes.nifti import write_volume


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both cohorts, and room for caches."""
    base = tmp_path_factory.mktemp("golden")
    write_tiny_cohort(base / "plain", sick=1)
    write_moved_cohort(base / "moved")
    write_tiny_bank(base / "bank", 8.0, tuple(f"head{n}" for n in range(5)))
    return base


def write_strong_model(path: Path, seed: int) -> Path:
    """An untrained model whose weights are large enough for its reconstructions to be seen."""
    write_tiny_model(path, "strega", seed=seed)
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {name: 3 * value for name, value in content["state_dict"].items()}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", golden.CASES)
def test_runs_give_what_was_recorded(place: Path, name: str) -> None:
    case = golden.CASES[name]
    words = golden.words_of(case, place / case.cohort, place / "cache")
    golden.check(name, golden.read_run(golden.train(words, place / name), case.subject))


def test_an_ensemble_gives_what_was_recorded(tmp_path: Path) -> None:
    models = [write_strong_model(tmp_path / f"{seed}.ckpt", seed) for seed in (0, 1)]
    image = np.clip(brain(9)[0] + 0.4 * lesion(), 0, 1).astype(np.float32)
    write_volume(tmp_path / "scan.nii.gz", image, AFFINE)
    with golden.alone():
        found = brainuad.load(*models, device="cpu").predict(tmp_path / "scan.nii.gz")
    assert found.uncertainty is not None
    recording = {
        "map": found.raw["anomaly"].array,
        "native_map": found.anomaly_map,
        "native_mask": found.mask,
        "threshold": np.float64(found.threshold),
        "rows": np.array(["scan none anomaly_score", "scan none uncertainty"]),
        "values": np.array([found.score, found.uncertainty.mean()]),
    }
    golden.check("ensemble", recording)


def test_every_recording_is_of_a_case() -> None:
    known = {*golden.CASES, "ensemble"}
    assert {path.stem for path in golden.GOLDEN.iterdir()} <= known
