import pickle

import pytest
import torch

from brainuad.errors import InputError
from brainuad.model.checkpoint import load_model, read_checkpoint, save_model, weights_hash
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate

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
    detector = instantiate(MODEL)
    detector.card = {
        "model": MODEL,
        "tiling": {},
        "postprocess": {},
        "sequence": "T2w",
        "subjects": {},
    }
    return detector


def test_round_trip(tmp_path):
    detector = _detector()
    detector.card["threshold"] = 0.25
    save_model(detector, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")
    assert loaded.card["threshold"] == 0.25
    assert weights_hash(loaded) == weights_hash(detector) != weights_hash(_detector(1))


def _missing(path):
    pass


def _truncated(path):
    save_model(_detector(), path)
    path.write_bytes(path.read_bytes()[:-300])


def _pickled_code(path):
    torch.save({"state_dict": {}, "brainuad": pickle.Pickler}, path)


def _no_weights(path):
    torch.save({"a": 1}, path)


def _no_card(path):
    torch.save({"state_dict": {}}, path)


def _other_weights(path):
    detector = _detector()
    save_model(detector, path)
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
        load_model(path)
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
    detector.card["model"] = MODEL | {"residual": {"_target_": target, "command": "true"}}
    save_model(detector, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match="not allowed|defined elsewhere"):
        load_model(tmp_path / "model.ckpt")


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
    save_model(_detector(), tmp_path / "model.ckpt")
    content = read_checkpoint(tmp_path / "model.ckpt")
    assert set(content) == {"state_dict", "brainuad"}
