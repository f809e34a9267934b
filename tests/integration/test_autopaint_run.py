"""AutoPaint from nothing to masks by the real commands, as subprocesses, on the tiny cohort."""

import json
from pathlib import Path

import commands
import pytest
import torch
from tiny import write_tiny_cohort

SMALL = [
    *("experiment=autopaint", "data.slice_size=[24,32]"),
    *("model.network.features=[8,8,8]", "model.network.kernels=[3,3,3]"),
    *("model.scheduler.epochs=3", "model.freeze_norm_epoch=1"),
]
FEATURES = [
    *("first_stage=autoencoder", "first_stage.max_epochs=1"),
    "first_stage.model.autoencoder.network.channels=[8]",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autopaint")
    write_tiny_cohort(folder / "cohort")
    return folder


def call(base: Path, script: str, out: Path, *words: str) -> str:
    where = ["data=folder", f"data.source={base / 'cohort'}"]
    where += ["data.sequence=T2w", "data.spacing_mm=3", f"paths.cache_dir={base / 'cache'}"]
    done = commands.call(script, *where, f"paths.output_dir={out}", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(base):
    """The run folder of one command from scratch, and what it printed."""
    return base / "run", call(base, "train.py", base / "run", *SMALL, *FEATURES, "max_epochs=3")


def test_one_command_trains_and_leaves_everything(run):
    out, said = run
    record = json.loads((out / "checks.json").read_text())
    assert f"{record['healthy_region_after']:.1%} after repainting" in said
    assert 0 <= record["healthy_region_after"] < 1
    state = torch.load(out / "model.ckpt", weights_only=True)["state_dict"]
    assert state["candidate_threshold"].item() == pytest.approx(record["candidate_threshold"])
    for name in ("report.html", "scores.csv", "summary.json"):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "prepared").glob("*_reconstruction.nii.gz"))) == 5
    assert (out / "metrics.csv").read_text().splitlines()[0].count("train/style") == 1


def test_interrupted_before_the_second_phase_it_ends_the_same(base, run):
    out, _ = run
    again = base / "again"
    call(
        base, "train.py", again, *SMALL, *FEATURES, "max_epochs=1", "predict=false", "report=false"
    )
    said = call(
        base, "train.py", again, *SMALL, *FEATURES, "max_epochs=3", "report=false", "ckpt=last"
    )
    assert "resuming from" in said
    for name in ("metrics.csv", "scores.csv", "checks.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_the_model_file_alone_makes_the_same_maps(base, run):
    out, _ = run
    maps = base / "maps"
    words = [out / "model.ckpt", base / "cohort", maps, "--keep-maps", "--no-page"]
    done = commands.call("predict.py", *words)
    assert done.returncode == 0, done.stderr
    found = sorted(maps.glob("prepared/*_anomaly.nii.gz"))
    assert found
    for path in found:
        assert path.read_bytes() == (out / "prepared" / path.name).read_bytes()


def test_two_ranks_train_the_discriminator_too(base):
    out = base / "ranks"
    words = ["model=autopaint_prototypes", "model.adversarial_weight=0.1"]
    words += ["model.discriminator.channels=4", "model.discriminator.num_layers_d=1"]
    words += ["trainer.accelerator=cpu", "trainer.devices=2"]
    words += ["+trainer.strategy=ddp", "max_epochs=2", "predict=false", "report=false"]
    call(base, "train.py", out, *SMALL, *words)
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    # 3 subjects have 60 slices at most: 4 steps of 8 a rank and epoch, one optimiser for both.
    assert 0 < last["global_step"] <= 8
    discriminator = {k: v for k, v in last["state_dict"].items() if k.startswith("discriminator")}
    assert discriminator
    assert all(torch.isfinite(value).all() for value in discriminator.values())
    (optimizer,) = last["optimizer_states"]
    trained = sum("weight" in k or "bias" in k for k in discriminator)
    assert len(optimizer["state"]) >= trained
