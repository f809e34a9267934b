from functools import partial

import pytest
import torch

from brainuad.methods.asymmetry import Asymmetry
from brainuad.methods.parts.residuals import signed


def row(*values):
    """Intensities from left to right, in a volume."""
    return torch.tensor(values).reshape(1, 1, -1, 1, 1)


def brain(*values):
    return row(*values) > 0


def found(detector, image, mask):
    return detector.anomaly_map(image, mask).flatten().tolist()


def test_both_sides_by_hand():
    image, mask = row(0.2, 0.9, 0.5, 0.4, 0.2), brain(1, 1, 1, 1, 1)
    assert found(Asymmetry(signed), image, mask) == pytest.approx([0, 0.5, 0, 0.5, 0])
    bright = Asymmetry(partial(signed, sign="positive"))
    assert found(bright, image, mask) == pytest.approx([0, 0.5, 0, 0, 0])
    healthy = Asymmetry(signed).detect(image, mask).reconstruction
    assert healthy.flatten().tolist() == pytest.approx([0.2, 0.4, 0.5, 0.9, 0.2])


def test_a_mirror_outside_the_brain_says_nothing():
    image, mask = row(0.7, 0.9, 0.5, 0.4, 0.0), brain(1, 1, 1, 1, 0)
    assert found(Asymmetry(signed), image, mask) == pytest.approx([0, 0.5, 0, 0.5, 0])


def test_a_plane_beside_the_middle():
    # Mirrored about index 1: 0 and 2 change places, 3 and 4 have no partner on the grid.
    image, mask = row(0.2, 0.9, 0.5, 0.4, 0.2), brain(1, 1, 1, 1, 1)
    assert found(Asymmetry(signed, 1.0), image, mask) == pytest.approx([0.3, 0, 0.3, 0, 0])
    # Between 0 and 1.
    assert found(Asymmetry(signed, 0.5), image, mask) == pytest.approx([0.7, 0.7, 0, 0, 0])
    assert found(Asymmetry(signed, 2.0), image, mask) == found(Asymmetry(signed), image, mask)


def test_left_and_right_is_the_first_axis():
    image = torch.rand(1, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    image = image + image.flip(2)
    mask = torch.ones(image.shape, dtype=torch.bool)
    detector = Asymmetry(signed)
    assert not detector.learns
    assert not detector.anomaly_map(image, mask).any()
    assert not detector.anomaly_map(image[..., 0], mask[..., 0]).any()


@pytest.mark.parametrize("plane", [-1.0, 3.3])
def test_a_plane_that_is_none(plane):
    with pytest.raises(ValueError, match="plane is"):
        Asymmetry(signed, plane)
