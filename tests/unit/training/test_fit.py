import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import METHODS, write_tiny_model

from brainuad.cohorts.load import load_scan
from brainuad.errors import InputError
from brainuad.methods.autopaint import AutoPaint
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.methods.parts.residuals import signed
from brainuad.methods.zscore import ZScore
from brainuad.model.model import Model
from brainuad.networks.partial_unet import PartialUNet
from brainuad.synthetic.masks.random import ShapeHoles
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.fit import AtomicCheckpoints, fit, measure, resume_point, start_from
from brainuad.volumes.tiling import SliceTiling, VolumeTiling


def test_equal_checkpoints_have_equal_bytes(tmp_path):
    """Whatever their parts share: what was read again shares less."""
    word, pair = "wor" + "d", ("a", 1)
    weights = {"w": torch.arange(3.0)}
    shared = {"state_dict": weights, "one": [word, word, pair], "two": {"key": word, "pair": pair}}
    alone = json.loads(json.dumps({"one": [word, word], "two": {"key": word}}))
    alone["one"].append(("a", 1))
    alone["two"]["pair"] = ("a", 1)
    # Of the last validation, which a training that was complete and is given again does not repeat.
    shared["callbacks"] = {"best": {"best_model_score": 0.5, "current_score": torch.tensor(0.7)}}
    alone["callbacks"] = {"best": {"best_model_score": 0.5, "current_score": None}}
    for name, content in (("a.ckpt", shared), ("b.ckpt", {"state_dict": weights, **alone})):
        AtomicCheckpoints().save_checkpoint(content, tmp_path / name)
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["two"]["pair"] == ("a", 1)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    files = [write_tiny_model(tmp_path / name / "model.ckpt", "strega") for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_atlas_is_measured_not_trained(tiny_cohort, tmp_path):
    tiling = VolumeTiling()
    datamodule = HealthyDataModule(tiny_cohort, "T2w", tiling, tmp_path / "cache", batch_size=2)
    detector = ZScore(signed, HealthyAtlas(sigma=0, min_std=0.001))
    measure(Model(detector, None, tiling), datamodule)
    images, masks = zip(*map(load_scan, datamodule.scans["train"]), strict=True)
    brain = torch.stack(masks).all(0)
    # Tiles are kept in half precision.
    expected = torch.stack(images).mean(0)[brain]
    torch.testing.assert_close(detector.atlas.mean[brain], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        detector.atlas.std[brain],
        torch.stack(images).std(0).clamp_min(0.001)[brain],
        atol=1e-3,
        rtol=0,
    )


def test_a_mirror_image_needs_slices_that_run_from_left_to_right(tiny_cohort, tmp_path):
    trainer = {"_target_": "lightning.pytorch.Trainer", "logger": False}
    settings = SimpleNamespace(trainer=trainer, callbacks={}, out=tmp_path)
    network = PartialUNet(1, (4,), (3,), mirror=True)
    detector = AutoPaint(network, ShapeHoles(), signed)
    tiling = SliceTiling("sagittal", (24, 28))
    datamodule = HealthyDataModule(tiny_cohort, "T2w", tiling, tmp_path / "cache", batch_size=2)
    with pytest.raises(InputError, match=r"set model.network.mirror=false"):
        fit(settings, Model(detector, None, tiling), datamodule, None)


def test_a_trained_model_may_be_scored_in_another_way_but_not_be_another(tmp_path):
    path = write_tiny_model(tmp_path / "model.ckpt", "strega", run={"model": METHODS["strega"]})
    detector = Model.load(path)
    squares = {"_target_": "brainuad.methods.parts.residuals.squared", "_partial_": True}
    detector.card = replace(
        detector.card, run={"model": METHODS["strega"] | {"residual": squares, "gradient": "kl"}}
    )
    assert resume_point(str(path), tmp_path, detector) == path
    detector.card = replace(detector.card, run={"model": METHODS["strega"] | {"ce_factor": 0.1}})
    with pytest.raises(InputError, match="was made with another model"):
        resume_point(str(path), tmp_path, detector)


def test_a_run_from_before_a_setting_goes_on_unless_the_setting_is_used(tmp_path):
    before = {"input": {"tissue": None}, "datamodule": {"batch_size": 8}}
    path = write_tiny_model(tmp_path / "model.ckpt", "strega", run=before)
    detector = Model.load(path)
    added = {"heights": None, "slices_per_volume": None, "replace": False}
    now = {
        "input": {"tissue": None, "normalise": None},
        "datamodule": {"batch_size": 8, **added},
    }
    detector.card = replace(detector.card, run=now)
    assert resume_point(str(path), tmp_path, detector) == path
    for key, used in {"heights": [0.1, 0.9], "slices_per_volume": 1}.items():
        settings = {"batch_size": 8, **added, key: used}
        detector.card = replace(detector.card, run={**before, "datamodule": settings})
        with pytest.raises(InputError, match="was made with another datamodule"):
            resume_point(str(path), tmp_path, detector)
    detector.card = replace(
        detector.card, run={**before, "input": {"tissue": None, "normalise": {"_target_": "x"}}}
    )
    with pytest.raises(InputError, match="was made with another input"):
        resume_point(str(path), tmp_path, detector)


def test_a_training_starts_from_the_weights_of_a_trained_model(tmp_path):
    detector = Model.load(write_tiny_model(tmp_path / "own.ckpt", "strega"))
    given = Model.load(write_tiny_model(tmp_path / "given.ckpt", "strega", seed=1))
    assert detector.weights_hash != given.weights_hash
    detector.card = replace(detector.card, run={})
    start_from(None, detector)
    assert detector.card.run == {}
    start_from(str(tmp_path / "given.ckpt"), detector)
    assert detector.weights_hash == given.weights_hash
    assert detector.card.run == {"weights": given.weights_hash}


def test_weights_that_do_not_fit_are_refused_in_a_line(tmp_path):
    detector = Model.load(write_tiny_model(tmp_path / "own.ckpt", "strega"))
    other = write_tiny_model(tmp_path / "other.ckpt", "intensity")
    with pytest.raises(InputError, match=r"weights: .*other.ckpt is of another network"):
        start_from(str(other), detector)
    given = write_tiny_model(tmp_path / "given.ckpt", "strega", first_stage={"sha256": "a"})
    detector.card = replace(detector.card, run={"first_stage": "b"})
    with pytest.raises(InputError, match=r"another first stage; set model.first_stage="):
        start_from(str(given), detector)
    with pytest.raises(InputError, match="no such"):
        start_from(str(tmp_path / "nothing.ckpt"), detector)
