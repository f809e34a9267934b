"""What a model file says without being loaded is what the loaded model says."""

import collections
import pickle

import pytest
import torch
from tiny import write_tiny_model

from brainuad.cli import export
from brainuad.errors import InputError
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.know import know
from brainuad.model.model import Model
from brainuad.model.model_file import read_card, remember_hash, remembered_hash


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "kept"))
    write_tiny_model(tmp_path / "run" / "model.ckpt", "strega")
    return tmp_path


def test_cards_are_those_of_the_loaded_models(folder):
    run = folder / "run"
    paths = [run, run / "model.ckpt"]
    for name in ("bundle", "bundle.zip"):
        assert export.main([str(run), str(folder / name)]) == 0
        paths.append(folder / name)
    for path in paths:
        assert read_card(path) == Model.load(path).card


def test_a_checkpoint_of_a_training_has_a_card_too(folder):
    """With the optimiser's state, and weights of every kind that torch saves."""
    content = read_checkpoint(folder / "run" / "model.ckpt")
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    content["state_dict"] = collections.OrderedDict(content["state_dict"], weight=weight)
    content["optimizer_states"] = [torch.optim.Adam([weight]).state_dict()]
    torch.save(content, folder / "last.ckpt")
    assert read_card(folder / "last.ckpt") == read_card(folder / "run")


class Danger:
    """Reading it calls a function."""

    def __reduce__(self):
        return print, ("executed",)


def test_nothing_in_it_is_executed(folder, capsys):
    path = folder / "run" / "model.ckpt"
    content = read_checkpoint(path)
    content["brainuad"]["name"] = Danger()
    torch.save(content, path)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        read_card(path)
    (folder / "plain.ckpt").write_bytes(pickle.dumps(Danger()))
    with pytest.raises(InputError, match="not a readable checkpoint"):
        read_card(folder / "plain.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_a_hash_is_remembered_until_the_file_changes(folder):
    run = folder / "run"
    assert remembered_hash(run) is None
    found = Model.load(run).weights_hash
    remember_hash(run, found)
    assert remembered_hash(run) == remembered_hash(run / "model.ckpt") == found
    write_tiny_model(run / "model.ckpt", "strega", seed=1)
    assert remembered_hash(run) is None


def test_without_a_cache_it_is_not_remembered(folder, monkeypatch):
    monkeypatch.setenv("BRAINUAD_CACHE", str(folder / "run" / "model.ckpt"))
    remember_hash(folder / "run", "hash")
    assert remembered_hash(folder / "run") is None


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("strega", "1.3", "strega (what is experiment=strega_paper today) for T2w"),
        ("vae_small", "1.3", "vae_small (what is experiment=vae today) for T2w"),
        ("madad", "1.0", "madad (what is experiment=madad_prototypes today) for T2w"),
        ("strega", "1.4", "strega for T2w"),
        ("zscore", "1.3", "zscore for T2w"),
    ],
)
def test_an_old_model_keeps_its_name_with_a_note(tmp_path, name, kind, words):
    path = write_tiny_model(tmp_path / "model.ckpt", name=name)
    content = torch.load(path, weights_only=True)
    content["brainuad"]["format"] = kind
    torch.save(content, path)
    assert str(know(path)).startswith(words)
