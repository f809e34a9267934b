"""The papers' chains, against slow references written step by step from their released code."""

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage
from skimage import filters, measure, morphology
from tiny import ROOT

from brainuad.methods.parts.residuals import signed
from brainuad.postprocess.pipeline import Postprocess
from brainuad.settings.instantiate import instantiate

MM1, MM2 = (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)


def _preset(name):
    return instantiate(yaml.safe_load((ROOT / "configs/postprocess" / f"{name}.yaml").read_text()))


def _without_small(binary, most):
    """As released codes have it: components of so many voxels or fewer, holes filled, go."""
    labels = measure.label(binary, connectivity=3)
    kept = binary.copy()
    for region in measure.regionprops(labels):
        if region.area_filled <= most:
            kept[labels == region.label] = False
    return kept


@pytest.fixture
def scan():
    """A map with blobs of many sizes, zero outside an ellipsoid, and that brain mask."""
    shape = (44, 52, 36)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.85
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 2.5)
    score = np.abs(noise / noise.std()) * 0.1 + 0.02 * rng.random(shape)
    return np.where(brain, score, 0).astype(np.float32), brain


def test_strega(scan):
    score, brain = scan
    score[12:32, 15:35, 10:20] += 0.3
    # The score is what is darker than its reconstruction; a bright lesion is not to count.
    image = np.where(brain, 0.6, 0).astype(np.float32)
    reconstruction = image + score
    reconstruction[28:40, 30:44, 22:32] = 0.2
    # What the network paints beside the brain counts for Otsu and for the areas.
    rng = np.random.default_rng(1)
    reconstruction[~brain] = 0.15 * rng.random(np.count_nonzero(~brain))
    reconstruction[:, :20, 28:30] = 0.9
    frame = [(0, 256 - 44), (0, 256 - 52), (0, 155 - 36)]
    residual = np.pad(reconstruction - image, frame)
    residual[residual < 0] = 0
    residual[residual > 0.2] = 1
    otsu = filters.threshold_otsu(residual)
    binary = residual[:44, :52, :36] > otsu
    final = np.zeros_like(binary)
    for z in range(binary.shape[2]):
        final[:, :, z] = morphology.area_opening(binary[:, :, z], area_threshold=256)
    expected = final & brain

    chain = _preset("strega")
    given = (torch.from_numpy(array)[None, None] for array in (image, reconstruction, brain))
    found = signed(*given, "negative")[0, 0].numpy()
    found = chain.score(found, brain, MM1)
    threshold = chain.otsu(found, brain, MM1)
    assert threshold == pytest.approx(otsu)
    assert np.array_equal(chain.segment(found, brain, MM1, threshold), expected)
    # The case decides something: there is a component of either kind.
    assert 0 < expected.sum() < (binary & brain).sum()
    # Cleared before, what the background holds would not count.
    cleared = Postprocess(chain.map_steps, chain.threshold, chain.mask_steps, chain.otsu)
    masked = cleared.score(found, brain, MM1)
    assert not np.array_equal(cleared.segment(masked, brain, MM1, threshold), expected)


def test_strega_in_3d(scan):
    score, brain = scan
    score[8:34, 10:40, 8:26] += 0.3
    chain = _preset("strega_3d")
    residual = score.copy()
    residual[residual > 0.2] = 1
    frame = [(0, 128 - 44), (0, 128 - 52), (0, 78 - 36)]
    threshold = filters.threshold_otsu(np.pad(residual, frame))
    binary = (residual > threshold) & brain
    labels = measure.label(binary, connectivity=1)
    expected = np.zeros_like(binary)
    for region in measure.regionprops(labels):
        expected[labels == region.label] = region.area * 8 >= 4096

    found = chain.score(score, brain, MM2)
    mask = chain.segment(found, brain, MM2, chain.otsu(found, brain, MM2))
    assert np.array_equal(mask, expected)
    assert 0 < expected.sum() < binary.sum()


def test_madad(scan):
    score, brain = scan
    expected = np.zeros_like(score)
    for z in range(score.shape[2]):
        # Its intensities are in [-1, 1], so its differences are twice ours.
        clipped = np.clip(2 * score[:, :, z], 0, 0.25) * 4
        expected[:, :, z] = ndimage.gaussian_filter(clipped, sigma=5)
    found = _preset("madad").score(score, brain, MM1)
    assert found[brain] == pytest.approx(expected[brain], abs=1e-6)


