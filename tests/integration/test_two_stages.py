"""MAD-AD from nothing to masks by the real commands, as subprocesses, on the tiny cohort."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from commands import call
from tiny import write_tiny_cohort

from brainuad.cli.train import main

TEST_SUBJECTS = 3
FOUND = "is there already"


class Workplace:
    """A cohort, a cache and the commands on them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        write_tiny_cohort(base / "cohort")
        self.where = ["data=folder", f"data.source={base / 'cohort'}", "data.sequence=T2w"]
        self.where += ["data.spacing_mm=3", f"paths.cache_dir={base / 'cache'}"]

    small = (
        *("experiment=madad", "data.slice_size=[24,32]", "first_stage.max_epochs=2"),
        "first_stage.model.autoencoder.network.channels=[8]",
        *("model.network.width=8", "model.network.norm_groups=4", "model.latent_copies=2"),
        "model.scheduler.epochs=3",  # a run is not resumed on another schedule
    )

    def options(self, out: Path) -> list[str]:
        return [*self.where, f"paths.output_dir={out}"]

    def call(self, script: str, out: Path, *words: str) -> subprocess.CompletedProcess:
        return call(script, *self.options(out), *words)

    def train(self, name: str, *words: str) -> tuple[Path, subprocess.CompletedProcess]:
        return self.base / name, self.call("train.py", self.base / name, *self.small, *words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("madad"))


@pytest.fixture(scope="module")
def finished(place):
    """The run folder of one command from scratch, and what it printed."""
    out, done = place.train("run", "max_epochs=3")
    assert done.returncode == 0, done.stderr
    return out, done


def test_one_command_trains_both_stages_and_leaves_everything(finished, place):
    out, done = finished
    for name in ("model.ckpt", "config.yaml", "metrics.csv", "summary.json", "report.html"):
        assert (out / name).stat().st_size > 0
    for kind in ("anomaly", "mask"):
        assert len(list(out.glob(f"*_{kind}.nii.gz"))) == TEST_SUBJECTS
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.method) == {"madad", "madad_clean", "intensity", "oracle_reconstruction"}
    (stage,) = (place.base / "cache" / "stages").iterdir()
    checks = json.loads((out / "checks.json").read_text())
    assert {"first_stage/psnr_db", "first_stage/ssim", "first_stage/scale"} <= set(checks)
    assert f"autoencoder: PSNR {checks['first_stage/psnr_db']:.1f} dB" in done.stdout
    record = torch.load(out / "model.ckpt", weights_only=True)["brainuad"]["first_stage"]
    assert record["path"] == str(stage / "model.ckpt")
    assert {"checks", "sha256"} <= set(record)
    # Two epochs do not make a good one.
    assert "warning: the autoencoder is too poor for a second stage" in done.stdout
    assert "eval mode" not in done.stderr
    model = torch.load(out / "model.ckpt", weights_only=True)["state_dict"]
    own = torch.load(stage / "model.ckpt", weights_only=True)["state_dict"]
    assert own["autoencoder.scale"] != 1
    for name, value in own.items():
        assert torch.equal(model[name.replace("autoencoder", "first_stage", 1)], value)


def test_the_second_row_is_the_same_model_with_the_other_detection(finished, place):
    out, _ = finished
    once = place.base / "clean_alone"
    words = ["max_epochs=3", f"ckpt={out / 'checkpoints' / 'last.ckpt'}", "also={}"]
    words += ["model.scores_by=clean", "report=false", "evaluate=false"]
    done = call("train.py", *place.options(once), *place.small, *words)
    assert done.returncode == 0, done.stderr
    paths = sorted((out / "also" / "madad_clean").glob("*_anomaly.nii.gz"))
    assert len(paths) > TEST_SUBJECTS
    for path in paths:
        assert path.read_bytes() == (once / "prepared" / path.name).read_bytes()
        assert path.read_bytes() != (out / "prepared" / path.name).read_bytes()


def test_a_second_run_finds_the_stage_and_resumes_to_the_same_scores(finished, place):
    out, _ = finished
    again, done = place.train("again", "max_epochs=2", "predict=false", "report=false")
    assert done.returncode == 0, done.stderr
    assert FOUND in done.stdout
    again, done = place.train("again", "max_epochs=3", "report=false", "ckpt=last")
    assert done.returncode == 0, done.stderr
    assert FOUND in done.stdout
    assert "resuming from" in done.stdout
    for name in ("metrics.csv", "scores.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes()
    assert len(list((place.base / "cache" / "stages").glob("*/model.ckpt"))) == 1


def test_the_model_file_alone_makes_the_same_maps(finished, place):
    out, _ = finished
    maps = place.base / "maps"
    done = call("predict.py", out, place.base / "cohort", maps, "--keep-maps", "--no-page")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(maps / "subjects.csv").set_index("scan_id")
    raw = sorted((out / "prepared").glob("*_anomaly.nii.gz"))
    assert len(raw) == len(table)
    for path in raw:
        assert (maps / "prepared" / path.name).read_bytes() == path.read_bytes(), path
    masks = sorted(out.glob("*_mask.nii.gz"))
    assert len(masks) == TEST_SUBJECTS
    for path in masks:
        row = table.loc[path.name.split("_")[0]]
        assert (maps / row.reconstruction).is_file()
        for mine, own in ((row["mask"], path), (row.anomaly, out / f"{row.name}_anomaly.nii.gz")):
            found = nib.load(maps / mine).get_fdata()
            np.testing.assert_array_equal(found, nib.load(own).get_fdata())


def test_another_seed_is_another_model_and_is_not_resumed_on(finished, place, monkeypatch, capsys):
    out, _ = finished
    seeds = ("seed=1", "first_stage.seed=1")
    other, done = place.train("other", "max_epochs=3", *seeds, "report=false")
    assert done.returncode == 0, done.stderr
    assert FOUND not in done.stdout
    assert (other / "scores.csv").read_bytes() != (out / "scores.csv").read_bytes()
    # In this process, to save its imports: the same arguments, on the other run's autoencoder.
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)  # which the command sets
    before = {path: path.read_bytes() for path in out.glob("*.*") if path.is_file()}
    given = [f"model.first_stage={other / 'model.ckpt'}", "max_epochs=3", "ckpt=last"]
    monkeypatch.setattr(sys, "argv", ["train.py", *place.options(out), *place.small, *given])
    assert main() == 2
    said = capsys.readouterr().err.strip().splitlines()
    # The names of experiments have changed, and each run says so for a release.
    (line,) = [line for line in said if not line.startswith("note: ")]
    assert f"error: {out / 'checkpoints' / 'last.ckpt'}: was made with another first_stage" in line
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_trained_model_is_asked_by_the_sampler_without_another_training(finished, place):
    out, _ = finished
    trained = f"ckpt={out / 'checkpoints' / 'last.ckpt'}"
    published = (
        "model.scores_by=residual",
        "model.sampling.eta=0",
        "model.sampling.mask_threshold=0.5",
    )
    sampled, done = place.train("sampled", "max_epochs=3", trained, *published, "report=false")
    assert done.returncode == 0, done.stderr
    models = [
        torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
        for folder in (out, sampled)
    ]
    assert models[0].keys() == models[1].keys()
    for name, value in models[0].items():
        assert torch.equal(models[1][name], value), name
    scores = [pd.read_csv(folder / "scores.csv") for folder in (out, sampled)]
    own = [table[table.method == "madad"].value.to_numpy() for table in scores]
    assert not np.array_equal(*own, equal_nan=True)
