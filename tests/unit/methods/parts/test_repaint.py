"""Repainting by fillers whose answers are known."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainuad.methods.parts.repaint import Regions, candidates, connected, dilate, repaint
from brainuad.synthetic.masks.covering import covering_patterns

SIZE = (24, 28)
LEVEL = torch.tensor(0.1)


def residual(image, filled, brain_mask):
    return (image - filled).abs().mean(1, keepdim=True)


def healthy(image, hole):
    """Knows that a healthy brain is 0.5 everywhere."""
    return torch.where(hole, torch.tensor(0.5), image)


def scene(lesion=(slice(8, 15), slice(9, 18)), count=2):
    """Brains of 0.5 with a lesion of 0.9 in the first; brain mask; lesion."""
    brain_mask = torch.zeros(count, 1, *SIZE, dtype=torch.bool)
    brain_mask[:, :, 2:22, 3:25] = True
    where = torch.zeros_like(brain_mask)
    where[(0, 0, *lesion)] = True
    image = 0.5 * brain_mask.float()
    return torch.where(where, 0.9, image), brain_mask, where


def run(inpaint, image, brain_mask, rounds=5, regions=None, threshold=LEVEL):
    patterns = covering_patterns(SIZE, 2, (5.0, 8.0))
    first, _ = candidates(inpaint, image, brain_mask, patterns, residual, 7)
    regions = regions or Regions()
    return first, repaint(
        inpaint, image, brain_mask, first, threshold, residual, regions, rounds, 7
    )


def test_a_pixel_is_judged_only_where_it_was_hidden():
    image, brain_mask, where = scene()
    seen = []

    def remember(batch, hole):
        seen.append(hole)
        # Outside the hole it says nonsense, which must not count.
        return torch.where(hole, torch.tensor(0.5), torch.tensor(77.0))

    patterns = covering_patterns(SIZE, 3, (5.0,))
    found, passes = candidates(remember, image, brain_mask, patterns, residual, 5)
    expected = torch.where(where, 0.4, 0.0)
    torch.testing.assert_close(found, expected)
    assert passes == sum(len(holes) for holes in seen) == 2 * len(patterns)
    assert max(len(holes) for holes in seen) == 5
    hidden = torch.cat(seen).sum(0)
    assert (hidden[0][brain_mask[0, 0][None][0]] >= 2 * 3).all()


def test_candidates_are_the_mean_over_the_times_a_pixel_was_hidden():
    image = torch.full((1, 1, 4, 4), 0.25)
    brain_mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    patterns = torch.zeros(3, 4, 4, dtype=torch.bool)
    patterns[0], patterns[1, :2], patterns[2, 0] = True, True, True
    answers = iter([0.35, 0.65, 0.95])

    def answer(batch, hole):
        return torch.stack([torch.full_like(one, next(answers)) for one in batch])

    found, passes = candidates(answer, image, brain_mask, patterns, residual, 2)
    means = [(0.1 + 0.4 + 0.7) / 3, (0.1 + 0.4) / 2, 0.1, 0.1]
    torch.testing.assert_close(found[0, 0, :, 0], torch.tensor(means))
    assert passes == 3


def test_a_pattern_that_hides_no_brain_costs_nothing():
    image, brain_mask, _ = scene()
    outside = torch.zeros(2, *SIZE, dtype=torch.bool)
    outside[0, 0] = outside[1, 5] = True
    _, passes = candidates(healthy, image, brain_mask, outside, residual, 64)
    assert passes == 2


def test_a_lesion_is_found_and_removed():
    image, brain_mask, where = scene()
    _, found = run(healthy, image, brain_mask)
    torch.testing.assert_close(found.anomaly_map, torch.where(where, 0.4, 0.0))
    torch.testing.assert_close(found.image, 0.5 * brain_mask.float())
    assert (found.region[0] & where[0]).sum() == where[0].sum()
    assert not found.region[1].any()


def test_what_leaks_into_small_holes_is_found_when_all_of_it_is_hidden():
    image, brain_mask, where = scene()

    def leaking(batch, hole):
        """Continues the lesion while it sees any of it."""
        sees = ((batch > 0.8) & ~hole).flatten(1).any(1)[:, None, None, None]
        return torch.where(hole, torch.where(sees, 0.6 * batch + 0.2, torch.tensor(0.5)), batch)

    first, found = run(leaking, image, brain_mask)
    assert first[where].max() < 0.2
    torch.testing.assert_close(found.anomaly_map[where], torch.full((63,), 0.4))


def test_healthy_brains_converge_to_nothing():
    image, brain_mask, _ = scene()
    image[0] = image[1]
    wrong = {"calls": 0}

    def once_wrong(batch, hole):
        """Wrong in small holes, right in the region: a false alarm."""
        wrong["calls"] += 1
        value = 0.7 if wrong["calls"] <= 4 else 0.5
        return torch.where(hole, torch.tensor(value), batch)

    patterns = covering_patterns(SIZE, 1, (8.0,))
    first, passes = candidates(once_wrong, image, brain_mask, patterns, residual, 2)
    assert passes == 8
    assert first.max() > 0.1
    found = repaint(once_wrong, image, brain_mask, first, LEVEL, residual, Regions(), 5, 2)
    assert not found.region.any()
    assert found.passes == 2
    assert not found.anomaly_map.any()
    torch.testing.assert_close(found.image, image)


def test_a_region_that_keeps_changing_ends_with_the_rounds():
    image, brain_mask, _ = scene()
    flip = {"value": 0.1}

    def shrinking(batch, hole):
        flip["value"] *= 0.9
        shade = flip["value"] * torch.linspace(0, 4, SIZE[1]).expand_as(batch)
        return torch.where(hole, 0.5 + shade, batch)

    _, found = run(shrinking, image, brain_mask, rounds=3)
    assert found.passes <= 2 * 3


def test_no_rounds_leave_the_candidates():
    image, brain_mask, _ = scene()
    first, found = run(healthy, image, brain_mask, rounds=0)
    assert torch.equal(found.anomaly_map, first)
    assert torch.equal(found.image, image)
    assert found.passes == 0


def test_nothing_above_the_threshold_is_repainted():
    image, brain_mask, _ = scene()
    first, found = run(healthy, image, brain_mask, threshold=torch.tensor(torch.inf))
    assert torch.equal(found.anomaly_map, first)
    assert not found.region.any()


@pytest.mark.parametrize("dims", [2, 3])
def test_regions_are_cleaned_grown_and_within_the_brain(dims):
    size = (15,) * dims
    score = torch.zeros(1, 1, *size)
    score[(0, 0, *[slice(4, 9)] * dims)] = 1.0
    score[(0, 0, *[slice(12, 13)] * dims)] = 1.0
    brain_mask = torch.ones(1, 1, *size, dtype=torch.bool)
    brain_mask[:, :, :3] = False
    found = Regions(1, 2)(score, torch.tensor(0.5), brain_mask)
    expected = torch.zeros_like(found)
    expected[(0, 0, slice(3, 11), *[slice(2, 11)] * (dims - 1))] = True
    assert torch.equal(found, expected)


def test_regions_at_the_border_stay():
    score = torch.zeros(1, 1, 10, 10)
    score[0, 0, :4, :4] = 1.0
    brain_mask = torch.ones(1, 1, 10, 10, dtype=torch.bool)
    found = Regions(1, 0)(score, torch.tensor(0.5), brain_mask)
    assert torch.equal(found, score > 0.5)


def test_dilation_by_nothing():
    mask = torch.rand(1, 1, 5, 5) > 0.5
    assert torch.equal(dilate(mask, 0), mask)


def test_what_was_repainted_stays_where_it_reaches_the_peak():
    """The lesion of 0.4 with a rim of 0.2 stays whole, what differs by 0.2 everywhere goes."""
    image, brain_mask, where = scene()
    rim = dilate(where, 1) & ~where
    image = torch.where(rim, 0.7, image)
    image[1, 0, 8:15, 9:18] = 0.7
    patterns = covering_patterns(SIZE, 2, (5.0, 8.0))
    first, _ = candidates(healthy, image, brain_mask, patterns, residual, 7)
    given = (image, brain_mask, first, LEVEL, residual, Regions(), 5, 7)
    found = repaint(healthy, *given, peak=torch.tensor(0.3))
    assert found.region[where | rim].all()
    assert not found.region[1].any()
    assert torch.equal(found.image[1], image[1])
    assert repaint(healthy, *given).region[1].any()


def test_connected_is_scipys_label():
    torch.manual_seed(0)
    within, seeds = torch.rand(3, 1, 20, 25) > 0.5, torch.rand(3, 1, 20, 25) > 0.99
    expected = []
    for mask, seed in zip(within[:, 0].numpy(), seeds[:, 0].numpy(), strict=True):
        labels = ndimage.label(mask, np.ones((3, 3)))[0]
        expected.append(np.isin(labels, np.unique(labels[seed & mask])) & mask)
    assert np.array_equal(connected(seeds & within, within)[:, 0].numpy(), np.stack(expected))
