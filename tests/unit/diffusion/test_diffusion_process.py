import math

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler

from brainuad.diffusion.masks import draw_mask, patch_mask
from brainuad.diffusion.process import add_noise, clean_image, ddim_step, noisiness, restore
from brainuad.diffusion.schedule import cosine_alpha_bar, sampling_timesteps

ALPHA_BAR = cosine_alpha_bar(10)


def _randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("t", [0, 4, 9])
def test_mean_and_variance_of_the_forward_process(t):
    x_0 = torch.tensor([0.7, -1.3]).view(1, 2, 1, 1).expand(20000, 2, 1, 1)
    mask = torch.zeros(20000, 1, 1, 1)
    alpha_bar = ALPHA_BAR[t].expand(20000)
    x_t = add_noise(x_0, mask, alpha_bar, _randn(20000, 2, 1, 1))
    expected = ALPHA_BAR[t].sqrt() * x_0[0, :, 0, 0]
    torch.testing.assert_close(x_t.mean(0)[:, 0, 0], expected, atol=0.03, rtol=0)
    variance = (1 - ALPHA_BAR[t]).expand(2)
    torch.testing.assert_close(x_t.var(0)[:, 0, 0], variance, atol=0.03, rtol=0)


def test_clean_cells_keep_their_value_and_each_sample_its_own_timestep():
    x_0, eps = _randn(2, 4, 6, 6), _randn(2, 4, 6, 6, seed=1)
    mask = patch_mask(draw_mask(2, (6, 6)), (6, 6))
    mask[:, :, 0, 0], mask[:, :, 1, 1] = 1.0, 0.0
    x_t = add_noise(x_0, mask, ALPHA_BAR[[2, 8]], eps)
    clean = (mask == 1).expand_as(x_0)
    assert torch.equal(x_t[clean], x_0[clean])
    for row, t in enumerate((2, 8)):
        expected = ALPHA_BAR[t].sqrt() * x_0[row] + (1 - ALPHA_BAR[t]).sqrt() * eps[row]
        noised = ~clean[row]
        torch.testing.assert_close(x_t[row][noised], expected[noised])


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_one_step_by_hand(eta):
    # alpha_bar 0.36 -> 0.64, x_t = 1, x_0 = 0.5: e = (1 - 0.3) / 0.8 = 0.875 and
    # sigma = eta sqrt(0.36 / 0.64) sqrt(1 - 0.36 / 0.64) = eta 0.75 sqrt(0.4375).
    sigma = eta * 0.75 * math.sqrt(0.4375)
    expected = 0.8 * 0.5 + math.sqrt(0.36 - sigma**2) * 0.875 + sigma * 2.0
    found = ddim_step(
        torch.tensor(1.0),
        torch.tensor(0.5),
        torch.tensor(0.36),
        torch.tensor(0.64),
        eta,
        torch.tensor(2.0),
    )
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_deterministic_steps_are_monais():
    scheduler = DDIMScheduler(10, "cosine", clip_sample=False, prediction_type="sample")
    x_t, x_0 = _randn(3, 4, 5, 5), _randn(3, 4, 5, 5, seed=1)
    for t in range(9, -1, -1):
        expected, _ = scheduler.step(x_0, t, x_t, eta=0.0)
        before = ALPHA_BAR[t - 1] if t else torch.tensor(1.0)
        found = ddim_step(x_t, x_0, ALPHA_BAR[t], before, 0.0, torch.zeros(()))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_oracle_restores_the_clean_latent_and_leaves_the_rest_alone(eta, steps):
    clean, mask = _randn(3, 4, 6, 8), patch_mask(draw_mask(3, (6, 8)), (6, 8))
    mask[:, :, 2, 2] = 0
    noised = torch.where(mask.bool(), clean, _randn(3, 4, 6, 8, seed=2) * 3)

    def oracle(z, t):
        return clean, mask

    timesteps = sampling_timesteps(10, steps)
    found = restore(oracle, noised, ALPHA_BAR, timesteps, _randn(steps, 4, 6, 8, seed=3), eta)
    torch.testing.assert_close(found, clean, rtol=1e-5, atol=1e-5)
    kept = mask.bool().expand_as(clean)
    assert torch.equal(found[kept], noised[kept])


def test_timesteps_fall_and_the_threshold_decides():
    seen = []

    def network(z, t):
        seen.append(t.tolist())
        return torch.zeros_like(z), torch.full_like(z[:, :1], 0.5)

    z, eps = _randn(2, 4, 4, 4), _randn(10, 4, 4, 4, seed=1)
    timesteps = list(range(9, -1, -1))
    assert torch.equal(restore(network, z, ALPHA_BAR, timesteps, eps), z)
    assert seen == [[t, t] for t in timesteps]
    # Above 1 the mask is ignored: every cell ends at the predicted clean latent.
    assert not restore(network, z, ALPHA_BAR, timesteps, eps, mask_threshold=1.1).any()


def test_noisiness_is_the_mean_over_timesteps_at_the_same_latent():
    z = _randn(2, 4, 4, 4)

    def network(x, t):
        assert torch.equal(x, z)
        return x, (t / 10).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    found = noisiness(network, z, [9, 0])
    torch.testing.assert_close(found, torch.full((2, 1, 4, 4), 0.55))


def test_the_clean_image_is_what_was_noised():
    x_0, eps, t = _randn(3, 2, 4, 4), _randn(3, 2, 4, 4, seed=1), torch.tensor([0, 4, 8])
    x_t = add_noise(x_0, torch.zeros(()), ALPHA_BAR[t], eps)
    torch.testing.assert_close(clean_image(x_t, eps, ALPHA_BAR[t]), x_0, atol=1e-4, rtol=1e-4)
    # sqrt(1 - 0.36) = 0.8.
    found = clean_image(torch.full((1, 1, 1, 1), 1.4), torch.ones(1, 1, 1, 1), torch.tensor([0.36]))
    assert found.item() == pytest.approx((1.4 - 0.8) / 0.6)
