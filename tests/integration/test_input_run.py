"""What a method sees is one tensor, in training and in every way of detection."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import AFFINE, brain, write_tiny_channels, write_tiny_model

import brainuad
from brainuad.cohorts.channels import with_channels
from brainuad.cohorts.load import load_scan
from brainuad.model.card import preparation_of
from brainuad.model.known import Known
from brainuad.model.model import Model
from brainuad.model.predict import seen_by
from brainuad.model.prepared_scan import from_cohort
from brainuad.preparation.from_folder import folder_cohort
from brainuad.preparation.model_input import as_input, input_of, unnormalised
from brainuad.training.datamodule import HealthyDataModule
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.tiling import SliceTiling

DAE = {
    "tissue": None,
    "normalise": {
        "_target_": "brainuad.preparation.normalise.released.PositivePercentile",
        "percentile": 90.0,
    },
}


@pytest.fixture
def folder(tmp_path):
    """Six healthy brains whose brightest voxels the cohort's normalisation cuts."""
    root = tmp_path / "scans"
    for index in range(6):
        image, mask = brain(index)
        image = 100 + 900 * image.astype(np.float64) ** 2
        write_volume(root / f"s{index}_T2w.nii.gz", np.where(mask, image, 0), AFFINE)
    return root


@pytest.fixture
def cohort(folder, tmp_path):
    return folder_cohort(folder, tmp_path / "cache", "T2w", spacing_mm=3.0)


@pytest.fixture
def model(cohort, tmp_path):
    """An untrained context VAE, prepared as the cohort is."""
    card = {"input": DAE, "preparation": preparation_of(cohort, "T2w").to_json()}
    return write_tiny_model(tmp_path / "model.ckpt", "strega", **card)


def test_training_and_detection_see_the_same(folder, cohort, model, tmp_path):
    scan = cohort.select("train", "T2w")[0]
    seen, failures = as_input(cohort.scans, input_of(DAE), tmp_path / "cache")
    assert not failures
    trained = load_scan(next(one for one in seen if one.subject == scan.subject))[0][0].numpy()
    # By hand, of the scan as it came, which lies on the prepared grid already.
    raw = read_volume(folder / f"{scan.subject}_T2w.nii.gz").array
    assert sorted(trained[trained > 0])[-1] > 1
    np.testing.assert_allclose(
        np.sort(trained[trained > 0]), np.sort(raw[raw > 0] / np.percentile(raw[raw > 0], 90)), 1e-5
    )
    loaded = brainuad.load(model, device="cpu")
    of_cohort = from_cohort(scan, cohort, loaded.known.recipe)
    np.testing.assert_array_equal(seen_by(loaded.view, of_cohort)[0], trained)
    found = loaded.predict(folder / f"{scan.subject}_T2w.nii.gz")
    np.testing.assert_array_equal(found.raw["input"].array, trained)
    # A tile of training is the same, in half precision.
    tiling = SliceTiling("axial", (24, 32))
    scans = type(cohort)(cohort.root, seen, cohort.info)
    data = HealthyDataModule(scans, "T2w", tiling, tmp_path / "cache")
    data.setup()
    tile = next(iter(data.measuring_dataloader())).image[0]
    slices = tiling.split(torch.from_numpy(trained)[None])[0]
    assert min((tile - one).abs().max() for one in slices) < 1e-3


def test_scans_keep_the_cohorts_intensities(cohort):
    for scan in cohort.scans:
        array = read_volume(scan.image).array
        assert array.max() == 1
        assert read_volume(unnormalised(scan.image)).array.max() > 100


def test_a_scan_whose_unnormalised_image_is_gone_is_listed(cohort, tmp_path):
    gone, *others = cohort.scans
    unnormalised(gone.image).unlink()
    seen, failures = as_input([gone, *others], input_of(DAE), tmp_path / "cache")
    assert [one.subject for one in seen] == [one.subject for one in others]
    ((subject, reason),) = failures
    assert subject == gone.subject
    assert "prepare the cohort again" in reason


def test_without_a_record_the_image_is_taken_as_it_is(tmp_path):
    channels = ["T2w", "T1w"]
    cohort = with_channels(write_tiny_channels(tmp_path / "cohort"), channels)
    scan = cohort.select("train", channels)[0]
    # Another program's file beside the scan is no record.
    beside = scan.image.with_name(scan.image.name.removesuffix(".nii.gz") + ".json")
    beside.write_text(json.dumps({"image": "elsewhere.nii.gz", "EchoTime": 0.1}))
    assert unnormalised(scan.image) == scan.image
    ((seen,), _) = as_input([scan], input_of(DAE), tmp_path / "cache")
    found = load_scan(seen)[0].numpy()
    for channel, row in zip(found, scan.rows, strict=True):
        raw = read_volume(row.image).array
        expected = raw / np.percentile(raw[raw > 0], 90)
        np.testing.assert_allclose(channel, expected, rtol=1e-5, atol=1e-6)
    model = write_tiny_model(tmp_path / "m.ckpt", input=DAE, sequence="T2w+T1w")
    known = brainuad.load(model, device="cpu")
    as_detected = seen_by(known.view, from_cohort(scan, cohort, known.known.recipe))
    np.testing.assert_array_equal(as_detected, found)


def test_cards_of_before_see_the_prepared_intensities(cohort, tmp_path):
    old = write_tiny_model(tmp_path / "old.ckpt", input={"tissue": None})
    now = write_tiny_model(tmp_path / "now.ckpt", input={"tissue": None, "normalise": None})
    loaded = brainuad.load(old, now, device="cpu")
    scan = cohort.scans[0]
    seen = seen_by(loaded.models[0].view, from_cohort(scan, cohort, loaded.known.recipe))
    np.testing.assert_array_equal(seen[0], read_volume(scan.image).array)
    cards = [Model.load(path).card for path in (old, now)]
    assert Known([old, now], cards).scales is None
    # Models of several inputs have scores on several scales.
    assert Known([old, now], [cards[0], replace(cards[1], input=DAE)]).scales is not None
