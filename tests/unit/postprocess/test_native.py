"""One way back to native space: what training, prediction and evaluation write is the same."""

from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation
from tiny import AFFINE, SHAPE, brain, lesion, write_tiny_model

import brainuad
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation import score_maps
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.inference.maps import fill
from brainuad.inference.masks import write_masks
from brainuad.machine.failures import Failures
from brainuad.model.prepared_scan import from_cohort
from brainuad.postprocess.native import native_image, native_map
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.smooth import Median
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.settings.instantiate import instantiate
from brainuad.types import Space, Volume
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

HYSTERESIS = {"_target_": "brainuad.postprocess.threshold.Hysteresis", "low": 0.9}
OTSU = {"_target_": "brainuad.postprocess.threshold.Otsu", "background": True}
CHAINS = {
    "default": {},
    "hysteresis": {"binarise": HYSTERESIS},
    "otsu": {"otsu": OTSU},
    "masks_last": {"masks_last": True},
}


@pytest.fixture
def scan(tmp_path) -> Scan:
    """A lesion subject with a rotated, anisotropic native scan."""
    folder = tmp_path / "cohort"
    image, mask = brain(0)
    image = np.clip(image + 0.4 * lesion(), 0, 1)
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("xyz", [12, -8, 25], degrees=True).as_matrix()
    world[:3, 3] = 7, -4, 11
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", [-5, 9, 4], degrees=True).as_matrix()
    affine = turned @ np.diag([-2.2, 2.7, 4.1, 1.0])
    native_shape = (44, 38, 17)
    middle = apply_affine(world @ AFFINE, (np.array(SHAPE) - 1) / 2)
    affine[:3, 3] += middle - apply_affine(affine, (np.array(native_shape) - 1) / 2)
    paths = {
        "image": folder / "a.nii.gz",
        "brain_mask": folder / "a_brain.nii.gz",
        "lesion_mask": folder / "a_lesion.nii.gz",
        "native_image": folder / "a_native.nii.gz",
        "native_lesion_mask": folder / "a_native_lesion.nii.gz",
        "transform": folder / "a.txt",
    }
    folder.mkdir()
    write_volume(paths["image"], image, AFFINE)
    write_volume(paths["brain_mask"], mask, AFFINE, np.uint8)
    write_volume(paths["lesion_mask"], lesion(), AFFINE, np.uint8)
    rng = np.random.default_rng(0)
    write_volume(paths["native_image"], rng.uniform(0, 900, native_shape), affine)
    write_volume(paths["native_lesion_mask"], np.zeros(native_shape), affine, np.uint8)
    np.savetxt(paths["transform"], world)
    return Scan(subject="a", sequence="T2w", healthy=False, split="test", **paths)


@pytest.mark.parametrize("chain", CHAINS)
def test_training_prediction_and_evaluation_agree_voxel_by_voxel(scan, tmp_path, chain):
    steps = {
        "_target_": "brainuad.postprocess.pipeline.Postprocess",
        "map_steps": [{"_target_": "brainuad.postprocess.smooth.Median", "size_mm": 9.0}],
        "threshold": {"_target_": "brainuad.postprocess.threshold.HealthyThreshold"},
        "mask_steps": [],
        **CHAINS[chain],
    }
    path = write_tiny_model(tmp_path / "model.ckpt", postprocess=steps, threshold=0.7)
    model = brainuad.load(path, device="cpu")
    postprocess = instantiate(steps)

    prepared, out = tmp_path / "prepared", tmp_path / "out"
    failures = Failures()
    fill(MapFolder(prepared), [scan], model, failures, "maps")
    maps = ScoreMaps(MapFolder(prepared), postprocess)
    write_masks([scan], maps, MapFolder(out), 0.7, failures)
    assert not failures
    trained = read_volume(out / "a_anomaly.nii.gz").array
    trained_mask = read_mask(out / "a_mask.nii.gz")

    cohort = Cohort(tmp_path, (scan,), {})
    predicted = model.predict_prepared(from_cohort(scan, cohort, model.known.recipe))
    scored = maps.native(scan)
    scored_mask = postprocess.segment(
        scored.score.array, scored.brain_mask, scored.score.spacing_mm, 0.7
    )

    assert 0 < trained_mask.sum() < 0.5 * scored.brain_mask.sum()
    # Whatever the chain, what people open is 0 outside the brain.
    assert not trained[~scored.brain_mask].any()
    assert not trained_mask[~scored.brain_mask].any()
    np.testing.assert_array_equal(trained, predicted.anomaly_map)
    inside = np.where(scored.brain_mask, scored.score.array, 0)
    np.testing.assert_array_equal(trained, inside)
    np.testing.assert_array_equal(trained_mask, predicted.mask)
    np.testing.assert_array_equal(trained_mask, scored_mask)
    # A threshold found on the file that a user opens is the threshold of the scores.
    spacing = scored.score.spacing_mm
    found = postprocess.otsu(trained, scored.brain_mask, spacing)
    assert found == postprocess.otsu(scored.score.array, scored.brain_mask, spacing)


