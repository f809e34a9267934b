import pytest
import torch

from brainuad.synthetic.lesions.appearance import LEAST, appearance, number_of_features

PLACE = torch.tensor([[12.0, 12.0], [12.0, 12.0]])


def describe(image, healthy=None, brain=None):
    brain = torch.ones_like(image[:, :1], dtype=torch.bool) if brain is None else brain
    place = PLACE if image.ndim == 4 else torch.cat([PLACE, PLACE[:, :1]], 1)
    healthy = image if healthy is None else healthy
    return appearance(image, healthy, brain, place[: len(image)]).reshape(len(image), 3, -1)


def noise(*size):
    return torch.rand(*size, generator=torch.Generator().manual_seed(0))


def test_features_by_hand():
    """A step of one standard deviation over an even brain."""
    healthy = 0.5 + 0.1 * (1 - 2 * (torch.arange(25) % 2)).float().expand(1, 1, 25, 25)
    found = describe(torch.full((1, 1, 25, 25), 0.6), healthy)
    level, spread = healthy.mean(), healthy.std(correction=0)
    assert number_of_features(1) == 15
    for brain, mean, *rough in found[0].tolist():
        assert brain == pytest.approx(1)
        assert mean == pytest.approx(((0.6 - level) / spread).item(), rel=1e-4)
        # Nothing varies.
        assert rough == pytest.approx([torch.tensor(LEAST).log().item()] * 3, abs=0.02)
    # Stripes of +-1: steps of 2 and second differences of 4 along one axis of two.
    *_, step, second = describe(healthy)[0, 2].exp().tolist()
    assert step == pytest.approx(LEAST + 2 * 0.5**0.5, rel=0.02)
    assert second == pytest.approx(LEAST + 4 * 0.5**0.5, rel=0.02)


@pytest.mark.parametrize("size", [(2, 1, 25, 25), (1, 2, 25, 25, 25)])
def test_nothing_depends_on_direction_brightness_or_what_is_far_away(size):
    image = noise(*size)
    found = describe(image)
    torch.testing.assert_close(describe(image.flip(2)), found, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(describe(0.2 + 0.3 * image), found, atol=1e-3, rtol=1e-3)
    changed = image.clone()
    changed[:, :, :3] = 0
    torch.testing.assert_close(describe(changed, image), found)


def test_the_rim_of_the_brain_is_known_and_nothing_beyond_it_counts():
    image, brain = noise(1, 1, 25, 25), torch.ones(1, 1, 25, 25, dtype=torch.bool)
    brain[..., 13:] = False
    found = describe(image, brain=brain)
    assert (found[0, :, 0] < 0.75).all()
    other = torch.where(brain, image, 9.0)
    torch.testing.assert_close(describe(other, brain=brain), found)
