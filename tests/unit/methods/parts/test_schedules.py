"""Learning rates against values worked out by hand."""

import math

import pytest
import torch

from brainuad.methods.parts.schedules import warmup_cosine


def rates(epochs, **options):
    """The rate of every epoch of a training whose highest is 2."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 2.0)
    scheduler = warmup_cosine(optimizer, epochs, **options)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_by_hand():
    # Two epochs up, then cos^2 with share 0, 1/4, 1/2 of 10 * 1.0 - 2 = 8 epochs.
    found = rates(10, warmup_epochs=2, stretch=1.0)
    assert found[:3] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert found[4] == pytest.approx(2 * math.cos(math.pi / 8) ** 2)
    assert found[6] == pytest.approx(2 * 0.5)
    assert found[8] == pytest.approx(2 * math.sin(math.pi / 8) ** 2)


def released(epoch, warmup=10, total=200 * 1.2):
    """transformers' get_cosine_schedule_with_warmup, as train-MAD-AD.py:214-218 calls it."""
    if epoch < warmup:
        return epoch / max(1, warmup)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / max(1, total - warmup))))


def test_mad_ad_s_two_hundred_epochs():
    found = rates(200, from_zero=True)
    assert found[:11] == pytest.approx([2 * e / 10 for e in range(11)])
    assert found == pytest.approx([2 * released(epoch) for epoch in range(200)])
    # 200 epochs of 240: (1 + cos(pi 189 / 230)) / 2 is left.
    assert found[-1] == pytest.approx(0.1528, abs=1e-4)


def test_ours_loses_no_epoch_and_falls_as_the_released_one():
    found = rates(200)
    assert found[:3] == pytest.approx([2 / 11, 4 / 11, 6 / 11])
    assert found[10:] == pytest.approx([2 * released(epoch) for epoch in range(10, 200)])


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 12, 40])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 10])
def test_it_never_reaches_zero(epochs, warmup_epochs):
    found = rates(epochs, warmup_epochs=warmup_epochs)
    assert min(found) > 0
    assert max(found) <= 2


def test_it_goes_on_where_it_was():
    parameter = [torch.zeros(1, requires_grad=True)]
    first = warmup_cosine(torch.optim.SGD(parameter, 2.0), 20)
    for _ in range(13):
        first.optimizer.step()
        first.step()
    state = first.state_dict()
    # A checkpoint is read with weights_only=True: plain values alone.
    assert all(not callable(value) for value in state["lr_lambdas"])
    second = warmup_cosine(torch.optim.SGD(parameter, 2.0), 20)
    second.load_state_dict(state)
    for scheduler in (first, second):
        scheduler.optimizer.step()
        scheduler.step()
    assert second.get_last_lr() == first.get_last_lr() == pytest.approx([rates(20)[14]])
