"""A model of two sequences: on a cohort folder, on raw scans, in Python, exported."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import METHODS, write_tiny_channels, write_tiny_model

import brainuad
from brainuad.cli.inpaint import main as inpaint
from brainuad.cli.predict import main as predict
from brainuad.errors import InputError
from brainuad.methods.strega import StRegA
from brainuad.model.card import preparation_of
from brainuad.model.export import export_model
from brainuad.records.recipe import Recipe
from brainuad.volumes.nifti import read_volume

NAMES = ["T2w", "T1w"]
CARD = {"sequence": "T2w+T1w", "run": {"data": {"sequence": NAMES}}, "threshold": 0.6}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A context VAE of two channels."""
    network = {**METHODS["strega"]["network"], "channels": 2}
    two = {**METHODS["strega"], "network": network}
    monkeypatch.setitem(METHODS, "strega", two)
    return write_tiny_model(tmp_path / "model.ckpt", "strega", **CARD)


@pytest.fixture
def raw(tmp_path):
    """The scans of the tiny cohort as people name them; the last subject lacks a sequence."""
    cohort = write_tiny_channels(tmp_path / "cohort", lacking="sub07")
    folder = tmp_path / "raw"
    folder.mkdir()
    for scan in cohort.scans:
        if scan.split == "test":
            name = folder / f"{scan.subject}_{scan.sequence}.nii.gz"
            name.write_bytes(scan.image.read_bytes())
    return folder


def test_a_cohort_and_its_raw_scans_and_python_say_the_same(tmp_path, model, raw, capsys):
    words = ["--no-page", "--keep-maps", "--device", "cpu"]
    assert predict([str(model), str(tmp_path / "cohort"), str(tmp_path / "a"), *words]) == 3
    assert "T2w+T1w scans" in capsys.readouterr().out
    assert predict([str(model), str(raw), str(tmp_path / "b"), *words]) == 3
    prepared, own = (pd.read_csv(tmp_path / out / "subjects.csv") for out in "ab")
    assert list(own.subject) == ["sub05", "sub06", "sub07"]
    assert list(own.status == "failed") == [False, False, True]
    assert "has no T1w scan" in own.reason.iloc[2]
    assert list(prepared.status == "failed") == [False] * 7 + [True]
    found = brainuad.load(model, device="cpu").predict(
        [raw / "sub06_T2w.nii.gz", raw / "sub06_T1w.nii.gz"]
    )
    path = tmp_path / "b" / own.anomaly.iloc[1]
    np.testing.assert_allclose(read_volume(path).array, found.anomaly_map, atol=1e-6)
    assert found.anomaly_map.shape == read_volume(raw / "sub06_T2w.nii.gz").array.shape
    assert found.raw["anomaly"].array.ndim == 3
    assert found.reconstruction is not None


def test_each_channel_is_looked_at_and_its_change_is_seen(tmp_path, model, raw):
    words = [str(model), str(raw), str(tmp_path / "out"), "--no-page", "--device", "cpu"]
    predict(words)
    before = pd.read_csv(tmp_path / "out" / "subjects.csv").score
    (raw / "sub05_T1w.nii.gz").write_bytes((raw / "sub06_T2w.nii.gz").read_bytes())
    predict(words)
    after = pd.read_csv(tmp_path / "out" / "subjects.csv").score
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_model_of_several_sequences_takes_as_many_images(model, raw):
    loaded = brainuad.load(model, device="cpu")
    assert loaded.sequence == "T2w+T1w"
    with pytest.raises(InputError, match=r"found 1 images, the model takes 2: T2w, T1w; give a"):
        loaded.predict(raw / "sub05_T2w.nii.gz")


def test_a_bundle_knows_its_channels(tmp_path, model, raw):
    card = export_model(model, tmp_path / "bundle.zip", "CC0")
    assert card.sequence == "T2w+T1w"
    images = [raw / "sub05_T2w.nii.gz", raw / "sub05_T1w.nii.gz"]
    first, second = (brainuad.load(m, device="cpu") for m in (model, tmp_path / "bundle.zip"))
    np.testing.assert_array_equal(
        first.predict(images).anomaly_map, second.predict(images).anomaly_map
    )


def test_each_channel_is_normalised_in_its_own_way(tmp_path, model, raw):
    content = torch.load(model, weights_only=True)
    recipe = content["brainuad"]["preparation"]
    same = recipe["normalise"]
    images = [raw / "sub05_T2w.nii.gz", raw / "sub05_T1w.nii.gz"]
    maps = []
    for other in (same, {**same, "high": 50.0}):
        recipe["normalise"] = {"T2w": same, "T1w": other}
        torch.save(content, tmp_path / "own.ckpt")
        loaded = brainuad.load(tmp_path / "own.ckpt", device="cpu")
        maps.append(loaded.predict(images).anomaly_map)
    np.testing.assert_array_equal(
        maps[0], brainuad.load(model, device="cpu").predict(images).anomaly_map
    )
    assert not np.array_equal(*maps)
    export_model(tmp_path / "own.ckpt", tmp_path / "own", "CC0")
    assert (
        f"{same['_target_'].rpartition('.')[2]} intensities"
        in (tmp_path / "own" / "MODEL_CARD.md").read_text()
    )


def test_inpainting_refuses_several_sequences_in_one_line(
    tmp_path, model, raw, capsys, monkeypatch
):
    monkeypatch.setattr("brainuad.methods.base.InpaintingDetector", StRegA)
    mask = str(tmp_path / "cohort" / "sub06_lesion.nii.gz")
    words = [str(raw / "sub06_T2w.nii.gz"), mask, str(tmp_path / "x.nii.gz"), "--model", str(model)]
    assert inpaint(words) == 2
    said = capsys.readouterr().err
    assert "takes T2w+T1w at once, and one scan is filled here; give a model" in said
    assert said.count("\n") == 1


def test_channels_keep_the_normalisation_of_each(tmp_path):
    cohort = write_tiny_channels(tmp_path)
    first, second = ({"_target_": "x", "low": low} for low in (1, 2))
    recipe = Recipe({"spacing_mm": 3}, {"T2w": first, "T1w": second}, {})
    own = replace(cohort, info={**cohort.info, "recipe": recipe.to_json()})
    assert preparation_of(own, "T1w") == replace(recipe, normalise=second)
    assert preparation_of(own, ["T1w"]) == replace(recipe, normalise=second)
    assert preparation_of(own, NAMES) == recipe
    assert preparation_of(own, ["T2w", "FLAIR"]) is None
    alike = replace(recipe, normalise={"T2w": first, "T1w": first})
    found = preparation_of(replace(cohort, info={"recipe": alike.to_json()}), NAMES)
    assert found == replace(recipe, normalise=first)