@pytest.mark.parametrize("masks_last", [False, True])
def test_a_map_is_carried_once_and_read_again_bit_for_bit(scan, tmp_path, monkeypatch, masks_last):
    image = read_volume(scan.image)
    maps = MapFolder(tmp_path / "maps")
    write_volume(maps.file("a"), image.array, image.affine)
    chain = Postprocess([Median(9.0)], HealthyThreshold(), [], masks_last=masks_last)
    fresh = ScoreMaps(maps, chain)
    # A folder that cannot be written costs time alone.
    nowhere = ScoreMaps(maps, chain, kept=maps.file("a"))
    kept = ScoreMaps(maps, chain, kept=tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(score_maps, "SPARE", 0)
    made = [own.native(scan) for own in (fresh, nowhere, kept)]
    carries = []
    monkeypatch.setattr(score_maps, "native_map", lambda *given, **_: carries.append(given))
    monkeypatch.setattr(MapFolder, "map", lambda *given: carries.append(given))
    again = kept.native(scan)
    for found in made:
        np.testing.assert_array_equal(found.score.array, again.score.array)
        np.testing.assert_array_equal(found.score.affine, again.score.affine)
        np.testing.assert_array_equal(found.brain_mask, again.brain_mask)
        np.testing.assert_array_equal(found.box, again.box)
        assert found.way == again.way
    assert again.score.array.dtype == made[0].score.array.dtype == np.float32
    np.testing.assert_array_equal(kept.prepared(scan).box, again.box)
    assert not carries


def test_the_map_is_zero_outside_the_native_brain(scan):
    image, mask = read_volume(scan.image), read_mask(scan.brain_mask)
    # Higher at the rim than inside, which interpolation would carry across it.
    score = Volume(np.where(mask, 1.0, 0).astype(np.float32), image.affine)
    found = native_map(score, mask, scan.space)
    assert found.score.array.shape == read_volume(scan.native_image).array.shape
    assert np.median(found.score.array[found.brain_mask]) > 0.99
    assert not found.score.array[~found.brain_mask].any()


def test_a_chain_that_masks_last_keeps_the_background_on_the_way(scan):
    image, mask = read_volume(scan.image), read_mask(scan.brain_mask)
    whole = Volume(np.ones(mask.shape, np.float32), image.affine)
    found = native_map(whole, mask, scan.space, masks_last=True)
    assert found.score.array[~found.brain_mask].max() > 0.99
    inside = native_map(whole, mask, scan.space)
    assert not inside.score.array[~inside.brain_mask].any()
    np.testing.assert_array_equal(inside.brain_mask, found.brain_mask)


def test_without_a_native_scan_the_map_stays_as_it_is():
    image, mask = brain(1)
    found = native_map(Volume(image, AFFINE), mask, Space(None))
    assert found.score.array is image
    assert found.brain_mask is mask


def test_a_brain_outside_its_scan_is_one_clear_line(scan, tmp_path):
    far = tmp_path / "far.txt"
    matrix = np.eye(4)
    matrix[:3, 3] = 5000
    np.savetxt(far, matrix)
    image, mask = read_volume(scan.image), read_mask(scan.brain_mask)
    with pytest.raises(InputError, match="a_native.nii.gz: the prepared brain lies outside it"):
        native_map(image, mask, replace(scan, transform=far).space)


def test_an_image_keeps_its_brightness_at_the_rim(scan):
    _, mask = brain(0)
    native = read_volume(scan.native_image)
    image, share = native_image(
        Volume(np.full(mask.shape, 7, np.float32), AFFINE), mask, scan.space, native
    )
    assert share.max() <= 1 + 1e-6
    np.testing.assert_allclose(image[share > 0.5], 7, rtol=1e-5)
