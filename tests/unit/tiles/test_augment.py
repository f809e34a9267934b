import math

import pytest
import torch

from brainuad.tiles.augment import Augment

NEUTRAL = {
    "angle": 0.0,
    "shift_y": 0.0,
    "shift_x": 0.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "flip": 0.0,
    "warp": 0.0,
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


def test_an_image_of_larger_values_keeps_them_and_gets_none_above():
    image, mask = _slice()
    # From 0.3 to 0.7, three times as large.
    large = 3 * image
    moved, _ = Augment().apply(large, mask, NEUTRAL)
    torch.testing.assert_close(moved, large)
    brighter, _ = Augment().apply(large, mask, {**NEUTRAL, "brightness": 2.0})
    torch.testing.assert_close(brighter, (2 * large).clamp(max=2.1))
    # One within [0, 1] stays there.
    assert Augment().apply(image, mask, {**NEUTRAL, "brightness": 2.0})[0].max() == 1


def test_contrast_is_about_the_mean_of_each_channel():
    image, mask = _slice()
    both = torch.cat([image, torch.where(mask, 1 - image, 0)])
    parameters = {**NEUTRAL, "contrast": 0.5, "brightness": 1.1}
    found, _ = Augment().apply(both, mask, parameters)
    for channel, own in zip(found, both, strict=True):
        torch.testing.assert_close(channel, Augment().apply(own[None], mask, parameters)[0][0])


def test_flip():
    image, _ = _slice()
    image[0, 6] = 0.9
    moved, _ = Augment(flip_axis=0).apply(image, image > 0, NEUTRAL | {"flip": 1.0})
    assert torch.equal(moved, image.flip(1))


def test_a_warp_moves_edges_by_about_its_size_and_keeps_what_is_even():
    image = torch.full((1, 40, 40, 40), 0.2)
    image[:, 20:] = 0.8
    augment = Augment(probability=1, rotation_deg=0, translation=0, warp=1.5, warp_cells=3)
    shifts = []
    for seed in range(30):
        drawn = augment.draw(torch.Generator().manual_seed(seed))
        moved, mask = augment.apply(image, image > 0, NEUTRAL | {"warp": drawn["warp"]})
        again, _ = augment.apply(image, image > 0, NEUTRAL | {"warp": drawn["warp"]})
        assert torch.equal(moved, again)
        inside = moved[:, 8:-8, 8:-8, 8:-8]
        assert inside.min() >= 0.2 - 1e-5
        assert inside.max() <= 0.8 + 1e-5
        assert mask[:, 8:-8, 8:-8, 8:-8].all()
        # Where the edge lies in the middle, where a node is: by the share of bright voxels.
        shifts.append(((moved[0, :, 20, 20] - 0.2).sum() / 0.6 - 20).item())
    assert torch.tensor(shifts).std().item() == pytest.approx(1.5, rel=0.35)


def test_without_a_warp_the_draws_are_what_they_were():
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    plain, warped = (Augment(warp=warp).draw(s) for warp, s in zip((0, 1), seeds, strict=True))
    assert {**warped, "warp": 0.0} == plain


def test_volumes_are_flipped_and_scaled_but_not_turned():
    image = 0.1 + 0.4 * torch.rand(1, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    brain = image > 0
    moved, mask = Augment().apply(image, brain, NEUTRAL | {"flip": 0.0, "brightness": 1.1})
    torch.testing.assert_close(moved, image * 1.1)
    moved, mask = Augment(flip_axis=0).apply(image, brain, NEUTRAL | {"flip": 1.0})
    torch.testing.assert_close(moved, image.flip(1))
    assert torch.equal(mask, brain.flip(1))
    with pytest.raises(ValueError, match="only slices"):
        Augment().apply(image, brain, NEUTRAL | {"angle": 0.1})
