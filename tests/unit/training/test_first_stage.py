"""The first stage: trained once, found by content, taken from files, refused without one."""

import os
import threading
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from public_weights import public_weights
from safetensors.torch import save_file
from tiny import write_tiny_cohort

from brainuad.cli.run_settings import settings_of
from brainuad.cohorts.manifest import Cohort, read_cohort
from brainuad.errors import InputError, PartialFailure
from brainuad.machine.fingerprint import hash_weights
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.settings.instantiate import instantiate
from brainuad.training.first_stage import build_on, first_stage_of, read_first_stage
from brainuad.types import Batch
from brainuad.volumes.tiling import VolumeTiling

SMALL = [
    "first_stage.model.autoencoder.network.channels=[8]",
    "first_stage.model.autoencoder.network.norm_num_groups=4",
    "model.network.width=8",
    "model.network.norm_groups=4",
]
QUALITY = {
    **{"psnr_db": 31.5, "ssim": 0.91, "scale": 1.2, "subjects": 2},
    **{"min_psnr_db": 26.0, "min_ssim": 0.85},
}


@pytest.fixture
def configure(tmp_path):
    """Composes a run of MAD-AD with overrides."""

    def call(*overrides, experiment="madad"):
        words = [
            *(f"experiment={experiment}", "data=folder", "data.source=somewhere"),
            *("data.sequence=T2w", "data.slice_size=[24,32]"),
            f"paths.cache_dir={tmp_path / 'cache'}",
            "paths.output_dir=run",
        ]
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            small = SMALL if experiment == "madad" else []
            cfg = compose("train", [*words, *small, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        # A command's configuration does not hold Hydra's own.
        with open_dict(cfg):
            del cfg["hydra"]
        return settings_of(cfg)

    return call


class Training:
    """Stands for the training of a run: writes its model file and remembers what was asked."""

    def __init__(self, quality=QUALITY):
        self.runs = []
        self.quality = quality

    def __call__(self, settings):
        self.runs.append(settings)
        torch.manual_seed(settings.seed)
        card = Card(settings.model, {}, {}, "T2w", None, checks=self.quality)
        Model(instantiate(settings.model), card, VolumeTiling()).save(settings.out / "model.ckpt")


def test_it_is_trained_once_as_a_run_of_its_own(configure, tiny_cohort, capsys):
    training = Training()
    first = first_stage_of(configure("relative=healthy"), tiny_cohort, training)
    again = first_stage_of(configure(), tiny_cohort, training)
    assert len(training.runs) == 1
    assert capsys.readouterr().out.splitlines() == [
        "first stage: training the autoencoder",
        f"first stage: {first.path} is there already",
    ]
    assert first.config == again.config
    assert hash_weights(first.weights) == hash_weights(again.weights)
    assert first.checks == QUALITY
    (run,) = training.runs
    assert run.name == "autoencoder"
    assert run.model["_target_"].endswith("KLAutoencoder")
    own = configure().config["first_stage"]
    assert run.trainer["max_epochs"] == run.config["max_epochs"] == own["max_epochs"]
    assert run.datamodule["batch_size"] == own["batch_size"]
    assert run.stage is None
    assert run.ckpt == "last"  # one that was killed goes on
    assert not any((run.predict, run.evaluate, run.report, run.relative))
    assert run.out == first.path.parent
    assert Path(run.callbacks["checkpoint"]["dirpath"]).parent == first.path.parent


DECIDING = [
    "first_stage.max_epochs=3",
    "first_stage.batch_size=8",
    "first_stage.seed=5",
    "first_stage.model.kl_weight=0.5",
    "first_stage.model.optimizer.lr=0.5",
    "first_stage.model.autoencoder.network.channels=[16]",
    "data.slice_size=[32,32]",
    "datamodule.augment=null",
    "datamodule.min_brain_fraction=0.5",
    "trainer.precision=bf16-mixed",
    "trainer=smoke",
    "matmul_precision=high",
    "input=tissue",
    "input=dae",
    "datamodule.slices_per_volume=1",
    "~callbacks.seed",
]

NEUTRAL = [
    "max_epochs=7",
    "keep=last",  # the stage keeps its best epoch
    "seed=6",  # the stage has its own, so that runs of other seeds share it
    "model.sampling.eta=0",
    "model.network.width=16",
    "model.optimizer.lr=1",
    "model.latent_copies=0",
    "datamodule.batch_size=4",
    "datamodule.num_workers=2",
    "trainer.accelerator=cpu",
    "data.source=elsewhere",
    "paths.output_dir=other",
    "name=mine",
    "device=cpu",
    "jobs=1",
    "postprocess=none",
    "ckpt=last",
    "predict=false",
]


@pytest.mark.slow
def test_what_decides_its_weights_trains_another(configure, tiny_cohort):
    training = Training()
    for override in [None, *DECIDING]:
        folders = {run.out for run in training.runs}
        first_stage_of(configure(*filter(None, [override])), tiny_cohort, training)
        assert len(training.runs) == len(folders) + 1, override
        assert training.runs[-1].out not in folders


@pytest.mark.slow
def test_what_does_not_finds_it_again(configure, tiny_cohort):
    training = Training()
    for override in [None, *NEUTRAL]:
        first_stage_of(configure(*filter(None, [override])), tiny_cohort, training)
        assert len(training.runs) == 1, override


def _touch(path):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "name", "count"),
    [("train", "image", 2), ("val", "brain_mask", 2), ("test", "image", 1)],
)
def test_other_healthy_scans_train_another(configure, tiny_cohort, split, name, count):
    training = Training()
    first_stage_of(configure(), tiny_cohort, training)
    _touch(getattr(tiny_cohort.select(split, "T2w")[0], name))
    first_stage_of(configure(), tiny_cohort, training)
    assert len(training.runs) == count


