"""Mean and deviation over draws, against torch on all of them at once."""

import pytest
import torch

from brainuad.methods.parts.random_draws import mean_and_std


def draws(count, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    maps = offset + torch.rand(count, 2, 1, 4, 5, generator=generator)
    healthy = torch.rand(count, 2, 3, 4, 5, generator=generator)
    return maps, healthy


@pytest.mark.parametrize("count", [1, 2, 7])
def test_as_torch_has_them(count):
    maps, healthy = draws(count)
    found = mean_and_std(zip(maps, healthy, strict=True))
    torch.testing.assert_close(found.anomaly_map, maps.mean(0))
    torch.testing.assert_close(found.reconstruction, healthy.mean(0))
    torch.testing.assert_close(found.uncertainty, maps.std(0, correction=0), atol=1e-6, rtol=1e-5)


def test_the_maps_themselves_are_kept_on_demand():
    maps, healthy = draws(3)
    assert mean_and_std(zip(maps, healthy, strict=True)).draws is None
    kept = mean_and_std(zip(maps, healthy, strict=True), keep=True).draws
    assert torch.equal(kept, maps[:, :, 0].movedim(0, 1))


def test_a_small_deviation_around_a_large_mean_survives_float32():
    maps, healthy = draws(5, offset=1000.0)
    found = mean_and_std(zip(maps, healthy, strict=True))
    expected = maps.double().std(0, correction=0).float()
    torch.testing.assert_close(found.uncertainty, expected, atol=2e-4, rtol=1e-3)


def test_half_precision_is_summed_in_float32_and_the_draws_are_left_alone():
    maps, healthy = (part.bfloat16() for part in draws(6))
    before = maps.clone()
    found = mean_and_std(zip(maps, healthy, strict=True))
    assert all(part.dtype == torch.float32 for part in found[:3])
    torch.testing.assert_close(found.anomaly_map, maps.float().mean(0))
    assert torch.equal(maps, before)