def test_pddpm(scan):
    score, brain = scan
    score = np.where(brain, score + 0.1 * np.random.default_rng(1).random(score.shape), 0)
    score = score.astype(np.float32)
    chain = _preset("pddpm")
    cross = ndimage.generate_binary_structure(2, 1)
    cleared = score.copy()
    for z in range(score.shape[2]):
        inside = ndimage.binary_erosion(brain[:, :, z], cross, iterations=3)
        cleared[:, :, z] *= inside
    smooth = ndimage.median_filter(cleared, (5, 5, 5))
    found = chain.score(score, brain, MM2)
    assert np.array_equal(found[brain], smooth[brain])

    threshold = float(np.quantile(smooth[brain], 0.97))
    binary = (smooth > threshold) & brain
    expected = _without_small(binary, 7)
    assert np.array_equal(chain.segment(found, brain, MM2, threshold), expected)
    assert 0 < expected.sum() < binary.sum()


def test_dae(scan):
    score, brain = scan
    score = np.where(brain, score + 0.1 * np.random.default_rng(1).random(score.shape), 0)
    score = score.astype(np.float32)
    spacing = (1.875, 1.875, 1.0)
    chain = _preset("dae")
    smooth = np.zeros_like(score)
    for z in range(score.shape[2]):
        padded = np.pad(brain[:, :, z], 2)
        squares = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
        inside = squares.sum((2, 3)) >= 24
        smooth[:, :, z] = ndimage.median_filter(score[:, :, z] * inside, (5, 5), mode="mirror")
    found = chain.score(score, brain, spacing)
    assert np.array_equal(found[brain], smooth[brain])

    threshold = float(np.quantile(smooth[brain], 0.97))
    binary = (smooth > threshold) & brain
    expected = _without_small(binary, 20)
    assert np.array_equal(chain.segment(found, brain, spacing, threshold), expected)
    assert 0 < expected.sum() < binary.sum()


def test_baur(scan):
    """`utils/Evaluation.py`: `apply_brainmask`, `postprocess_volume`, here in a wider brain."""
    score, brain = (np.repeat(np.repeat(array, 2, 0), 2, 1) for array in scan)
    score = np.where(brain, score + 0.1 * np.random.default_rng(1).random(score.shape), 0)
    score = score.astype(np.float32)
    spacing = (1.7, 1.7, 1.7)
    chain = _preset("baur")
    cross = ndimage.generate_binary_structure(2, 1)
    cleared = np.zeros_like(score)
    for z in range(score.shape[2]):
        inside = ndimage.binary_erosion(brain[:, :, z], cross, iterations=12)
        cleared[:, :, z] = score[:, :, z] * inside
    smooth = ndimage.median_filter(cleared, (5, 5, 5))
    found = chain.score(score, brain, spacing)
    assert np.array_equal(found[brain], smooth[brain])

    threshold = float(np.quantile(smooth[smooth > 0], 0.9))
    binary = (smooth > threshold) & brain
    expected = _without_small(binary, 7)
    assert np.array_equal(chain.segment(found, brain, spacing, threshold), expected)
    assert 0 < expected.sum() < binary.sum()


def test_meissen(scan):
    """`utils/utils.py:connected_components_3d`, at 240 mm in 128 pixels and 1 mm across."""
    score, brain = scan
    score = np.where(brain, score + 0.2 * np.random.default_rng(1).random(score.shape), 0)
    score = score.astype(np.float32)
    spacing = (1.875, 1.875, 1.0)
    chain = _preset("meissen")
    found = chain.score(score, brain, spacing)
    assert np.array_equal(found, score)
    threshold = float(np.quantile(score[brain], 0.9))
    binary = (score > threshold) & brain
    labels = measure.label(binary, connectivity=3)
    expected = binary.copy()
    for region in measure.regionprops(labels):
        if region.area <= 20:
            expected[labels == region.label] = False
    assert np.array_equal(chain.segment(found, brain, spacing, threshold), expected)
    assert 0 < expected.sum() < binary.sum()
