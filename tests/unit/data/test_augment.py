import math

import pytest
import torch

from brainuad.data.augment import Augment

NEUTRAL = {
    "angle": 0.0,
    "shift_y": 0.0,
    "shift_x": 0.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "flip": 0.0,
}


def _slice():
    image = torch.zeros(1, 16, 32)
    image[0, 6:10, 12:20] = torch.linspace(0.3, 0.7, 8)
    return image, image > 0


def test_neutral_parameters_change_nothing():
    image, mask = _slice()
    moved, moved_mask = Augment().apply(image, mask, NEUTRAL)
    torch.testing.assert_close(moved, image)
    assert torch.equal(moved_mask, mask)


def test_zero_probability_draws_neutral_parameters():
    generator = torch.Generator().manual_seed(0)
    assert Augment(probability=0.0, flip_axis=0).draw(generator) == NEUTRAL


def test_draws_stay_in_range_and_use_it():
    generator = torch.Generator().manual_seed(0)
    draws = [Augment(flip_axis=0).draw(generator) for _ in range(2000)]
    angles = [abs(draw["angle"]) for draw in draws]
    assert max(angles) <= math.radians(5)
    assert max(angles) > math.radians(4.9)
    assert sum(angle == 0 for angle in angles) / 2000 == pytest.approx(0.5, abs=0.05)
    assert all(0.9 <= draw["brightness"] <= 1.1 for draw in draws)
    assert sum(draw["flip"] for draw in draws) / 2000 == pytest.approx(0.5, abs=0.05)


def test_shift_of_one_pixel_by_hand():
    image, mask = _slice()
    # In grid_sample's units the width is 2, so one of 32 pixels is 2 / 32.
    moved, moved_mask = Augment().apply(image, mask, NEUTRAL | {"shift_x": 2 / 32})
    torch.testing.assert_close(moved, image.roll(-1, dims=2), atol=1e-5, rtol=0)
    assert torch.equal(moved_mask, mask.roll(-1, dims=2))


def test_a_quarter_turn_keeps_lengths_on_a_slice_that_is_not_square():
    image = torch.zeros(1, 16, 32)
    image[0, 8, 12:20] = 1.0
    moved, _ = Augment().apply(image, image > 0, NEUTRAL | {"angle": math.pi / 2})
    rows, columns = (moved[0] > 0.25).nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == pytest.approx(8, abs=1)
    assert columns.max() - columns.min() + 1 <= 2


def test_brightness_and_contrast_by_hand():
    image, mask = _slice()
    moved, _ = Augment().apply(image, mask, NEUTRAL | {"brightness": 1.1})
    torch.testing.assert_close(moved, image * 1.1)
    moved, _ = Augment().apply(image, mask, NEUTRAL | {"contrast": 0.5})
    torch.testing.assert_close(moved[mask], (image[mask] - 0.5) * 0.5 + 0.5)
    assert (moved[~mask] == 0).all()


def test_flip():
    image, _ = _slice()
    image[0, 6] = 0.9
    moved, _ = Augment(flip_axis=0).apply(image, image > 0, NEUTRAL | {"flip": 1.0})
    assert torch.equal(moved, image.flip(1))
