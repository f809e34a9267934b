import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import METHODS, write_tiny_model

from brainuad.cli.export import main
from brainuad.errors import InputError
from brainuad.model.bundle import write_bundle
from brainuad.model.model import Model
from brainuad.settings.instantiate import instantiate

OLD_CARD = json.loads((Path(__file__).parent / "card_1_0.json").read_text())


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "run" / "model.ckpt", "strega")


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_export_and_load(model, tmp_path, name):
    out = tmp_path / name
    assert main([str(model), str(out), "--licence", "CC BY 4.0"]) == 0
    before, after = Model.load(model), Model.load(out)
    assert after.weights_hash == before.weights_hash
    assert after.card.licence == "CC BY 4.0"
    assert after.card.preparation == before.card.preparation
    assert {**after.card.to_json(), **before.card.to_json()} == after.card.to_json()
    if out.is_file():
        first = out.read_bytes()
        assert main([str(model.parent), str(out), "--licence", "CC BY 4.0"]) == 0
        assert out.read_bytes() == first


def test_the_model_card_says_what_people_need(model, tmp_path):
    row = {"method": "strega", "group": "all", "threshold": "none", "metric": "auprc"}
    numbers = {"n": 3, "mean": 0.4321, "std": 0.1, "ci_low": 0.3, "ci_high": 0.5, "undefined": 0}
    summary = {"results": [row | numbers]}
    (model.parent / "summary.json").write_text(json.dumps(summary))
    assert main([str(model.parent), str(tmp_path / "b"), "--licence", "CC0"]) == 0
    text = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    for words in ("T2w", "tiny", "1 trained on, 1 for validation", "3 mm", "CC0", "0.432"):
        assert words in text
    assert "not a medical device" in text
    assert Model.load(model).weights_hash in text


def test_the_places_of_the_machine_stay_there(tmp_path):
    run = {"data": {"spacing_mm": 3.0, "cohort": {"source": "/home/anna/patients"}}}
    path = write_tiny_model(tmp_path / "model.ckpt", run=run)
    assert main([str(path), str(tmp_path / "b")]) == 0
    assert "anna" not in (tmp_path / "b" / "card.json").read_text()
    assert Model.load(tmp_path / "b").card.run["data"]["spacing_mm"] == 3.0


