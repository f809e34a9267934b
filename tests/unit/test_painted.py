"""Painted anomalies: what they are, the same ones for every model, and what they score."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import AFFINE, write_tiny_cohort

from brainuad.data.nifti import read_mask, read_volume, write_volume
from brainuad.errors import InputError
from brainuad.painted import BORDER_MM, RADII_MM, SHIFTS, paint, painted_ap, painted_scans
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold


@pytest.mark.parametrize("spacing", [1.5, 3.0])
def test_a_painted_anomaly_is_as_large_and_as_strong_as_said(spacing):
    shape = tuple(int(150 / spacing) for _ in range(3))
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.9
    image = np.where(brain, 0.5 + 0.1 * axes[0], 0).astype(np.float32)
    low, high = np.percentile(image[brain], [2, 98])
    for draw in range(3):
        painted, lesion = paint(image, brain, [spacing] * 3, np.random.default_rng(draw))
        assert lesion.any()
        assert not (lesion & ~brain).any()
        assert (painted[~brain] == 0).all()
        volume = lesion.sum() * spacing**3
        smallest, largest = (4 / 3 * np.pi * radius**3 for radius in RADII_MM)
        assert 0.5 * smallest < volume < 1.1 * largest
        change = np.abs(painted - image)
        assert change.max() <= SHIFTS[1] * (high - low) + 1e-6
        assert np.median(change[lesion]) > 0.5 * SHIFTS[0] * (high - low)
        far = np.argwhere(change > 1e-3)
        extent = np.ptp(far, axis=0) * spacing
        assert (extent < 2 * RADII_MM[1] + 8 * BORDER_MM + 2 * spacing).all()


def test_every_model_meets_the_same_ones_and_a_broken_scan_is_listed(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort", val=3)
    scans = cohort.select("val", "T2w", healthy=True)
    first, failures = painted_scans(scans, 2, tmp_path / "a")
    assert not failures
    assert len(first) == 6
    assert len({scan.subject for scan in first}) == 6
    # In another order, of fewer scans, in another place.
    again, _ = painted_scans(scans[::-1][:2], 1, tmp_path / "b")
    by_name = {scan.subject: scan for scan in first}
    for scan in again:
        mine = read_volume(by_name[scan.subject].image).array
        assert np.array_equal(mine, read_volume(scan.image).array)
    # Two draws differ, and no painting is made twice.
    arrays = [read_volume(scan.image).array for scan in first[:2]]
    assert not np.array_equal(*arrays)
    before = first[0].image.stat().st_mtime_ns
    assert painted_scans(scans, 2, tmp_path / "a")[0][0].image.stat().st_mtime_ns == before
    broken = replace(scans[0], image=tmp_path / "none.nii.gz")
    kept, failures = painted_scans([broken, scans[1]], 1, tmp_path / "c")
    assert [scan.subject for scan in kept] == [f"{scans[1].subject}_painted0"]
    assert failures[0][0] == scans[0].subject


def test_the_objective_is_one_for_the_truth_and_low_for_noise(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    (scan, *_), _ = painted_scans(cohort.select("val", "T2w"), 1, tmp_path)
    truth = read_mask(scan.lesion_mask)
    chain = Postprocess([], HealthyThreshold(0.01), [])
    path = tmp_path / "map.nii.gz"
    write_volume(path, truth.astype(np.float32), AFFINE)
    assert painted_ap(scan, path, chain) == 1
    noise = np.random.default_rng(0).random(truth.shape)
    write_volume(path, noise, AFFINE)
    share = truth.sum() / read_mask(scan.brain_mask).sum()
    assert painted_ap(scan, path, chain) < 3 * share


def test_an_empty_brain_is_refused():
    empty = np.zeros((4, 4, 4), bool)
    with pytest.raises(InputError, match="empty"):
        paint(empty.astype(np.float32), empty, (1, 1, 1), np.random.default_rng(0))
