import numpy as np
import pytest
import torch
from scipy import ndimage

from brainuad.methods.parts.inpainting_losses import (
    gram_matrix,
    inpainting_terms,
    laplacian_pyramid,
    total_variation,
)


def _scene():
    image = torch.zeros(1, 1, 4, 4)
    hole = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hole[0, 0, 1, 1] = hole[0, 0, 1, 2] = True
    filled = torch.full((1, 1, 4, 4), 0.1)
    filled[0, 0, 1, 1], filled[0, 0, 1, 2] = 0.5, 0.3
    return filled, image, hole


def test_terms_by_hand():
    terms = inpainting_terms(*_scene())
    assert terms["hole"].item() == pytest.approx((0.5 + 0.3) / 16)
    assert terms["valid"].item() == pytest.approx(14 * 0.1 / 16)
    # The composite is 0 but for the two: 0.5 has three zeros beside it and 0.3, which has three.
    assert terms["tv"].item() == pytest.approx((3 * 0.5 + 0.2 + 3 * 0.3) / 16)
    assert set(terms) == {"hole", "valid", "tv"}


def test_total_variation_counts_only_within_a_pixel_of_the_hole():
    image = torch.arange(8.0).expand(1, 1, 8, 8) ** 2
    hole = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    assert total_variation(image, hole) == 0
    hole[0, 0, 3, 3] = True
    # Columns 2 to 4 are near: 4 to 9 and 9 to 16, in three rows; nothing changes down a column.
    assert total_variation(image, hole).item() == pytest.approx(3 * (5 + 7) / 64)


def test_gram_matrix_by_hand():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 1, 2)
    by_pixels = torch.tensor([[2.5, 5.5], [5.5, 12.5]])
    torch.testing.assert_close(gram_matrix(features)[0], by_pixels)
    # Divided by the two channels, too.
    torch.testing.assert_close(gram_matrix(features, by_channels=True)[0], by_pixels / 2)


def test_the_style_term_by_channels():
    filled, image, hole = _scene()
    plain, divided = (
        inpainting_terms(filled, image, hole, lambda x: [torch.cat([x, 1 - x, x], 1)], by_channels)
        for by_channels in (False, True)
    )
    assert plain["style"] > 0
    torch.testing.assert_close(divided["style"], plain["style"] / 3)
    torch.testing.assert_close(divided["perceptual"], plain["perceptual"])


def _levels(image):
    """PriorNet's pyramid of an image, level by level (libs/losses.py:45-73)."""
    distance = np.arange(5) - 2
    weight = np.exp(distance**2 / (-2 * 1.3**2)) ** 2
    kernel = sum(np.meshgrid(*[weight] * image.ndim, indexing="ij"))
    kernel /= kernel.sum()
    levels = []
    for _ in range(3):
        smooth = ndimage.correlate(image, kernel, mode="constant")
        levels.append(image - smooth)
        halves = [n // 2 for n in image.shape]
        cut = smooth[tuple(slice(2 * n) for n in halves)]
        pairs = cut.reshape([m for n in halves for m in (n, 2)])
        image = pairs.mean(tuple(range(1, pairs.ndim, 2)))
    return [*levels, image]


@pytest.mark.parametrize("size", [(16, 23), (8, 10, 9)])
def test_the_pyramid_is_priornets(size):
    filled, image = np.random.default_rng(0).random((2, 2, *size))
    expected = sum(
        np.mean([np.abs(a - b).mean() for a, b in zip(ours, theirs, strict=True)])
        for ours, theirs in zip(
            zip(*map(_levels, filled), strict=True),
            zip(*map(_levels, image), strict=True),
            strict=True,
        )
    )
    given = (torch.from_numpy(array)[:, None].float() for array in (filled, image))
    hole = torch.ones(2, 1, *size, dtype=torch.bool)
    terms = inpainting_terms(*given, hole, pyramid=True)
    assert terms["pyramid"].item() == pytest.approx(expected, rel=1e-5)
    # As one image of two channels it is the same.
    both = torch.from_numpy(filled - image)[None].float()
    assert laplacian_pyramid(both).item() == pytest.approx(expected, rel=1e-5)


def test_feature_terms_by_hand():
    filled, image, hole = _scene()
    composite = torch.where(hole, filled, image)

    def layer(x):
        return torch.cat([x, 1 - x], dim=1) * 7

    def unit(x):
        both = layer(x)
        return both / both.square().sum(1, keepdim=True).sqrt()

    terms = inpainting_terms(filled, image, hole, lambda x: [layer(x), layer(x)])
    perceptual = style = 0.0
    for other in (filled, composite):
        perceptual += (unit(other) - unit(image)).abs().mean().item()
        grams = gram_matrix(unit(other)) - gram_matrix(unit(image))
        style += grams.abs().mean().item()
    # Twice, for two layers.
    assert terms["perceptual"].item() == pytest.approx(2 * perceptual, rel=1e-5)
    assert terms["style"].item() == pytest.approx(2 * style, rel=1e-5)


def test_perfect_filling_costs_nothing_but_the_images_own_variation():
    image = torch.rand(2, 1, 8, 8)
    hole = torch.rand(2, 1, 8, 8) > 0.5
    terms = inpainting_terms(image, image, hole, lambda x: [torch.cat([x, 1 - x], 1)])
    assert all(terms[name] == 0 for name in ("hole", "valid", "perceptual", "style"))
    assert torch.equal(terms["tv"], total_variation(image, hole))


def test_features_do_not_depend_on_their_size():
    filled, image, hole = _scene()
    small, large = (
        inpainting_terms(filled, image, hole, lambda x, k=k: [k * torch.cat([x, 1 - x], 1)])
        for k in (1.0, 1000.0)
    )
    for name in ("perceptual", "style"):
        torch.testing.assert_close(small[name], large[name])
