"""SQUID's memories against values by hand and against loops."""

import pytest
import torch

from brainuad.networks.memory import (
    MemoryMatrix,
    MemoryQueue,
    cut,
    gumbel_shrinkage,
    hard_shrinkage,
    joined,
    masked_shortcut,
    recall,
)


def test_hard_shrinkage_keeps_what_is_above_the_threshold():
    weights = torch.tensor([0.1, 0.25, 0.4, 0.25])
    assert hard_shrinkage(weights, 0.25).tolist() == pytest.approx([0, 0, 0.4, 0])


def test_gumbel_shrinkage_keeps_k_less_one_entries():
    """Softmax of log weights is the weights; of 0.4, 0.3, 0.2, 0.1 the third is the edge."""
    found = gumbel_shrinkage(torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log(), k=3)
    assert found[0].tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])


def test_gumbel_shrinkage_has_the_gradient_of_the_softmax():
    similarity = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    factor = torch.arange(21.0).view(3, 7)
    ours, theirs = (similarity.clone().requires_grad_() for _ in range(2))
    (gumbel_shrinkage(ours, 4) * factor).sum().backward()
    (theirs.softmax(-1) * factor).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("sharpness", [None, 5.0])
def test_recall_against_a_loop(sharpness):
    generator = torch.Generator().manual_seed(0)
    features, memory = (
        torch.randn(*shape, generator=generator) for shape in ((2, 3, 4), (3, 6, 4))
    )
    found = recall(features, memory, 3, sharpness)
    for image in range(2):
        for place in range(3):
            query, stored = features[image, place], memory[place]
            similar = stored @ query
            if sharpness is not None:
                similar = sharpness * similar / (stored.norm(dim=1) * query.norm())
            best = similar.topk(2).indices
            share = similar.softmax(0)[best]
            expected = (share / share.sum()) @ stored[best]
            torch.testing.assert_close(found[image, place], expected)


def test_a_queue_replaces_the_oldest_entries():
    queue = MemoryQueue(places=2, slots=3, dimensions=1, k=2)
    for first in (1.0, 3.0, 5.0):
        queue.store(torch.tensor([[[first], [-first]], [[first + 1], [-first - 1]]]))
    # 1, 2, 3 fill it; 4, 5 and 6 follow in its circle.
    assert queue.entries[0, :, 0].tolist() == [4, 5, 6]
    assert queue.entries[1, :, 0].tolist() == [-4, -5, -6]
    assert queue.pointer == 0


def test_a_queue_keeps_the_last_of_more_features_than_it_has_slots():
    queue = MemoryQueue(places=1, slots=3, dimensions=1, k=2)
    queue.store(torch.arange(5.0).view(5, 1, 1))
    assert sorted(queue.entries.flatten().tolist()) == [2, 3, 4]


def test_storing_before_the_gradient_does_not_change_it():
    queue = MemoryQueue(places=1, slots=4, dimensions=2, k=3)
    features = torch.ones(2, 1, 2, requires_grad=True)
    found = queue(features)
    queue.store(features)
    found.sum().backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("k", [1, 5])
def test_a_queue_without_entries_left_is_refused(k):
    with pytest.raises(ValueError, match=f"k is {k} of 4 slots"):
        MemoryQueue(places=1, slots=4, dimensions=2, k=k)


def test_patches_are_cut_row_by_row_and_joined_again():
    image = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    patches = cut(image, 2)
    assert patches.shape == (8, 3, 2, 3)
    assert torch.equal(patches[1], image[0, :, :2, 3:])
    assert torch.equal(patches[6], image[1, :, 2:, :3])
    assert torch.equal(joined(patches, 2), image)


def test_each_quarter_of_a_map_has_its_own_memory():
    matrix = MemoryMatrix(slots=2, channels=1, size=(2, 2), k=2).eval()
    with torch.no_grad():
        # Of two entries the one that is more similar stays.
        matrix.entries.copy_(torch.tensor([[1.0, -1], [2, -2], [3, -3], [4, -4]])[..., None])
    found = matrix(torch.tensor([[[[0.5, -0.5], [7.0, -7.0]]]]))
    assert found.tolist() == [[[[1, -2], [3, -4]]]]


def test_the_shortcut_keeps_a_share_of_the_sites_in_training_alone():
    found, own = torch.zeros(4, 3, 50, 50), torch.ones(4, 3, 50, 50)
    assert torch.equal(masked_shortcut(found, own, 0.05, training=False), found)
    torch.manual_seed(0)
    mixed = masked_shortcut(found, own, 0.05, training=True)
    assert mixed.mean().item() == pytest.approx(0.05, abs=0.01)
    assert torch.equal(mixed[:, 0], mixed[:, 2])
