import math

import pytest
import torch

from brainuad.tiles.augment import Augment, FixedAugment

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


def _dot():
    """A dot at row 101, column 181 of a brain in 256 x 256."""
    image, mask = torch.zeros(1, 256, 256), torch.zeros(1, 256, 256, dtype=torch.bool)
    mask[:, 60:160, 60:200] = True
    image[:, 100:103, 180:183] = 0.8
    return image, mask


def _place(image):
    total = image.sum()
    rows, columns = torch.arange(256.0)[:, None], torch.arange(256.0)
    return [((image[0] * axis).sum() / total).item() for axis in (rows, columns)]


STILL = {"brightness": 0.0, "contrast": 0.0}


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"translation": 0.0}, (96.438, 178.487)),
        ({"rotation_deg": 0.0}, (109.0, 189.0)),
        ({}, (104.438, 186.487)),
    ],
)
def test_the_fixed_turn_and_shift_put_a_dot_where_albumentations_does(options, place):
    """A.Affine(rotate=5), A.Affine(translate_px=8) and one after the other, albumentations 1.4.21.

    It rounds to 8 bits, which moves the centre of so small a dot by up to 0.1.
    """
    augment = FixedAugment(probability=1.0, **STILL, **options)
    for seed in range(3):  # always the same
        moved, mask = augment(*_dot(), torch.Generator().manual_seed(seed))
        assert _place(moved) == pytest.approx(place, abs=2e-2)
        assert _place(mask.float()) != _place(_dot()[1].float())
    # No turn loses or makes intensity within the frame.
    assert moved.sum().item() == pytest.approx(_dot()[0].sum().item(), rel=1e-2)


def test_turn_and_shift_are_each_of_every_other_slice_by_themselves():
    generator, seen = torch.Generator().manual_seed(0), []
    for _ in range(400):
        moved, _ = FixedAugment(**STILL)(*_dot(), generator)
        seen.append(tuple(round(place) for place in _place(moved)))
    wanted = [(101, 181), (96, 178), (109, 189), (104, 186)]
    assert set(seen) == set(wanted)
    assert all(seen.count(place) / 400 == pytest.approx(0.25, abs=0.08) for place in wanted)


def test_the_shift_is_cut_to_whole_pixels_of_each_axis():
    image = torch.zeros(1, 64, 100)
    image[0, 20, 30] = 1.0
    still = FixedAugment(rotation_deg=0.0, probability=1.0, **STILL)
    moved, _ = still(image, torch.ones(1, 64, 100, dtype=torch.bool), torch.Generator())
    # 64 / 32 = 2 and 100 / 32 = 3.1.
    torch.testing.assert_close(moved, image.roll((2, 3), (1, 2)), atol=1e-4, rtol=0)


def test_contrast_about_zero_and_added_brightness_are_one_change():
    image, mask = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, 1:3] = True
    image[:, 1], image[:, 2] = 0.2, 0.8
    augment = FixedAugment(rotation_deg=0.0, translation=0.0)
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(1000):
        found, _ = augment(image, mask, generator)
        assert not found[~mask].any()
        low, high = found[0, 1, 0].item(), found[0, 2, 0].item()
        slope = (high - low) / 0.6
        drawn.append((slope, low - 0.2 * slope))
    slope, level = torch.tensor(drawn).T
    changed = (slope - 1).abs() > 1e-4
    assert changed.float().mean().item() == pytest.approx(0.5, abs=0.05)
    # Together or not at all; else on their own.
    assert level[~changed].abs().max() < 1e-4
    assert torch.corrcoef(torch.stack([slope, level])[:, changed])[0, 1].abs() < 0.15
    for values, middle in ((slope, 1.0), (level, 0.0)):
        assert values.min().item() == pytest.approx(middle - 0.1, abs=2e-3)
        assert values.max().item() == pytest.approx(middle + 0.1, abs=2e-3)


def test_changed_intensities_stay_in_the_full_range():
    image = torch.ones(1, 2, 2)
    augment = FixedAugment(rotation_deg=0.0, translation=0.0, probability=1.0)
    generator = torch.Generator().manual_seed(0)
    found = [augment(image, image > 0, generator)[0].max().item() for _ in range(50)]
    assert max(found) == 1.0
    assert min(found) < 1.0


def test_fixed_changes_refuse_volumes():
    image = torch.rand(1, 4, 4, 4)
    with pytest.raises(ValueError, match="takes slices"):
        FixedAugment()(image, image > 0, torch.Generator())
