"""SQUID's network: the patches around a patch, what reaches which part, and sizes."""

import pytest
import torch

from brainuad.errors import InputError
from brainuad.networks.squid import Squid, neighbours, place_bits
from brainuad.networks.squid_discriminator import SquidDiscriminator

SMALL = {"size": (16, 24), "widths": (8, 8, 16), "slots": 4, "matrix_slots": 4, "k": 3}


def test_neighbours_against_a_loop():
    recalled = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    found = neighbours(recalled, 3).unflatten(0, (2, 9))
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    for place in range(9):
        for at, (down, right) in enumerate(around):
            row, column = place // 3 + down, place % 3 + right
            inside = 0 <= row < 3 and 0 <= column < 3
            expected = recalled[:, 3 * row + column] if inside else torch.zeros(2, 5)
            assert torch.equal(found[:, place, at], expected)


def test_places_are_numbered_in_binary():
    assert place_bits(4).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


def test_images_come_back_in_their_size_and_range():
    network = Squid(**SMALL | {"size": (32, 48)}, channels=2, squares=2).eval()
    found = network(torch.rand(3, 2, 32, 48))
    for image in (found.student, found.teacher):
        assert image.shape == (3, 2, 32, 48)
        assert image.min() >= 0
        assert image.max() <= 1
    # A quarter of 16 maps of 2 x 3 cells, for each of four patches.
    assert found.features.shape == (3, 4, 4 * 2 * 3)


def test_a_frame_that_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="multiple of 8"):
        Squid(**SMALL | {"size": (16, 20)})


def test_a_memory_matrix_of_whole_images_is_refused():
    with pytest.raises(ValueError, match="skips is 2, but only 1 levels"):
        Squid(**SMALL | {"skips": 2})


def test_the_queue_changes_by_store_alone():
    network = Squid(**SMALL).train()
    before = network.inpaint.queue.entries.clone()
    found = network(torch.rand(2, 1, 16, 24))
    assert torch.equal(network.inpaint.queue.entries, before)
    network.store(found.features)
    assert torch.equal(network.inpaint.queue.entries[:, :2].transpose(0, 1), found.features)


def test_the_teacher_teaches_its_decoder_and_not_the_encoder():
    network = Squid(**SMALL).train()
    network(torch.rand(2, 1, 16, 24)).teacher.mean().backward()
    with_gradient = {
        name.split(".")[0] for name, one in network.named_parameters() if one.grad is not None
    }
    assert with_gradient == {"teacher"}


def test_the_student_sees_the_memories_and_not_the_patch_itself():
    """With the same memories for all places and no skips, a patch changes only the weights."""
    network = Squid(**SMALL | {"skips": 0, "shortcut": 0.0}).eval()
    network.inpaint.queue.entries.fill_(0.5)
    # Equal entries have equal weights, so none is above the edge, and all recall zeros.
    first, second = (network(torch.rand(1, 1, 16, 24)).student for _ in range(2))
    torch.testing.assert_close(first, second)


def test_the_discriminator_has_one_logit_an_image():
    assert SquidDiscriminator((20, 24))(torch.rand(3, 1, 20, 24))[-1].shape == (3, 1)