def test_another_split_trains_another_and_another_place_does_not(configure, tmp_path):
    training = Training()
    cohort = write_tiny_cohort(tmp_path / "here")
    first_stage_of(configure(), cohort, training)
    cohort.root.rename(tmp_path / "there")
    first_stage_of(configure(), read_cohort(tmp_path / "there"), training)
    assert len(training.runs) == 1
    scans = read_cohort(tmp_path / "there").scans
    fewer = Cohort(tmp_path / "there", scans[1:], {})
    first_stage_of(configure(), fewer, training)
    assert len(training.runs) == 2


def test_one_that_failed_is_trained_again(configure, tiny_cohort):
    def failing(cfg):
        (cfg.out / "config.yaml").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_stage_of(configure(), tiny_cohort, failing)
    training = Training()
    first_stage_of(configure(), tiny_cohort, training)
    assert len(training.runs) == 1


def test_subjects_that_fail_in_it_are_left_to_the_run(configure, tiny_cohort, capsys):
    training = Training()

    def partly(cfg):
        training(cfg)
        raise PartialFailure([("sub00", "truncated")])

    first_stage_of(configure(), tiny_cohort, partly)
    assert "first stage: 1 subject(s) failed, the others were done" in capsys.readouterr().out


def test_two_runs_at_once_train_one(configure, tiny_cohort):
    other_asks, training = threading.Event(), Training()

    def slowly(cfg):
        assert other_asks.wait(60)
        training(cfg)

    configs = [configure(), configure()]
    first = threading.Thread(target=first_stage_of, args=(configs[0], tiny_cohort, slowly))
    first.start()

    def second():
        other_asks.set()
        first_stage_of(configs[1], tiny_cohort, slowly)

    thread = threading.Thread(target=second)
    thread.start()
    first.join()
    thread.join()
    assert len(training.runs) == 1


def test_methods_without_one_have_none(configure, tiny_cohort):
    def never(cfg):
        raise AssertionError("nothing to train")

    cfg = configure(experiment="strega")
    assert first_stage_of(cfg, tiny_cohort, never) is None
    assert cfg.model.get("first_stage") is None


@pytest.fixture
def first(configure, tiny_cohort):
    """A first stage that was trained here."""
    return first_stage_of(configure(), tiny_cohort, Training())


def _own(first, folder):
    return first.path


def _of_a_method(first, folder):
    network = {"_target_": "brainuad.networks.masked_unet.MaskedUNet", "width": 8, "heads": 2}
    network |= {"norm_groups": 4, "multipliers": [1], "blocks": 1, "attention": [False]}
    residual = {"_target_": "brainuad.methods.parts.residuals.signed", "_partial_": True}
    model = {"_target_": "brainuad.methods.madad.MADAD", "first_stage": first.config}
    model |= {"network": network, "residual": residual}
    detector = instantiate(model)
    detector.first_stage.load_state_dict(first.weights)
    card = Card(model, {}, {}, "T2w", None, first_stage={"checks": first.checks})
    Model(detector, card, VolumeTiling()).save(folder / "madad.ckpt")
    return folder / "madad.ckpt"


def test_null_is_the_one_of_the_configuration(configure, tiny_cohort, first):
    cfg = configure("model.first_stage=null")
    found = first_stage_of(cfg, tiny_cohort, Training())
    assert found.path == first.path
    assert cfg.with_first_stage(found.config).model["first_stage"] == first.config


@pytest.mark.slow
@pytest.mark.parametrize("make", [_own, _of_a_method])
def test_a_given_checkpoint_takes_its_place(configure, tiny_cohort, tmp_path, first, make):
    def never(cfg):
        raise AssertionError("was given")

    path = make(first, tmp_path)
    # Whatever the configuration of the stage says.
    cfg = configure(f"model.first_stage={path}", "first_stage.model.kl_weight=3")
    stage = first_stage_of(cfg, tiny_cohort, never)
    assert stage.path == path
    assert stage.config == first.config
    scans = {split: tiny_cohort.select(split, "T2w") for split in ("train", "val")}
    model = _build(cfg, stage, scans)
    for name, value in model.method.first_stage.state_dict().items():
        assert name == "scale" or torch.equal(value, first.weights[name])
    # What it reached where it was trained says nothing of these scans.
    record = model.card.first_stage["checks"]
    assert record["psnr_db"] != QUALITY["psnr_db"]
    assert record["subjects"] == 2
    assert model.method.first_stage.scale.item() == pytest.approx(record["scale"])


