"""Joint normalisation: brightness and bias of another day go, a lesion stays."""

import numpy as np
import pytest
from scipy import ndimage

from brainuad.changes.joint import joined


def tissue(shape=(40, 44, 36)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    image = 100 + 25 * np.sign(ndimage.gaussian_filter(rng.normal(size=shape), 3))
    inside = np.zeros(shape, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    return (ndimage.gaussian_filter(image, 0.7) * inside).astype(np.float32), inside


def test_scale_and_smooth_bias_between_two_scans_vanish():
    first, inside = tissue()
    bias = np.exp(0.3 * np.linspace(-1, 1, first.shape[0]))[:, None, None]
    one, two = joined(first, 1.7 * bias * first, inside, 3.0)
    left = np.abs(two - one)[inside]
    assert left.mean() < 0.02
    assert left.max() < 0.1
    assert (one[~inside] == 0).all()
    assert (two[~inside] == 0).all()


def test_a_lesion_keeps_its_contrast():
    first, inside = tissue()
    second = 0.6 * first
    second[18:23, 20:25, 16:21] += 0.6 * 70
    one, two = joined(first, second, inside, 3.0)
    difference = (two - one)[18:23, 20:25, 16:21]
    assert difference.mean() == pytest.approx(70 / np.median(first[inside]), rel=0.05)


def test_both_scans_change_alike_in_any_order():
    first, inside = tissue()
    second = 1.3 * first + np.float32(8) * inside
    one, two = joined(first, second, inside, 3.0)
    other, same = joined(second, first, inside, 3.0)
    np.testing.assert_allclose(one, same, atol=1e-5)
    np.testing.assert_allclose(two, other, atol=1e-5)


def test_a_dark_scan_is_refused():
    first, inside = tissue()
    with pytest.raises(ValueError, match="not brighter than 0"):
        joined(first, 0 * first, inside, 3.0)
