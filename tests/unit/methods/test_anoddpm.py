"""AnoDDPM with networks whose answers are known."""

import pytest
import torch
from known_network import Known
from torch.nn import functional

from brainuad.diffusion.schedule import linear_alpha_bar
from brainuad.methods.anoddpm import AnoDDPM
from brainuad.methods.parts.residuals import squared
from brainuad.synthetic.noise.diffusion import GaussianNoise, SimplexNoise
from brainuad.types import Batch

ALPHA_BAR = linear_alpha_bar(1000)
SIZE = (8, 12)


class Silent:
    """No noise."""

    def __call__(self, shape, t, generator=None):
        return torch.zeros(shape)


@pytest.fixture
def batch():
    image = torch.rand(4, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.ones(4, 1, *SIZE, dtype=torch.bool))


def share(t):
    return ALPHA_BAR[t].view(-1, 1, 1, 1)


@pytest.mark.parametrize("training", [True, False])
def test_images_are_noised_by_the_timestep_that_the_network_is_told(training):
    network = Known(lambda x, t: x)
    image = torch.full((400, 1, *SIZE), 0.75)
    detector = AnoDDPM(network, squared, max_timestep=600).train(training)
    torch.manual_seed(0)
    detector.loss(Batch(image, image > 0))
    x_t, t = network.asked[0]
    eps = (x_t - share(t).sqrt() * 0.5) / (1 - share(t)).sqrt()
    assert eps.mean().item() == pytest.approx(0, abs=0.02)
    assert eps.std().item() == pytest.approx(1, abs=0.02)
    assert 0 <= t.min() < 20
    assert 580 < t.max() <= 599


def test_loss_by_hand(batch):
    network = Known(lambda x, t: torch.full_like(x, 0.2))
    detector = AnoDDPM(network, squared, noise=SimplexNoise(8.0, 3)).train()
    torch.manual_seed(0)
    loss = detector.loss(batch)["loss"].item()
    x_t, t = network.asked[0]
    eps = (x_t - share(t).sqrt() * (2 * batch.image - 1)) / (1 - share(t)).sqrt()
    assert loss == pytest.approx((eps - 0.2).square().mean().item(), rel=1e-3)


def test_validation_draws_are_those_of_the_batchs_number(batch):
    network = Known(lambda x, t: x)
    detector = AnoDDPM(network, squared, noise=SimplexNoise()).eval()
    for number in (0, 1, 0):
        detector.validation_seed = number
        detector.loss(batch)
    assert torch.equal(network.asked[0][0], network.asked[2][0])
    assert not torch.equal(network.asked[0][0], network.asked[1][0])


def looks_around(x, t):
    return 0.3 * x + 0.1 * x.mean((2, 3), keepdim=True) + t.view(-1, 1, 1, 1) / 2000


