from collections import Counter

import pytest
import torch

from brainuad.diffusion.masks import (
    PROBABILITIES,
    SIZES,
    MaskDraw,
    brain_share,
    draw_mask,
    patch_mask,
    spare_background,
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patch_sides_are_independent_and_have_the_published_probabilities():
    generator = _generator()
    drawn = [draw_mask(1, (8, 8), generator=generator).patch for _ in range(8000)]
    for axis in (0, 1):
        count = Counter(patch[axis] for patch in drawn)
        for size, probability in zip(SIZES, PROBABILITIES, strict=True):
            assert count[size] / len(drawn) == pytest.approx(probability, abs=0.02)
    both = Counter(drawn)
    assert both[2, 4] / len(drawn) == pytest.approx(0.09, abs=0.015)
    assert both[1, 8] / len(drawn) == pytest.approx(0.04, abs=0.015)


def test_noised_share_is_uniform_up_to_the_largest():
    draw = draw_mask(4000, (32, 32), sizes=(1,), probabilities=(1.0,), generator=_generator())
    noised = 1 - patch_mask(draw, (32, 32)).mean((1, 2, 3))
    torch.testing.assert_close(noised, draw.fraction, atol=1 / 1024 + 1e-6, rtol=0)
    assert noised.max() <= 0.4 + 1 / 1024
    assert noised.mean().item() == pytest.approx(0.2, abs=0.01)
    assert noised.std().item() == pytest.approx(0.4 / 12**0.5, abs=0.01)


def test_every_cell_is_noised_equally_often():
    draw = draw_mask(6000, (4, 8), sizes=(2,), probabilities=(1.0,), generator=_generator())
    often = 1 - patch_mask(draw, (4, 8)).mean(0)
    assert often.amin() > often.mean() - 0.03
    assert often.amax() < often.mean() + 0.03


def test_mask_by_hand():
    # Six patches of 2 x 1 cells; 0.4 of six leaves floor(3.6) = 3 of them.
    draw = MaskDraw(
        (2, 1),
        torch.tensor([0.4, 0.0]),
        torch.tensor([[0.1, 0.9, 0.2, 0.8, 0.3, 0.7], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]),
    )
    mask = patch_mask(draw, (4, 3))
    assert mask[0, 0].tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1]]
    assert mask[1].all()


def test_patches_that_do_not_fit_are_cut():
    mask = patch_mask(draw_mask(3, (6, 7), sizes=(4,), probabilities=(1.0,)), (6, 7))
    assert mask.shape == (3, 1, 6, 7)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_same_generator_same_draw():
    first, second = (draw_mask(2, (4, 4), generator=_generator(3)) for _ in range(2))
    assert first.patch == second.patch
    assert torch.equal(first.order, second.order)


def test_background_is_never_noised():
    # Factor 8: blocks of 16 x 16 pixels. The first has 231 brain pixels of 256 (0.902), the
    # second 230 (0.898), the third is full, the fourth empty.
    pixels = torch.zeros(1, 1, 16, 64, dtype=torch.bool)
    for block, count in enumerate((231, 230, 256, 0)):
        part = torch.zeros(256, dtype=torch.bool)
        part[:count] = True
        pixels[0, 0, :, 16 * block : 16 * block + 16] = part.view(16, 16)
    mask = spare_background(torch.zeros(1, 1, 2, 8), brain_share(pixels, 8))
    assert mask[0, 0].tolist() == [[0, 0, 1, 1, 0, 0, 1, 1]] * 2


def test_exactly_nine_tenths_of_brain_may_be_noised():
    pixels = torch.ones(1, 1, 20, 20, dtype=torch.bool)
    pixels[..., :2] = False
    share = brain_share(pixels, 10)
    assert not spare_background(torch.zeros(1, 1, 2, 2), share).any()


def test_background_rule_at_odd_sizes():
    mask = spare_background(torch.zeros(2, 1, 7, 5), torch.ones(2, 1, 7, 5))
    assert mask.shape == (2, 1, 7, 5)
    assert not mask.any()