def test_models_without_a_threshold_stay_home(tmp_path, capsys):
    path = write_tiny_model(tmp_path / "model.ckpt")
    content = torch.load(path, weights_only=True)
    del content["brainuad"]["threshold"]
    torch.save(content, path)
    assert main([str(path), str(tmp_path / "b")]) == 2
    assert "holds no threshold" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_other_things_are_not_overwritten(model, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main([str(model), str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "thesis.tex").exists()
    (tmp_path / "file").touch()
    assert main([str(model), str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_a_bundle_beside_other_things_is_not_replaced(model, tmp_path, capsys, name):
    out = tmp_path / name
    assert main([str(model), str(out)]) == 0
    if out.is_dir():
        (out / "thesis.tex").write_text("mine")
    else:
        with zipfile.ZipFile(out, "a") as file:
            file.writestr("thesis.tex", "mine")
    before = out.read_bytes() if out.is_file() else sorted(out.iterdir())
    capsys.readouterr()
    assert main([str(model), str(out)]) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert before == (out.read_bytes() if out.is_file() else sorted(out.iterdir()))


def test_an_archive_of_somebody_else_is_not_replaced(model, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("a.jpg", "mine")
    before = (tmp_path / "photos.zip").read_bytes()
    assert main([str(model), str(tmp_path / "photos.zip")]) == 2
    assert (tmp_path / "photos.zip").read_bytes() == before


def test_folders_of_the_machine_are_not_in_a_card_wherever_they_stand(tmp_path):
    places = {"a": ["/home/anna/x.ckpt"], "b": {"c": "C:\\Users\\anna\\y", "d": "~/anna/z"}}
    said = f"{Path.home()}/anna was read"
    path = write_tiny_model(tmp_path / "model.ckpt", run={"data": places, "note": f"from {said}"})
    assert main([str(path), str(tmp_path / "b")]) == 0
    text = (tmp_path / "b" / "card.json").read_text()
    assert "/home/" not in text
    assert f"{Path.home()}/" not in text
    assert "Users" not in text


def _tamper(folder):
    card = json.loads((folder / "card.json").read_text())
    card["threshold"] = 0.9
    (folder / "card.json").write_text(json.dumps(card))


def _truncate(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def _other_weights(folder):
    other = write_tiny_model(folder.parent / "other.ckpt", "strega", seed=1)
    main([str(other), str(folder.parent / "other"), "--licence", "x"])
    shutil.copy(folder.parent / "other" / "weights.safetensors", folder)


def _lose(folder):
    (folder / "card.json").unlink()


def _no_hashes(folder):
    (folder / "sha256.json").unlink()


def _broken_hashes(folder):
    (folder / "sha256.json").write_text("{")


def _wrong_hash(folder):
    (folder / "sha256.json").write_text('{"card.json": "0"}')


def _gone(folder):
    shutil.rmtree(folder)


BROKEN = [
    (_tamper, "card.json is not what was exported"),
    (_truncate, "weights.safetensors is not what was exported"),
    (_other_weights, "weights.safetensors is not what was exported"),
    (_lose, "holds no card.json"),
    (_no_hashes, "holds no sha256.json"),
    (_broken_hashes, "sha256.json: not valid JSON"),
    (_wrong_hash, "is not what was exported"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "words"), BROKEN)
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_bundles_are_refused_in_one_line(model, tmp_path, damage, words, zipped):
    folder = tmp_path / "bundle"
    assert main([str(model), str(folder), "--licence", "x"]) == 0
    damage(folder)
    path = folder
    if zipped:
        path = Path(shutil.make_archive(str(folder), "zip", folder))
    with pytest.raises(InputError, match=words) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_or_foreign_zip_is_refused(model, tmp_path):
    path = tmp_path / "bundle.zip"
    assert main([str(model), str(path), "--licence", "x"]) == 0
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        Model.load(path)
    # A byte of a member's content: the zip's own checksum, or our hash, tells.
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(InputError, match="damaged|not what was exported"):
        Model.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"holds no sha256\.json"):
        Model.load(path)
    with pytest.raises(InputError, match="no such"):
        Model.load(tmp_path / "none.zip")


def _saved(path, **changes):
    card = OLD_CARD | changes
    torch.manual_seed(0)
    detector = instantiate(METHODS["strega"])
    write_bundle(path, detector.state_dict(), card, "")
    return path


def test_a_card_of_the_first_version_still_loads(tmp_path):
    assert "format" not in OLD_CARD
    assert "preparation" not in OLD_CARD
    loaded = Model.load(_saved(tmp_path / "old"))
    assert loaded.card.format == "1.0"
    assert loaded.card.statistics is None
    detector = instantiate(METHODS["strega"])
    content = {"state_dict": detector.state_dict(), "brainuad": OLD_CARD}
    torch.save(content, tmp_path / "old.ckpt")
    assert Model.load(tmp_path / "old.ckpt").card == loaded.card


def test_a_newer_minor_version_loads_and_a_newer_major_one_does_not(tmp_path):
    assert Model.load(_saved(tmp_path / "a", format="1.9", more=1)).card.more == {"more": 1}
    with pytest.raises(InputError, match=r"is of format 2\.0, this brainuad reads 1\.x"):
        Model.load(_saved(tmp_path / "b", format="2.0"))


@pytest.mark.parametrize(
    "target", ["os.system", "builtins.eval", "brainuad.machine.files.write_text"]
)
def test_a_bundle_cannot_name_code(tmp_path, target):
    model = METHODS["strega"] | {"residual": {"_target_": target, "command": "true"}}
    with pytest.raises(InputError, match="not allowed"):
        Model.load(_saved(tmp_path / "b", model=model))


def test_saved_models_are_of_this_format(model):
    detector = Model.load(model)
    detector.card = replace(detector.card, format="1.0")
    detector.save(model)
    assert Model.load(model).card.format == "1.5"