def by_hand(image, start, noise, seed, variance):
    """DDPM as in its algorithm 2, by the posterior mean of equations 6 and 7.

    The noise of a step has the posterior's variance, or beta as in `GaussianDiffusion.py:282` of
    the released code; at t = 0 there is none.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda t: noise((1, 1, *SIZE), torch.tensor([t]), generator)  # noqa: E731
    alpha_bar = ALPHA_BAR.double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    x_0 = (2 * image - 1).double()
    x = alpha_bar[start - 1].sqrt() * x_0 + (1 - alpha_bar[start - 1]).sqrt() * draw(start - 1)
    for t in range(start - 1, -1, -1):
        eps = looks_around(x, torch.full((len(x),), t))
        clean = ((x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()).clamp(-1, 1)
        rest = 1 - alpha_bar[t]
        mean = before[t].sqrt() * beta[t] / rest * clean
        mean += (1 - beta[t]).sqrt() * (1 - before[t]) / rest * x
        sigma = {"posterior": (1 - before[t]) / rest * beta[t], "beta": beta[t]}[variance].sqrt()
        x = mean + (t > 0) * sigma * draw(t)
    return (x.float() + 1) / 2


@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize("noise", [GaussianNoise(), SimplexNoise(8.0, 2)])
def test_detection_is_partial_ddpm(batch, noise, variance):
    options = {"noise": noise, "start": 7, "seed": 5, "variance": variance}
    detector = AnoDDPM(Known(looks_around), squared, **options)
    found = detector.detect(*batch)
    expected = by_hand(batch.image, 7, noise, 5, variance)
    torch.testing.assert_close(found.reconstruction, expected, atol=2e-4, rtol=1e-3)
    difference = batch.image - found.reconstruction
    torch.testing.assert_close(found.anomaly_map, difference.square())
    assert found.uncertainty is None


class Once:
    """Ones for the first step back, zeros for the start and all others."""

    def __init__(self):
        self.calls = 0

    def __call__(self, shape, t, generator=None):
        self.calls += 1
        return torch.full(shape, float(self.calls == 2))


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_the_noise_of_a_step_by_its_numbers(batch, variance):
    # It predicts x_0 = 0 everywhere, so that all that is left is the noise of the first step.
    network = Known(lambda x, t: x / (1 - share(t)).sqrt())
    detector = AnoDDPM(network, squared, noise=Once(), start=2, variance=variance)
    detector.detect(torch.full_like(batch.image, 0.5), batch.brain_mask)
    x_0, t = network.asked[1]
    assert t.tolist() == [0] * 4
    # Of 1000 betas from 1e-4 to 0.02 the second is 1.1992e-4.
    beta = 1.1992e-4
    expected = {"beta": beta, "posterior": beta * 1e-4 / (1 - (1 - 1e-4) * (1 - beta))}[variance]
    torch.testing.assert_close(x_0, torch.full_like(x_0, expected**0.5), rtol=1e-3, atol=0)


def test_the_centre_is_enlarged_at_test_and_its_map_put_back():
    image = torch.zeros(1, 1, 8, 12)
    image[..., 3:5, 4:8] = 1.0
    mask = torch.ones(1, 1, 8, 12, dtype=torch.bool)
    network = Known(lambda x, t: torch.zeros_like(x))
    options = {"noise": Silent(), "start": 1, "test_crop": (4, 6)}
    found = AnoDDPM(network, squared, **options).detect(image, mask)
    x_t = network.asked[0][0] / ALPHA_BAR[0].sqrt()
    seen = (x_t + 1) / 2
    expected = functional.interpolate(image[..., 2:6, 3:9], (8, 12), mode="bilinear")
    torch.testing.assert_close(seen, expected)
    # Without noise the image comes back; every pixel is where it was.
    rows, columns = slice(2, 6), slice(3, 9)
    inside = functional.interpolate(expected, (4, 6), mode="bilinear")
    torch.testing.assert_close(found.reconstruction[..., rows, columns], inside, atol=1e-3, rtol=0)
    assert found.reconstruction.sum() == found.reconstruction[..., rows, columns].sum()
    assert found.anomaly_map.shape == image.shape


def test_a_lesion_in_the_centre_is_found_where_it_is():
    image = torch.full((1, 1, 32, 32), 0.5)
    image[..., 12:16, 18:22] = 1.0
    mask = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    # It says that all of the image is 0.5.
    network = Known(lambda x, t: x / (1 - share(t)).sqrt())
    options = {"noise": Silent(), "start": 1}
    whole, centre = (
        AnoDDPM(network, squared, test_crop=crop, **options).detect(image, mask).anomaly_map
        for crop in (None, (22, 30))
    )
    torch.testing.assert_close(whole, (image - 0.5).square())
    weight = centre / centre.sum()
    places = torch.arange(32.0)
    assert (weight.sum(3)[0, 0] @ places).item() == pytest.approx(13.5, abs=0.05)
    assert (weight.sum(2)[0, 0] @ places).item() == pytest.approx(19.5, abs=0.05)
    assert centre.max().item() == pytest.approx(0.25, abs=0.01)


def test_a_slice_that_is_smaller_than_the_crop_is_refused(batch):
    detector = AnoDDPM(Known(looks_around), squared, start=1, test_crop=(9, 4))
    with pytest.raises(ValueError, match="smaller than the crop"):
        detector.detect(*batch)


def test_what_knows_the_noise_brings_the_image_back(batch):
    noise = SimplexNoise(8.0, 3)
    drawn = noise((1, 1, *SIZE), torch.tensor([249]), torch.Generator().manual_seed(0))
    # Without noise on the way the noise of the start is what is in every step.
    for steps in (1, 4, 250):
        detector = AnoDDPM(
            Known(lambda x, t: drawn.expand_as(x)),
            squared,
            noise=noise,
            sampling_steps=steps,
            eta=0.0,
        )
        found = detector.detect(*batch)
        torch.testing.assert_close(found.reconstruction, batch.image, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("steps", "visited"), [(4, (249, 166, 83, 0)), (1, (249,))])
def test_short_samplers_begin_where_the_image_was_noised_to(batch, steps, visited):
    network = Known(looks_around)
    AnoDDPM(network, squared, start=250, sampling_steps=steps, eta=0.0).detect(*batch)
    assert [t.tolist() for _, t in network.asked] == [[t] * 4 for t in visited]
    eps = torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    expected = ALPHA_BAR[249].sqrt() * (2 * batch.image - 1) + (1 - ALPHA_BAR[249]).sqrt() * eps
    torch.testing.assert_close(network.asked[0][0], expected)


def test_draws_are_those_of_single_seeds(batch):
    def detect(**options):
        return AnoDDPM(Known(looks_around), squared, start=5, **options).detect(*batch)

    maps = torch.stack([detect(seed=seed).anomaly_map for seed in (3, 4, 5)])
    several = detect(seed=3, n_samples=3)
    torch.testing.assert_close(several.anomaly_map, maps.mean(0))
    torch.testing.assert_close(several.uncertainty, maps.std(0, correction=0), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0}, "start is 0"),
        ({"start": 900}, "start <= max_timestep"),
        ({"max_timestep": 2000}, "max_timestep 2000"),
        ({"eta": 1.5}, "eta 1.5"),
        ({"variance": "learned"}, "use posterior or beta"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"sampling_steps": 251}, "use 1 to 250"),
        ({"sampling_steps": 0}, "use 1 to 250"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AnoDDPM(Known(lambda x, t: x), squared, **options)
