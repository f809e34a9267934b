import pytest
import torch

from brainuad.methods.residuals import signed, squared


def test_signs_by_hand():
    image, healthy = torch.tensor([[[[0.9, 0.2]]]]), torch.tensor([[[[0.5, 0.5]]]])
    brain_mask = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    for sign, expected in (
        ("abs", [0.4, 0.3]),
        ("positive", [0.4, 0.0]),
        ("negative", [0.0, 0.3]),
    ):
        found = signed(image, healthy, brain_mask, sign)
        torch.testing.assert_close(found.flatten(), torch.tensor(expected))
    with pytest.raises(ValueError, match="sign is 'both'"):
        signed(image, healthy, brain_mask, "both")


@pytest.mark.parametrize("dims", [2, 3])
def test_averaging_cancels_what_alternates_and_keeps_what_does_not(dims):
    size = (9,) * dims
    index = torch.stack(torch.meshgrid(*[torch.arange(9)] * dims, indexing="ij"))
    alternating = 0.3 * (1 - 2 * (index.sum(0) % 2)).float()[None, None]
    brain_mask = torch.ones(1, 1, *size, dtype=torch.bool)
    healthy = torch.zeros(1, 1, *size)
    noise = signed(alternating, healthy, brain_mask, average=3)
    assert noise.max() <= 0.3 / 2 ** (dims - 1) + 1e-6
    assert noise[(0, 0, *[slice(1, -1)] * dims)].max().item() == pytest.approx(0.3 / 3**dims)
    steady = signed(healthy + 0.3, healthy, brain_mask, average=3)
    torch.testing.assert_close(steady, torch.full_like(steady, 0.3))


def test_averages_are_of_the_brain_alone():
    difference = torch.tensor([[[[0.6, 0.0, 9.0]]]])
    brain_mask = torch.tensor([[[[True, True, False]]]])
    found = signed(difference, torch.zeros_like(difference), brain_mask, average=3)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.3, 0.0]))


@pytest.mark.parametrize("average", [0, 2])
def test_averages_over_an_even_side_are_refused(average):
    ones = torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match="odd number"):
        signed(ones, ones, ones.bool(), average=average)


def test_squared_by_hand():
    image = torch.tensor([[[[0.9, 0.2]], [[0.5, 0.5]]]])
    healthy = torch.tensor([[[[0.5, 0.5]], [[0.5, 0.4]]]])
    found = squared(image, healthy, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    # In [-1, 1] differences are twice as large: 0.8 and 0 in the first pixel, 0.6 and 0.2.
    assert found.shape == (1, 1, 1, 2)
    assert found.flatten().tolist() == pytest.approx([0.64 / 2, (0.36 + 0.04) / 2])
