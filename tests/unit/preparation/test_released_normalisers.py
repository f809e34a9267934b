"""Released normalisations, against values worked out by hand."""

import numpy as np
import pytest

from brainuad.preparation.normalise.intensity import Percentile
from brainuad.preparation.normalise.released import (
    PositivePercentile,
    StandardRange,
    VolumeMaximum,
    VolumeQuantiles,
)

BRAIN = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool).reshape(2, 2, 2)
IMAGE = np.array([0, 0, 0, 0, 2, 4, 6, 8], np.float32).reshape(2, 2, 2)


def seen(normalise, image=IMAGE):
    """The brain's values; the background stays 0."""
    found = normalise(image, BRAIN)
    assert found.dtype == np.float32
    assert not found[~BRAIN].any()
    return found[BRAIN]


def test_pddpm_clips_at_two_percentiles_of_the_brain():
    # Of 2, 4, 6, 8 the 1st percentile is 2 + 0.03 * 2, the 99th 8 - 0.03 * 2.
    np.testing.assert_allclose(
        seen(Percentile(1, 99)), [0, (4 - 2.06) / 5.88, (6 - 2.06) / 5.88, 1], rtol=1e-6
    )


def test_anoddpm_divides_by_the_range_and_subtracts_nothing():
    # Mean 2.5; the mean square is 15, so that the variance is 15 - 6.25.
    std = 8.75**0.5
    np.testing.assert_allclose(seen(StandardRange()), np.array([2, 4, 6, 8]) / (3 * std), rtol=1e-6)
    # One bright voxel of eight: mean 1, standard deviation 7 ** 0.5, both ends cut.
    one = np.where(np.arange(8).reshape(2, 2, 2) == 7, 8, 0).astype(np.float32)
    np.testing.assert_allclose(seen(StandardRange(), one)[-1], (1 + 2 * 7**0.5) / (3 * 7**0.5))


def test_dae_divides_by_a_percentile_of_what_is_above_0_and_clips_nothing():
    found = seen(PositivePercentile())
    np.testing.assert_allclose(found, np.array([2, 4, 6, 8]) / 7.94, rtol=1e-6)
    assert found[-1] > 1


def test_disyre_counts_the_background_in_its_quantiles():
    # Sorted 0 0 0 0 2 4 6 8: the quantile 0.98 lies at place 6.86, 6 + 0.86 * 2.
    np.testing.assert_allclose(
        seen(VolumeQuantiles()), [2 / 7.72, 4 / 7.72, 6 / 7.72, 1], rtol=1e-6
    )
    # What is below 0 counts as 0.
    np.testing.assert_allclose(
        seen(VolumeQuantiles(), np.where(BRAIN, IMAGE, -5)), seen(VolumeQuantiles())
    )


def test_the_whole_range_keeps_every_value_apart():
    np.testing.assert_allclose(seen(VolumeQuantiles(0, 1)), [0.25, 0.5, 0.75, 1])


def test_baur_cuts_the_brightest_and_divides_by_what_is_left():
    # The 99.8th percentile lies at place 6.986: 6 + 0.986 * 2.
    np.testing.assert_allclose(
        seen(VolumeMaximum()), [2 / 7.972, 4 / 7.972, 6 / 7.972, 1], rtol=1e-6
    )


@pytest.mark.parametrize(
    "normalise", [StandardRange(), PositivePercentile(), VolumeQuantiles(), VolumeMaximum()]
)
def test_an_empty_volume_is_refused(normalise):
    with pytest.raises(ValueError, match="constant|above 0"):
        normalise(IMAGE * 0, BRAIN)
