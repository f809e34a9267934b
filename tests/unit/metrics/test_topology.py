"""Clouds with known pieces and loops."""

import numpy as np
import pytest

pytest.importorskip("ripser", reason="the extra `topology` is not installed")

from brainuad.metrics.topology import bottleneck, reduced, shape_of, spread_out, tearing

TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


def _shape(points):
    return shape_of(reduced(points))


def _disc(count=60):
    # Sunflower seeds: evenly spaced, so that chance makes no loop.
    index = np.arange(count) + 0.5
    radius, turn = np.sqrt(index / count), np.pi * (1 + np.sqrt(5)) * index
    return radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def test_a_circle_is_one_piece_with_a_loop_and_a_disc_has_none():
    circle, disc = _shape(CIRCLE), _shape(_disc())
    assert (circle.pieces, circle.loops, circle.outliers) == (1, 1, 0)
    assert (disc.pieces, disc.loops) == (1, 0)
    # It is born at the distance of neighbours and dies where three points span the circle.
    assert circle.bars[1].max(axis=0) == pytest.approx(
        [2 * np.sin(np.pi / 60), np.sqrt(3)], abs=2e-3
    )


def test_two_circles_that_touch_have_two_loops():
    assert _shape(np.concatenate([CIRCLE, CIRCLE + np.array([2, 0])])).loops == 2


def test_separate_groups_are_pieces_and_a_far_point_is_an_outlier():
    generator = np.random.default_rng(0)
    groups = generator.normal(0, 0.1, (60, 2)) + np.repeat([[0, 0], [4, 0]], 30, axis=0)
    assert _shape(groups).pieces == 2
    one = np.concatenate([_disc(), [[12.0, 0.0]]])
    assert (_shape(one).pieces, _shape(one).outliers) == (1, 1)


def test_the_cut_of_a_circle_on_a_line_tears_it_at_its_ends():
    torn = tearing(CIRCLE, TURN[:, None])
    far = np.flatnonzero(torn > 5)
    assert set(far) <= {0, 1, 2, 57, 58, 59}
    assert {0, 59} <= set(far)
    assert tearing(CIRCLE, 3 * CIRCLE).max() == pytest.approx(1.0)


def test_the_distance_of_bars_is_half_of_one_without_a_partner():
    long, short = np.array([[0.1, 0.9], [0.2, 0.3]]), np.array([[0.2, 0.3]])
    assert bottleneck(long, short) == pytest.approx(0.4)
    assert bottleneck(long, long + 0.01) == pytest.approx(0.01, abs=1e-6)
    assert bottleneck(long, np.zeros((0, 2))) == pytest.approx(0.4)
    assert bottleneck(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0


def test_points_that_are_spread_out_reach_both_ends():
    line = np.arange(100.0)[:, None]
    assert {0, 99} <= set(spread_out(line, 3))
    assert sorted(spread_out(line, 1000)) == list(range(100))
