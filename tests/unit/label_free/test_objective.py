"""Painted lesions: the same for every model, as large as asked, and what maps of them score."""

from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from tiny import AFFINE, ROOT, write_tiny_cohort

from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.label_free.objective import ap_of
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.settings.instantiate import instantiate
from brainuad.synthetic.lesions.fillings import ForeignPatch, IntensityShift, TextureSwap
from brainuad.synthetic.lesions.shapes import DepthBand, Ellipsoids, Soft
from brainuad.synthetic.painted import paint, painted_scans
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

KINDS = [path.stem for path in (ROOT / "configs" / "painted").glob("*.yaml")]
SHIFT = IntensityShift(Soft(Ellipsoids((6, 12)), 1.4), (0.2, 0.4))


def _configured(kind):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        return instantiate(compose("train", ["experiment=strega_paper", f"painted={kind}"]).painted)


def _head(spacing):
    shape = tuple(int(150 / spacing) for _ in range(3))
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.9
    return np.where(brain, 0.5 + 0.1 * axes[0], 0).astype(np.float32), brain


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [2.5, 4.0])
def test_a_painted_ellipsoid_is_as_large_and_as_strong_as_said(spacing):
    image, brain = _head(spacing)
    low, high = np.percentile(image[brain], [2, 98])
    smallest, largest = (4 / 3 * np.pi * radius**3 for radius in (6, 20))
    for seed in range(4):
        painted, lesion = paint(image, brain, [spacing] * 3, _configured("ellipsoids"), seed)
        assert lesion.any()
        assert not (lesion & ~brain).any()
        assert np.array_equal(painted[~brain], image[~brain])
        # Half of it may lie outside the brain.
        assert 0.4 * smallest < lesion.sum() * spacing**3 < 1.1 * largest
        change = np.abs(painted - image)
        assert change.max() <= 0.5 * (high - low) + 1e-5
        assert np.median(change[lesion]) > 0.5 * 0.15 * (high - low)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_configured_kind_changes_what_it_says(kind):
    image, brain = _head(4.0)
    noise = np.random.default_rng(0).normal(0, 0.03, image.shape)
    image = np.clip(image + noise * brain, 0, 1).astype(np.float32)
    corruption = _configured(kind)
    for seed in range(8):
        painted, lesion = paint(image, brain, (4, 4, 4), corruption, seed)
        changed = painted != image
        assert 10 < lesion.sum() < 0.3 * brain.sum()
        assert (changed & lesion).sum() > 0.9 * lesion.sum()
        again, _ = paint(image, brain, (4, 4, 4), corruption, seed)
        assert np.array_equal(painted, again)


def test_what_comes_from_another_image_is_of_the_mirrored_scan():
    image, brain = _head(4.0)
    right = np.argmax(np.arange(image.shape[0]) > 24)
    side = np.zeros_like(brain)
    side[right:] = True
    image = np.where(brain, np.where(side, 0.8, 0.2), 0).astype(np.float32)
    painted, lesion = paint(image, brain, (4, 4, 4), ForeignPatch(Ellipsoids((15, 15)), (1, 1)), 0)
    assert lesion.any()
    assert np.allclose(painted[lesion], image[::-1][lesion])


def test_every_model_meets_the_same_ones_and_a_broken_scan_is_listed(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort", val=3)
    scans = cohort.select("val", "T2w", healthy=True)
    first, failures = painted_scans(scans, 2, tmp_path / "a", SHIFT)
    assert not failures
    assert len(first) == 6
    assert len({scan.subject for scan in first}) == 6
    # In another order, of fewer scans, in another place.
    again, _ = painted_scans(scans[::-1][:2], 1, tmp_path / "b", SHIFT)
    by_name = {scan.subject: scan for scan in first}
    for scan in again:
        mine = read_volume(by_name[scan.subject].image).array
        assert np.array_equal(mine, read_volume(scan.image).array)
    # Two draws differ, and no painting is made twice, nor taken for one of another kind.
    arrays = [read_volume(scan.image).array for scan in first[:2]]
    assert not np.array_equal(*arrays)
    before = first[0].image.stat().st_mtime_ns
    assert painted_scans(scans, 2, tmp_path / "a", SHIFT)[0][0].image.stat().st_mtime_ns == before
    other = painted_scans(scans, 1, tmp_path / "a", TextureSwap(Ellipsoids((6, 12))))[0][0]
    assert not np.array_equal(read_volume(other.image).array, arrays[0])
    broken = replace(scans[0], image=tmp_path / "none.nii.gz")
    kept, failures = painted_scans([broken, scans[1]], 1, tmp_path / "c", SHIFT)
    assert [scan.subject for scan in kept] == [f"{scans[1].subject}_painted0"]
    assert failures[0][0] == scans[0].subject


def test_the_objective_is_one_for_the_truth_and_low_for_noise(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    (scan, *_), _ = painted_scans(cohort.select("val", "T2w"), 1, tmp_path, SHIFT)
    truth = read_mask(scan.lesion_mask)
    chain = Postprocess([], HealthyThreshold(0.01), [])
    maps = MapFolder(tmp_path / "maps")
    path = maps.file(scan.subject)
    write_volume(path, truth.astype(np.float32), AFFINE)
    assert ap_of(scan, maps, chain) == 1
    noise = np.random.default_rng(0).random(truth.shape)
    write_volume(path, noise, AFFINE)
    share = truth.sum() / read_mask(scan.brain_mask).sum()
    assert ap_of(scan, maps, chain) < 3 * share


def test_a_brain_that_cannot_be_painted_in_is_refused():
    empty = np.zeros((4, 4, 4), bool)
    with pytest.raises(InputError, match="empty"):
        paint(empty.astype(np.float32), empty, (1, 1, 1), SHIFT, 0)
    image, brain = _head(10.0)
    deep = Ellipsoids((5, 5), region=DepthBand((500, 600)))
    with pytest.raises(InputError, match="nothing was painted"):
        paint(image, brain, (10, 10, 10), IntensityShift(deep), 0)