def _build(cfg, stage, scans=None):
    settings = cfg.with_first_stage(stage.config)
    model = Model(instantiate(settings.model), None, instantiate(settings.tiling))
    build_on(model, stage, scans or {})
    return model


def test_a_public_one_keeps_its_scale_and_is_measured(configure, tiny_cohort, tmp_path, capsys):
    path = tmp_path / "vae.safetensors"
    save_file(public_weights(), path)
    cfg = configure(f"model.first_stage={path}")
    stage = first_stage_of(cfg, tiny_cohort, Training())
    assert stage.checks is None
    scans = {split: tiny_cohort.select(split, "T2w") for split in ("train", "val")}
    model = _build(cfg, stage, scans)
    record = model.card.first_stage
    # train-MAD-AD.py:249, evaluate-MAD-AD.py:171.
    assert model.method.first_stage.scale.item() == pytest.approx(0.18215)
    assert record["checks"]["scale"] == pytest.approx(0.18215)
    assert record["checks"]["subjects"] == 2
    assert record["path"] == str(path)
    printed = capsys.readouterr().out
    assert "autoencoder: PSNR" in printed
    assert "warning: the autoencoder is too poor" in printed  # random weights
    # Its images are grey, its weights frozen like those of ours.
    assert not any(p.requires_grad for p in model.method.first_stage.parameters())
    batch = Batch(torch.rand(1, 1, 24, 32), torch.ones(1, 1, 24, 32, dtype=torch.bool))
    model.method.measure([batch])
    assert model.method.anomaly_map(*batch).shape == (1, 1, 24, 32)


@pytest.mark.slow
@pytest.mark.parametrize("good", [True, False])
def test_a_poor_one_warns(configure, first, capsys, good):
    quality = QUALITY | {"psnr_db": 12.3, "min_psnr_db": 12.0 if good else 26.0}
    stage = read_first_stage(first.path)
    stage.checks.update(quality)
    model = _build(configure(), stage)
    printed = capsys.readouterr().out
    assert ("warning: the autoencoder is too poor for a second stage (PSNR 12.3 dB" in printed) == (
        not good
    )
    record = model.card.first_stage
    assert record["checks"]["psnr_db"] == 12.3
    assert record["sha256"] == hash_weights(first.weights)


def test_its_digest_is_of_the_weights(first):
    stage = read_first_stage(first.path)
    assert stage.digest == first.digest
    stage.weights["scale"] *= 2
    assert stage.digest != first.digest


def _no_autoencoder(path, first):
    content = torch.load(first.path, weights_only=True)
    content["brainuad"]["model"] = {"_target_": "brainuad.methods.strega.StRegA"}
    torch.save(content, path)


def _no_weights_of_it(path, first):
    content = torch.load(first.path, weights_only=True)
    content["state_dict"] = {"network.weight": torch.zeros(1)}
    torch.save(content, path)


def _foreign(path, first):
    torch.save({"state_dict": {"autoencoder.weight": torch.zeros(1)}}, path)


def _pickled_module(path, first):
    torch.save({"state_dict": {}, "autoencoder": torch.nn.Linear(1, 1)}, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path, first: None, "no such checkpoint"),
        (_no_autoencoder, "holds no autoencoder; give a model.ckpt"),
        (_no_weights_of_it, "holds no autoencoder; give a model.ckpt"),
        (_foreign, "holds no autoencoder; give a model.ckpt"),
        (_pickled_module, "not a readable checkpoint"),
    ],
)
def test_files_without_an_autoencoder_are_refused_in_one_line(
    configure, tiny_cohort, tmp_path, first, make, words
):
    path = tmp_path / "given.ckpt"
    make(path, first)
    with pytest.raises(InputError, match=words) as caught:
        first_stage_of(configure(f"model.first_stage={path}"), tiny_cohort, Training())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused_in_one_line(configure, first):
    stage = read_first_stage(first.path)
    stage.weights.popitem()
    with pytest.raises(InputError, match="its weights do not fit its module") as caught:
        _build(configure(), stage)
    assert str(first.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_given_file_cannot_name_code(configure, tiny_cohort, tmp_path, first):
    content = torch.load(first.path, weights_only=True)
    content["brainuad"]["model"]["autoencoder"]["network"]["_target_"] = "os.system"
    torch.save(content, tmp_path / "given.ckpt")
    cfg = configure(f"model.first_stage={tmp_path / 'given.ckpt'}")
    with pytest.raises(InputError, match="'os.system', which is not allowed in a file"):
        first_stage_of(cfg, tiny_cohort, Training())
