import math

import pytest
import torch
from torch import nn

from brainuad.errors import InputError
from brainuad.methods.patchcore import (
    PatchCore,
    greedy_centres,
    nearest,
    neighbourhoods,
    weight,
)
from brainuad.types import Batch


class Levels(nn.Module):
    """The image itself, and ten times its means over 2 x 2 pixels."""

    def features(self, image, layers):
        if layers == 1:
            return [image]
        return [image, 10 * nn.functional.avg_pool2d(image, 2)]


def patchcore(**options):
    plain = {"layers": [0], "width": 1, "patch": 1, "coreset": 1.0, "smoothing": 0}
    return PatchCore(Levels(), **{**plain, "reweighting": 1, **options}).eval()


def scan(*values):
    """One row of brain, whose pixels are patches when `patch` is 1."""
    image = torch.tensor(values)[None, None, None]
    return Batch(image, torch.ones(image.shape, dtype=torch.bool))


def anomaly_map(detector, *values):
    return detector.anomaly_map(*scan(*values)).flatten().tolist()


def test_neighbourhoods_by_hand():
    """Two channels side by side, each with zeros around it."""
    features = torch.tensor([[[[1.0, 2.0, 3.0]], [[10.0, 20.0, 30.0]]]])
    found = neighbourhoods(features, patch=3, width=2)
    assert found.shape == (1, 2, 1, 3)
    assert (9 * found[0, 0, 0]).tolist() == pytest.approx([3, 6, 5])
    assert (9 * found[0, 1, 0]).tolist() == pytest.approx([30, 60, 50])


def test_neighbourhoods_in_three_dimensions():
    found = neighbourhoods(torch.ones(1, 2, 3, 3, 3), patch=3, width=1)
    assert found[0, 0, 1, 1, 1] == 1
    assert found[0, 0, 0, 0, 0].item() == pytest.approx(8 / 27)


def test_centres_are_far_from_those_before():
    """Start at 0: first 10; then 4, which is 4 from 0; then 8.5, which is 1.5 from 10; then 1."""
    points = torch.tensor([[0.0], [1.0], [4.0], [8.5], [10.0]])
    assert greedy_centres(points, torch.tensor([0]), 4).tolist() == [4, 2, 3, 1]


def test_centres_are_distinct_among_equal_points():
    rows = greedy_centres(torch.ones(5, 2), torch.tensor([3]), 5)
    assert sorted(rows.tolist()) == [0, 1, 2, 3, 4]


def test_nearest_over_chunks():
    patches = torch.linspace(0, 1, 3000)[:, None]
    distances, rows = nearest(patches, torch.tensor([[0.0], [1.0]]), 1)
    assert torch.equal(rows[:, 0], (patches[:, 0] > 0.5).long())
    assert torch.allclose(distances, torch.minimum(patches, 1 - patches))


def test_nearest_is_exact_far_from_zero():
    """Squares of 1e4 leave products no digits for differences of 0.01."""
    patches = 1e4 + torch.tensor([[0.0], [0.02]])
    bank = 1e4 + torch.tensor([[0.01], [0.03], [1.0]])
    distances, _ = nearest(patches, bank, 1)
    assert torch.equal(distances, torch.cdist(patches, bank).amin(1, keepdim=True))


def test_weight_of_equation_7():
    """Distances 1 to the nearest entry and 2 to the one beside it."""
    found = weight(torch.tensor([1.0]), torch.tensor([[1.0, 2.0]]))
    assert found.item() == pytest.approx(1 - math.e / (math.e + math.e**2))


def test_weight_of_large_distances_is_finite():
    found = weight(torch.tensor([500.0]), torch.tensor([[500.0, 500.0]]))
    assert found.item() == pytest.approx(0.5, abs=1e-3)


def test_distance_to_the_bank_in_standard_deviations():
    """Values 0.2 and 0.6 have a standard deviation of 0.2; 0.9 is 0.3 away from 0.6."""
    detector = patchcore()
    detector.measure([scan(0.2), scan(0.6)])
    assert anomaly_map(detector, 0.9, 0.6, 0.3) == pytest.approx([1.5, 0, 0.5], abs=1e-5)


def test_mean_of_neighbours():
    detector = patchcore(neighbours=2)
    detector.measure([scan(0.2, 0.6)])
    assert anomaly_map(detector, 0.8) == pytest.approx([(1 + 3) / 2])


def test_reweighted_score():
    """Distances 1 and 3 to the two entries."""
    detector = patchcore(reweighting=2)
    detector.measure([scan(0.2, 0.6)])
    expected = 1 - math.exp(1) / (math.exp(1) + math.exp(3))
    assert anomaly_map(detector, 0.8) == pytest.approx([expected])


def test_layers_count_alike():
    """The deeper layer has ten times the numbers, and the same share in the bank."""
    detector = patchcore(layers=[0, 1], width=2)
    image = torch.tensor([0.2, 0.2, 0.6, 0.6]).expand(1, 1, 4, 4)
    detector.measure([Batch(image, torch.ones(image.shape, dtype=torch.bool))])
    first, second = detector.scale.flatten().tolist()
    assert first == pytest.approx(0.2)
    assert 0.5 < second / 10 / first < 1  # resizing blurs it


def test_background_is_neither_stored_nor_scored():
    batch = scan(0.2, 0.6, 0.0)
    batch.brain_mask[..., 2] = False
    detector = patchcore()
    detector.measure([batch])
    assert len(detector.bank) == 2
    assert detector.anomaly_map(*batch).flatten().tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_smoothing_does_not_lower_the_rim():
    """One score over the whole brain stays the same up to its edge."""
    image = torch.full((1, 1, 16, 16), 0.5)
    mask = torch.zeros(image.shape, dtype=torch.bool)
    mask[..., 4:12, 4:12] = True
    detector = patchcore(smoothing=2.0)
    detector.measure([scan(0.2, 0.4)])
    found = detector.anomaly_map(image, mask)[mask]
    assert torch.allclose(found, torch.ones_like(found), atol=1e-4)


def test_bank_is_bounded():
    values = torch.rand(300, generator=torch.Generator().manual_seed(0)).tolist()
    tiles = [scan(*values[i : i + 30]) for i in range(0, 300, 30)]
    detector = patchcore(candidates=50, bank_size=7)
    detector.measure(tiles)
    assert detector.bank.shape == (7, 1)
    # A tenth of the candidates, and the same ones whatever the batches.
    tenth, whole = patchcore(candidates=50, coreset=0.1), patchcore(candidates=50, coreset=0.1)
    tenth.measure(tiles)
    whole.measure([scan(*values)])
    assert tenth.bank.shape == (5, 1)
    assert torch.equal(tenth.bank, whole.bank)


def test_no_brain_to_remember():
    batch = scan(0.2)
    batch.brain_mask[:] = False
    with pytest.raises(InputError, match="brain mask"):
        patchcore().measure([batch])
