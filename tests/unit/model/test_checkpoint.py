import pickle
from dataclasses import replace

import pytest
import torch

from brainuad.errors import InputError
from brainuad.model.card import Card
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.volumes.tiling import VolumeTiling

MODEL = {
    "_target_": "brainuad.methods.strega.StRegA",
    "network": {
        "_target_": "brainuad.networks.context_vae.ContextVAE",
        "image_size": [8, 16],
        "features": [4, 8],
        "latent_dim": 3,
    },
    "residual": {"_target_": "brainuad.methods.parts.residuals.signed", "_partial_": True},
}


def _detector(seed=0):
    torch.manual_seed(seed)
    card = Card(MODEL, {"_target_": "brainuad.volumes.tiling.VolumeTiling"}, {}, "T2w", {})
    return Model(instantiate(MODEL), card, VolumeTiling())


def test_round_trip(tmp_path):
    detector = _detector()
    detector.card = replace(detector.card, threshold=0.25)
    detector.save(tmp_path / "model.ckpt")
    loaded = Model.load(tmp_path / "model.ckpt")
    assert loaded.card.threshold == 0.25
    assert loaded.weights_hash == detector.weights_hash != _detector(1).weights_hash


def _missing(path):
    pass


def _truncated(path):
    _detector().save(path)
    path.write_bytes(path.read_bytes()[:-300])


def _pickled_code(path):
    torch.save({"state_dict": {}, "brainuad": pickle.Pickler}, path)


def _no_weights(path):
    torch.save({"a": 1}, path)


def _no_card(path):
    torch.save({"state_dict": {}}, path)


def _other_weights(path):
    detector = _detector()
    detector.save(path)
    content = torch.load(path, weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no such checkpoint"),
        (_truncated, "not a readable checkpoint"),
        (_pickled_code, "not a readable checkpoint"),
        (_no_weights, "holds no weights"),
        (_no_card, "its card lacks"),
        (_other_weights, "do not fit"),
    ],
)
def test_bad_checkpoints_are_refused(tmp_path, make, words):
    path = tmp_path / "model.ckpt"
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.nn.modules.module.functools.partial",
        "brainuad.machine.files.write_text",
    ],
)
def test_a_card_cannot_name_code(tmp_path, target):
    detector = _detector()
    model = MODEL | {"residual": {"_target_": target, "command": "true"}}
    detector.card = replace(detector.card, model=model)
    detector.save(tmp_path / "model.ckpt")
    with pytest.raises(InputError, match="not allowed|defined elsewhere"):
        Model.load(tmp_path / "model.ckpt")


def test_unknown_targets_are_said():
    with pytest.raises(InputError, match="cannot be found"):
        instantiate({"_target_": "brainuad.methods.strega.Nothing"})
    with pytest.raises(InputError, match="not allowed"):
        instantiate([{"a": {"_target_": "subprocess.run"}}], packages=RUN_PACKAGES)


def test_dataclass_arguments_arrive_as_they_are(tiny_cohort):
    found = instantiate(
        {
            "_target_": "brainuad.training.datamodule.HealthyDataModule",
            "sequence": "T2w",
            "cache_dir": "x",
        },
        packages=RUN_PACKAGES,
        cohort=tiny_cohort,
        tiling="tiling",
    )
    assert len(found.scans["train"]) == 3
    assert found.tiling == "tiling"


def test_read_checkpoint_gives_tensors_and_plain_values(tmp_path):
    _detector().save(tmp_path / "model.ckpt")
    content = read_checkpoint(tmp_path / "model.ckpt")
    assert set(content) == {"state_dict", "brainuad"}
