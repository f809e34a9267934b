"""Settings of a run that are refused before its first scan is prepared."""

import shutil

import pytest
import torch
from omegaconf import OmegaConf
from tiny import METHODS

from brainuad.errors import CannotWrite, InputError
from brainuad.machine import limits
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.training.preflight import preflight, require_trainer
from brainuad.training.settings import RunSettings

TRAINER = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "devices": 1}
TILING = {"_target_": "brainuad.volumes.tiling.SliceTiling", "plane": "axial", "size": [24, 32]}


@pytest.fixture
def cfg(tmp_path):
    made = {
        "seed": 0,
        "jobs": 1,
        "limit": None,
        "max_epochs": 2,
        "device": "cpu",
        "space": "native",
        "predict": True,
        "painted_draws": 0,
        "predict_batch_size": 4,
        "relative": None,
        "first_stage": None,
        "trainer": {**TRAINER, "max_epochs": "${max_epochs}"},
        "tiling": TILING,
        "postprocess": None,
        "data": {"folds": 1, "fold": 0},
        "datamodule": {"_target_": "x.HealthyDataModule", "batch_size": 4},
        "model": {"_target_": "brainuad.methods.intensity.IntensityDetector"},
        "paths": {"output_dir": str(tmp_path / "run")},
    }
    return OmegaConf.create(made)


OTHERS = {
    **dict.fromkeys(("ckpt", "weights", "painted", "logger", "controls", "also")),
    **{"name": "x", "keep": "last", "matmul_precision": "highest", "predict_precision": "32-true"},
    **{"evaluate": True, "report": True, "input": {"tissue": None}, "callbacks": {}},
}


def check(cfg):
    """What a run needs, by its configuration."""
    config = {**OTHERS, **resolve(cfg)}
    config["data"]["sequence"] = "T2w"
    config["paths"]["cache_dir"] = "cache"
    return preflight(RunSettings.of(config))


def test_masks_of_lesions_that_are_painted_are_read_before_any_scan(cfg, tmp_path):
    holes = {"_target_": "brainuad.synthetic.masks.from_lesions.LesionHoles", "folder": "none"}
    shift = {"_target_": "brainuad.synthetic.lesions.fillings.IntensityShift", "shape": holes}
    mixture = {"_target_": "brainuad.synthetic.lesions.mixture.OneOf", "corruptions": [shift]}
    network = {"_target_": "monai.networks.nets.basic_unet.BasicUNet", "spatial_dims": 2}
    cfg.model = {
        "_target_": "brainuad.methods.fpi.FPI",
        "network": network,
        "corruption": mixture,
    }
    with pytest.raises(InputError, match="none: no lesion mask"):
        check(cfg)


def test_a_run_that_can_be_done_says_what_it_needs(cfg, tmp_path):
    assert check(cfg) == {"val": True, "test": None}
    cfg.predict = False
    assert check(cfg) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("predict_batch_size", 0, "predict_batch_size is 0; use a whole number, 1 or more"),
        ("datamodule.batch_size", -1, "datamodule.batch_size is -1"),
        ("max_epochs", "many", "max_epochs is 'many'"),
        ("trainer.max_epochs", 0.5, "trainer.max_epochs is 0.5"),
        ("seed", True, "seed is True"),
        ("jobs", 0, "jobs is 0"),
        ("limit", 0, "limit is 0"),
        ("space", "nativ", "space is 'nativ'; use native or prepared"),
        ("tiling.plane", "sideways", "sideways"),
        ("tiling.plain", "axial", "plain"),
        ("model.strange", 1, "strange"),
    ],
)
def test_what_a_run_cannot_use_is_named(cfg, tmp_path, key, value, said):
    OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(InputError) as caught:
        check(cfg)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_without_room_for_the_checkpoints_is_refused(cfg, monkeypatch):
    """By the size of the weights, which no file system makes smaller."""
    cfg.model = METHODS["strega"]
    weights = sum(p.numel() * 4 for p in instantiate(cfg.model).parameters())
    usage = shutil.disk_usage(".")
    for free, fits in ((8 * weights, True), (6 * weights, False)):
        monkeypatch.setattr(limits.shutil, "disk_usage", lambda _, n=free: usage._replace(free=n))
        if fits:
            assert check(cfg) == {"train": True, "val": True, "test": None}
        else:
            with pytest.raises(CannotWrite, match="run: takes at least .* MB are free; make room"):
                check(cfg)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"precision": "half"}, "trainer: Precision 'half' is invalid"),
        ({"devices": -3}, "trainer: "),
        ({"strategy": "nosuch"}, "trainer: .*nosuch"),
        ({"strange": 1}, "Trainer: .*'strange'"),
    ],
)
def test_a_trainer_that_lightning_refuses_is_named(cfg, trainer, said):
    cfg.trainer = {**TRAINER, **trainer}
    with pytest.raises(InputError, match=said):
        require_trainer(resolve(cfg.trainer))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_for_gpus_without_one_is_refused_in_a_line(cfg):
    cfg.trainer = {**TRAINER, "accelerator": "gpu", "devices": "auto"}
    with pytest.raises(InputError, match="trainer: No supported gpu .* see configs/trainer"):
        require_trainer(resolve(cfg.trainer))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLURM_NTASKS": "2"}, "SLURM_NTASKS is 2: .* ask for --ntasks-per-node=2"),
        (
            {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
            "SLURM starts 2 processes and the trainer takes 1; ask for --ntasks=1",
        ),
        ({"SLURM_NTASKS": "two"}, "SLURM_NTASKS is 'two' in the environment"),
        ({"SLURM_NTASKS": "1", "SLURM_LOCALID": ""}, "SLURM_LOCALID is '' in the environment"),
    ],
)
def test_variables_of_slurm_that_do_not_fit_are_named(cfg, monkeypatch, variables, said):
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    for name, value in {**job, "SLURM_LOCALID": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        require_trainer(resolve(cfg.trainer))
    # Of a shell on a node the trainer takes no notice.
    if "SLURM_NTASKS_PER_NODE" in variables:
        monkeypatch.setenv("SLURM_JOB_NAME", "bash")
        require_trainer(resolve(cfg.trainer))
