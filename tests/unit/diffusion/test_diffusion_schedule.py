import math

import pytest
import torch
from monai.networks.schedulers import NoiseSchedules

from brainuad.diffusion.schedule import cosine_alpha_bar, linear_alpha_bar, sampling_timesteps


def _closed_form(t, steps):
    """The product telescopes: f((t + 1) / T) / f(0)."""

    def share(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    return share((t + 1) / steps) / share(0)


@pytest.mark.parametrize("steps", [1, 2, 10, 100, 1000])
def test_schedule_is_the_closed_form_up_to_the_capped_last_step(steps):
    found = cosine_alpha_bar(steps)
    assert found.shape == (steps,)
    expected = [_closed_form(t, steps) for t in range(steps - 1)]
    torch.testing.assert_close(found[:-1], torch.tensor(expected), rtol=1e-5, atol=1e-8)
    before = found[-2].item() if steps > 1 else 1.0
    assert found[-1].item() == pytest.approx(before * 0.001, rel=1e-4)
    assert (found.diff() < 0).all()


@pytest.mark.parametrize("steps", [10, 100])
def test_schedule_is_monais(steps):
    _, _, expected = NoiseSchedules["cosine"](steps)
    torch.testing.assert_close(cosine_alpha_bar(steps), expected, rtol=1e-4, atol=1e-7)


def test_first_and_last_of_the_ten_steps():
    found = cosine_alpha_bar()
    assert found[0].item() == pytest.approx(0.97209, abs=1e-4)
    assert found[-1].item() < 1e-4


def test_timesteps_of_a_shorter_sampler():
    assert sampling_timesteps(10, 10) == list(range(9, -1, -1))
    assert sampling_timesteps(10, 4) == [9, 6, 3, 0]
    assert sampling_timesteps(10, 1) == [0]


@pytest.mark.parametrize("steps", [0, 11])
def test_impossible_lengths_are_refused(steps):
    with pytest.raises(ValueError, match="use 1 to 10"):
        sampling_timesteps(10, steps)
    with pytest.raises(ValueError, match="num_timesteps is 0"):
        cosine_alpha_bar(0)


def test_linear_schedule_by_hand_and_as_monai_has_it():
    found = linear_alpha_bar(1000)
    product = 1.0
    for t in range(1000):
        product *= 1 - (1e-4 + t / 999 * (0.02 - 1e-4))
        if t in (0, 249, 499, 999):
            assert found[t].item() == pytest.approx(product, rel=1e-5)
    betas = NoiseSchedules["linear_beta"](1000, 1e-4, 0.02)
    torch.testing.assert_close(found, (1 - betas.double()).cumprod(0).float(), rtol=1e-4, atol=1e-7)


def test_linear_schedules_of_fewer_steps_end_where_the_long_one_does():
    assert linear_alpha_bar(1000)[-1].item() == pytest.approx(4.04e-5, rel=0.01)
    assert 1e-6 < linear_alpha_bar(200)[-1].item() < 1e-4
    for steps in (0, 20):
        with pytest.raises(ValueError, match="use more than 20"):
            linear_alpha_bar(steps)
