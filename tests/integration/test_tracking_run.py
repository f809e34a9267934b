"""A tracked run: what W&B's own file holds, what it does not, and that the run's id is kept."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import call
from tiny import ROOT, write_tiny_cohort
from wandb_file import artifacts, config, history

from brainuad.model.model import Model
from brainuad.tracking.tracker import OBJECTIVE

pytestmark = pytest.mark.counted

SUBJECTS = [f"sub{i:02d}" for i in range(8)]


def train(base: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A tiny tracked run in `base`, by a user whose home is there."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return call(
        *("train.py", "experiment=strega", "input=intensity"),
        *("data=folder", f"data.source={base / 'clinic'}", "data.sequence=T2w"),
        *("data.slice_size=[32,32]", "model.network.features=[4,8]", "data.spacing_mm=3"),
        *("model.network.latent_dim=4", "controls=none", "report=false", "logger=wandb"),
        *("trainer.log_every_n_steps=1", f"paths.cache_dir={base / 'cache'}"),
        *(f"paths.output_dir={base / 'run'}", "ckpt=last", *arguments),
        timeout=300,
        env=clean | {"HOME": str(base / "home_of_user")},
    )


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> Path:
    """A folder with a run of one epoch, gone on with for a second one, this time without a key."""
    base = tmp_path_factory.mktemp("tracked")
    write_tiny_cohort(base / "clinic")
    first = train(base, "max_epochs=1", "predict=false", "painted_draws=1")
    assert first.returncode == 0, first.stderr
    second = train(base, "max_epochs=2", "painted_draws=1", "logger.offline=false")
    assert second.returncode == 0, second.stderr
    warnings = [line for line in second.stdout.splitlines() if "W&B" in line]
    assert len(warnings) == 1
    assert "no key" in warnings[0]
    return base


def files(base: Path) -> list[Path]:
    """Of the two parts of the run."""
    return sorted(base.glob("run/wandb/offline-run-*/*.wandb"))


def test_a_run_that_is_gone_on_with_keeps_its_id(tracked):
    first, second = files(tracked)
    assert first.name == second.name
    steps = [
        [row["trainer/global_step"] for row in history(f) if "train/loss" in row]
        for f in (first, second)
    ]
    assert max(steps[0]) < min(steps[1])


def test_settings_metrics_curves_pictures_and_objective_are_there(tracked):
    first, second = files(tracked)
    settings = config(second)
    assert settings["model"]["ce_factor"] == 0.5
    assert settings["seed"] == 0
    assert settings["provenance"]["versions"]["torch"]
    rows = history(second)
    keys = {key for row in rows for key in row}
    assert {"train/loss", "val/loss", OBJECTIVE} <= keys
    assert any(key.startswith("precision_recall") for key in keys)
    pictures = {
        key: row[key] for row in rows for key in row if re.fullmatch("anomaly_maps/.*path", key)
    }
    assert set(pictures) == {f"anomaly_maps/test {i}.path" for i in (1, 2, 3)}
    for name in pictures.values():
        assert (second.parent / "files" / name).stat().st_size > 1000
    objective = [row[OBJECTIVE] for row in history(first) if OBJECTIVE in row]
    assert len(objective) == 1
    assert 0 < objective[0] <= 1


def test_the_model_and_the_scores_are_artifacts_that_name_nobody(tracked):
    found = artifacts(files(tracked)[1])
    scores = pd.read_csv(found["scores"]["scores.csv"])
    own = pd.read_csv(tracked / "run" / "scores.csv")
    assert set(scores.subject) == {"test 1", "test 2", "test 3", "(pooled)"}
    assert sorted(scores.value.dropna()) == sorted(own.value.dropna())
    model = Model.load(found["model"]["model.ckpt"])
    assert model.card.subjects == {"train": [], "val": []}
    assert model.card.threshold == Model.load(tracked / "run" / "model.ckpt").card.threshold


def test_nothing_tells_whose_or_where(tracked):
    forbidden = [*SUBJECTS, "clinic", "home_of_user", str(tracked / "cache"), "nii.gz"]
    sent = [path for path in (tracked / "run" / "wandb").rglob("*") if path.is_file()]
    logs = {"debug.log", "debug-internal.log", "debug-core.log"}  # they stay here
    sent = [path for path in sent if path.name not in logs]
    assert len(sent) >= 6
    for path in sent:
        content = path.read_bytes()
        for word in forbidden:
            assert word.encode() not in content, (path, word)
    for path in files(tracked):
        text = repr((config(path), history(path)))
        assert str(tracked) not in text
        assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_the_objective_of_the_sweeps_is_the_one_that_is_logged():
    sweeps = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))
    assert sweeps
    for path in sweeps:
        metric = yaml.safe_load(path.read_text())["metric"]
        assert metric == {"name": OBJECTIVE, "goal": "maximize"}
