"""Prototypes of images whose groups are known."""

import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.parts.prototypes import HealthyPrototypes

SIZE = (12, 10)


def level(number, noise=0.0):
    """An image that is bright in one of three bands."""
    image = torch.zeros(1, *SIZE)
    image[:, 4 * number : 4 * number + 4] = 0.8
    return image + noise


def groups(**options):
    """Two images of each of three levels, in the order of two scans."""
    images = [level(number, noise) for noise in (-0.1, 0.1) for number in range(3)]
    prototypes = HealthyPrototypes(**({"count": 3, "least": 1, "side": 6} | options))
    prototypes.measure(torch.stack(images).split(4))
    return prototypes


def test_the_prototypes_are_the_means_of_what_looks_alike():
    found = groups().images
    expected = torch.stack([level(number) for number in range(3)])
    order = found.flatten(1).argmax(1).argsort()
    torch.testing.assert_close(found[order], expected, atol=1e-3, rtol=0)


def test_the_nearest_is_found_by_what_is_seen():
    prototypes = groups()
    image = level(1)[None].repeat(2, 1, 1, 1)
    valid = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    # Of the second only what lies outside of the middle band is seen, and a lie within.
    valid[1, :, 3:9] = False
    image[1, :, 3:9] = 1e6
    found = prototypes.nearest(image, valid)
    torch.testing.assert_close(found[0], level(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], level(1), atol=1e-3, rtol=0)


def test_the_distance_is_that_of_brute_force():
    torch.manual_seed(0)
    prototypes = HealthyPrototypes(5, 1)
    prototypes.measure(torch.rand(3, 10, 2, 6, 7))
    image, valid = torch.rand(8, 2, 6, 7), torch.rand(8, 1, 6, 7) > 0.5
    difference = (image[:, None] - prototypes.images).square() * valid[:, None]
    expected = prototypes.images[difference.flatten(2).sum(2).argmin(1)]
    assert torch.equal(prototypes.nearest(image, valid), expected)


def test_half_precision_finds_the_same_ones():
    """Images whose two nearest prototypes differ by less than bfloat16 tells apart."""
    torch.manual_seed(0)
    prototypes = HealthyPrototypes(32, 1)
    prototypes.measure(10 + torch.rand(1, 32, 4, 12, 10))
    image, valid = 10 + torch.rand(64, 4, 12, 10), torch.ones(64, 1, 12, 10, dtype=torch.bool)
    expected = prototypes.nearest(image, valid)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prototypes.nearest(image, valid), expected)


def test_the_same_images_give_the_same_groups():
    torch.manual_seed(0)
    images = torch.rand(40, 1, *SIZE)
    found = []
    for size in (1, 7):
        prototypes = HealthyPrototypes(4, 1)
        prototypes.measure(images.split(size))
        found.append(prototypes.images)
    assert torch.equal(*found)


def test_of_few_images_there_are_fewer_groups():
    assert len(groups(least=2).images) == 3
    assert len(groups(least=3).images) == 2
    assert len(groups(least=20).images) == 1


def test_of_many_images_a_share_is_taken_from_everywhere():
    prototypes = HealthyPrototypes(64, 1, most=4)
    prototypes.measure((torch.arange(16.0) / 16).reshape(4, 4, 1, 1, 1).expand(4, 4, 1, 2, 2))
    assert prototypes.images[:, 0, 0, 0].mul(16).tolist() == [0, 4, 8, 12]


def test_travel_with_the_weights():
    other = HealthyPrototypes()
    other.load_state_dict(groups().state_dict())
    assert torch.equal(other.images, groups().images)


@pytest.mark.parametrize("prototypes", [HealthyPrototypes(), groups()])
def test_images_of_another_size_are_refused(prototypes):
    with pytest.raises(InputError, match="9 x 9 pixels"):
        prototypes.nearest(torch.zeros(1, 1, 9, 9), torch.ones(1, 1, 9, 9, dtype=torch.bool))


@pytest.mark.parametrize("option", ["count", "least", "side", "most"])
def test_arguments_out_of_range(option):
    with pytest.raises(ValueError, match=f"{option} 0|{option} is 0"):
        HealthyPrototypes(**{option: 0})
