"""Models that come with the package: the list, names and sequences, the words of the command."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import AFFINE, brain, write_tiny_channels, write_tiny_model

import brainuad
from brainuad import shipped
from brainuad.cli.predict import main as predict
from brainuad.cli.predict_words import sort_words
from brainuad.errors import InputError
from brainuad.model.export import export_model
from brainuad.model.model import Model
from brainuad.volumes.nifti import read_volume, write_volume


def entry(sequence, file="a.zip"):
    return {
        **{"name": "universal", "sequence": sequence, "file": file, "sha256": "", "size": 1},
        **{"source": "s", "data_licence": "d", "licence": "l", "scores": {}},
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one tiny model, for T2w."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_tiny_model(tmp_path / "model.ckpt", "strega", thresholds={"fixed": 0.5})
    export_model(tmp_path / "model.ckpt", folder / "universal-T2w.zip", "CC0", half=True)
    (folder / "models.json").write_text(json.dumps({"models": [entry("T2w", "universal-T2w.zip")]}))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.setattr(shipped, "INDEX", folder / "models.json")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def scan(tmp_path):
    write_volume(tmp_path / "scans" / "sub1_T2w.nii.gz", brain(3)[0], AFFINE)
    return tmp_path / "scans" / "sub1_T2w.nii.gz"


def test_what_ships_is_what_the_list_says():
    found = brainuad.models()
    assert found
    assert sum(model.size for model in found) <= 6e6
    for model in found:
        content = model.path.read_bytes()
        assert len(content) == model.size <= 2.2e6
        assert hashlib.sha256(content).hexdigest() == model.sha256
        card = Model.load(model.path).card
        assert card.sequence == model.sequence
        assert card.thresholds["fixed"] == 0.5
        assert card.statistics is None
        assert model.licence
        assert "non-commercial" not in model.data_licence.lower()


def test_a_model_is_found_by_name_and_sequence(package, capsys):
    assert shipped.shipped().path == package / "universal-T2w.zip"
    assert shipped.resolved("universal", "T2").name == "universal-T2w.zip"
    with pytest.raises(InputError, match="comes for T2w, not for T1w"):
        shipped.shipped("universal", "T1w")
    with pytest.raises(InputError, match=r"nothing: no such file, and no model .* \(universal\)"):
        shipped.shipped("nothing")
    both = {"models": [entry("FLAIR"), entry("T2w")]}
    (package / "models.json").write_text(json.dumps(both))
    assert shipped.shipped("universal", "T2w").sequence == "T2w"
    capsys.readouterr()
    assert shipped.shipped().sequence == "FLAIR"
    assert "comes for FLAIR, T2w; this is the one for FLAIR" in capsys.readouterr().out


def test_an_existing_path_of_that_name_wins_and_it_is_said(package, tmp_path, capsys):
    (tmp_path / "universal").mkdir()
    assert str(shipped.resolved("universal")) == "universal"
    assert "taken for the path" in capsys.readouterr().out


def test_half_precision_is_exact_to_a_part_in_two_thousand(package, tmp_path):
    whole, half = Model.load(tmp_path / "model.ckpt"), Model.load(package / "universal-T2w.zip")
    for name, value in whole.state_dict().items():
        other = half.state_dict()[name]
        assert other.dtype == value.dtype
        assert ((value - other).abs() <= value.abs() / 2048 + 1e-7).all()
    assert half.card.weights_sha256 == half.weights_hash


def test_two_words_take_the_model_that_ships_at_its_own_threshold(package, scan, tmp_path, capsys):
    words = [str(scan.parent), str(tmp_path / "out"), "preparation=extracted", "--dry-run"]
    assert predict(words) == 0
    said = capsys.readouterr().out
    assert "model: universal, which comes with brainuad" in said
    assert "threshold 0.5" in said
    assert predict([*words, "--sensitivity", "high"]) == 0
    assert "threshold 0.3" in capsys.readouterr().out
    # Three words, or --model, name one.
    for named in (["universal", *words], [*words, "--model", "universal"]):
        assert predict(named) == 0
        assert "because none was named" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["one"], "found 1 words (one); give SCANS and OUT"),
        (["a", "b", "c", "d"], "found 4 words"),
        (["a", "b", "c", "--model", "d"], "two models, a and --model d"),
        (["model.ckpt", "SCANS", "out", "--sensitivity", "low"], "--sensitivity is for the models"),
        (["SCANS", "out", "--sensitivity", "low", "--threshold", "0.4"], "--sensitivity is for"),
        (["UNTOLD", "out"], "the name tells no sequence; say --sequence T2w"),
        (["SCANS", "out", "--sequence", "T1w"], "comes for T2w, not for T1w"),
        (["OTHER", "out"], "no T2w scan, which universal is for (found: 1 T1w)"),
    ],
)
def test_what_cannot_be_meant_is_refused(package, scan, tmp_path, capsys, words, expected):
    write_volume(tmp_path / "untold" / "patient.nii.gz", brain(3)[0], AFFINE)
    write_volume(tmp_path / "other" / "patient_T1w.nii.gz", brain(3)[0], AFFINE)
    folders = {"SCANS": "scans", "UNTOLD": "untold", "OTHER": "other"}
    places = {word: str(tmp_path / name) for word, name in folders.items()}
    assert predict([places.get(word, word) for word in words]) == 2
    assert expected in capsys.readouterr().err


@pytest.fixture
def two(package, tmp_path):
    """The package with a second tiny model, for FLAIR."""
    write_tiny_model(tmp_path / "f.ckpt", "strega", thresholds={"fixed": 0.5}, sequence="FLAIR")
    export_model(tmp_path / "f.ckpt", package / "universal-FLAIR.zip", "CC0")
    listed = [entry(name, f"universal-{name}.zip") for name in ("FLAIR", "T2w")]
    (package / "models.json").write_text(json.dumps({"models": listed}))
    return package


def test_each_scan_of_a_folder_goes_to_the_model_of_its_sequence(two, scan, tmp_path, capsys):
    for name in ("sub1_FLAIR", "sub2_FLAIR", "sub2_PD"):
        write_volume(scan.parent / f"{name}.nii.gz", brain(3)[0], AFFINE)
    words = [str(scan.parent), str(tmp_path / "out"), "preparation=extracted"]
    assert predict([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "with 2 FLAIR scans; left aside: 1 PD" in said
    assert "with 1 T2w scans; left aside: 1 PD" in said
    assert predict(words) == 0
    table = pd.read_csv(tmp_path / "out" / "subjects.csv")
    assert list(table.scan_id) == ["sub1_FLAIR", "sub1_T2w", "sub2_FLAIR"]
    assert (tmp_path / "out" / "index.html").is_file()
    # Nothing is left to do, and one sequence alone can be asked for.
    capsys.readouterr()
    assert predict(words) == 0
    assert "2 are done already" in capsys.readouterr().out
    assert predict([*words, "--sequence", "T2w", "--dry-run"]) == 0
    assert "FLAIR scans" not in capsys.readouterr().out


def test_a_sequence_that_the_model_was_not_tried_on_is_taken_and_flagged(package, tmp_path, capsys):
    listed = [{**entry("T2w", "universal-T2w.zip"), "untested": ["PDw"]}]
    (package / "models.json").write_text(json.dumps({"models": listed}))
    for name in ("sub1_PD", "sub2_T2w"):
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", brain(3)[0], AFFINE)
    words = [str(tmp_path / "scans"), str(tmp_path / "out"), "preparation=extracted", "--no-page"]
    assert predict(words) == 0
    said = capsys.readouterr().out
    assert said.index("with 1 T2w scans") < said.index("with 1 PDw scans")
    assert "left aside" not in said
    table = pd.read_csv(tmp_path / "out" / "subjects.csv").set_index("subject")
    assert list(table.sequence) == ["PDw", "T2w"]
    doubt = "of PDw: the model for T2w was tried on no such scan of a person"
    assert table.status["sub1"] == "flagged"
    assert doubt in table.reason["sub1"]
    assert "PDw" not in str(table.reason["sub2"])
    # The same by Python, and where the name does not tell.
    (tmp_path / "scans" / "sub1_PD.nii.gz").rename(tmp_path / "patient.nii.gz")
    found = brainuad.load("universal", sequence="pd", preparation=["preparation=extracted"])
    assert doubt in found.predict(tmp_path / "patient.nii.gz").flags
    words = [str(tmp_path / "patient.nii.gz"), str(tmp_path / "second"), *words[2:]]
    assert predict([*words, "--sequence", "PD"]) == 0
    assert doubt in (tmp_path / "second" / "subjects.csv").read_text()


def test_a_folder_is_listed_once_for_all_models(two, scan, tmp_path, monkeypatch):
    from brainuad.inference import find_scans

    seen, whole = [], find_scans.find_all
    monkeypatch.setattr(
        find_scans, "find_all", lambda *a, **rest: seen.append(a) or whole(*a, **rest)
    )
    write_volume(scan.parent / "sub1_FLAIR.nii.gz", brain(3)[0], AFFINE)
    words = [str(scan.parent), str(tmp_path / "out"), "preparation=extracted", "--dry-run"]
    assert predict(words) == 0
    assert len(seen) == 1


def test_a_cohort_of_several_sequences_is_asked_which(two, tmp_path, capsys):
    write_tiny_channels(tmp_path / "cohort")
    assert predict([str(tmp_path / "cohort"), str(tmp_path / "out")]) == 2
    assert "say --sequence, and give each a folder" in capsys.readouterr().err


def test_a_path_called_demo_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sort_words(["demo", "out"], None)[1] == shipped.DEMO
    (tmp_path / "demo").mkdir()
    assert sort_words(["demo", "out"], None)[1] == Path("demo")


@pytest.mark.slow
def test_the_head_that_comes_with_brainuad_is_predicted(tmp_path):
    """73 ml of it are lesions, most of them one stroke on the left."""
    assert shipped.DEMO.stat().st_size < 1e6
    assert predict(["demo", str(tmp_path), "--no-page"]) == 0
    table = pd.read_csv(tmp_path / "subjects.csv")
    assert list(table.status) == ["done"]
    assert 35_000 < table.volume_mm3[0] < 90_000
    findings = pd.read_csv(tmp_path / "findings.csv")
    assert findings.side[0] == "left"
    mask = read_volume(tmp_path / table["mask"][0])
    head = read_volume(shipped.DEMO)
    assert mask.array.shape == head.array.shape
    assert np.allclose(mask.affine, head.affine)
