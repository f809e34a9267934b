"""pDDPM with networks whose answers are known."""

import pytest
import torch
from known_network import Known

from brainuad.diffusion.schedule import cosine_alpha_bar
from brainuad.methods.parts.residuals import signed
from brainuad.methods.pddpm import PDDPM
from brainuad.synthetic.noise.diffusion import GaussianNoise, SimplexNoise2D
from brainuad.types import Batch

ALPHA_BAR = cosine_alpha_bar(1000)
SIZE = (8, 12)


@pytest.fixture
def batch():
    image = torch.rand(5, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.ones(5, 1, *SIZE, dtype=torch.bool))


@pytest.mark.parametrize("training", [True, False])
def test_only_one_patch_of_the_grid_is_noised_and_as_much_as_its_timestep_says(training):
    network = Known(lambda x, t: x)
    image = torch.full((800, 1, *SIZE), 0.75)
    detector = PDDPM(network, signed, noise=GaussianNoise(), patches=(2, 3)).train(training)
    torch.manual_seed(0)
    detector.loss(Batch(image, image > 0))
    x_t, t = network.asked[0]
    # What is not in the patch is what it was, bit for bit, in [-1, 1].
    moved = (x_t != 0.5)[:, 0]
    patches = moved.unflatten(1, (2, 4)).unflatten(3, (3, 4)).float().mean((2, 4)).flatten(1)
    assert torch.equal(patches.sort(1).values, torch.tensor([0.0] * 5 + [1.0]).expand(800, 6))
    assert patches.mean(0).tolist() == pytest.approx([1 / 6] * 6, abs=0.05)
    alpha_bar = ALPHA_BAR[t].view(-1, 1, 1)
    eps = (x_t[:, 0] - alpha_bar.sqrt() * 0.5) / (1 - alpha_bar).sqrt()
    assert eps[moved].mean().item() == pytest.approx(0, abs=0.03)
    assert eps[moved].std().item() == pytest.approx(1, abs=0.03)
    assert 0 <= t.min() < 20
    assert 980 < t.max() <= 999


def test_loss_by_hand(batch):
    network = Known(lambda x, t: torch.full_like(x, 0.2))
    detector = PDDPM(network, signed).train()
    torch.manual_seed(0)
    loss = detector.loss(batch)["loss"].item()
    x_0 = 2 * batch.image - 1
    inside = network.asked[0][0] != x_0
    assert inside.sum() == 5 * 24
    expected = (0.2 - x_0[inside]).abs().sum().item() / x_0.numel()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_what_is_wrong_in_the_context_costs_nothing(batch):
    def answer(x, t):
        return torch.where(x == 2 * batch.image - 1, 100.0, 2 * batch.image - 1)

    assert PDDPM(Known(answer), signed).train().loss(batch)["loss"].item() == 0


def test_validation_draws_are_those_of_the_batchs_number(batch):
    network = Known(lambda x, t: x)
    detector = PDDPM(network, signed, noise=SimplexNoise2D()).eval()
    for number in (0, 1, 0):
        detector.validation_seed = number
        detector.loss(batch)
    assert torch.equal(network.asked[0][0], network.asked[2][0])
    assert not torch.equal(network.asked[0][0], network.asked[1][0])


def test_the_released_noise_is_one_pattern_for_the_batch_and_none_in_the_corner(batch):
    network = Known(lambda x, t: x)
    detector = PDDPM(network, signed, noise=SimplexNoise2D(8.0, 3), patches=(1, 1)).train()
    torch.manual_seed(0)
    detector.loss(batch)
    x_t, t = network.asked[0]
    alpha_bar = ALPHA_BAR[t].view(-1, 1, 1, 1)
    eps = (x_t - alpha_bar.sqrt() * (2 * batch.image - 1)) / (1 - alpha_bar).sqrt()
    assert eps.std(0, correction=0).max() < 1e-3
    assert eps[:, :, 0, 0].abs().max() < 1e-3
    assert eps.abs().mean() > 0.2


def by_hand(image, eps, answer, step):
    """Patch by patch and slice by slice, as the released code has it."""
    found = torch.empty_like(image)
    for index, x_0 in enumerate(2 * image - 1):
        for top in (0, 4):
            for left in (0, 6):
                here = (slice(None), slice(top, top + 4), slice(left, left + 6))
                noised = ALPHA_BAR[step].sqrt() * x_0 + (1 - ALPHA_BAR[step]).sqrt() * eps
                x_t = x_0.clone()
                x_t[here] = noised[here]
                clean = answer(x_t[None], torch.tensor([step]))[0]
                found[index][here] = clean[here]
    return (found + 1) / 2


@pytest.mark.parametrize("chunk", [3, 128])
@pytest.mark.parametrize("noise", [GaussianNoise(), SimplexNoise2D()])
def test_detection_by_hand(batch, noise, chunk):
    def answer(x, t):
        # Looks at all of the context.
        return 0.5 * x + x.mean((1, 2, 3), keepdim=True) + t.view(-1, 1, 1, 1) / 1000

    detector = PDDPM(Known(answer), signed, noise=noise, test_timestep=400, seed=5, chunk=chunk)
    found = detector.detect(*batch)
    eps = noise((1, 1, *SIZE), torch.tensor([399]), torch.Generator().manual_seed(5))[0]
    expected = by_hand(batch.image, eps, answer, 399)
    torch.testing.assert_close(found.reconstruction, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.anomaly_map, (batch.image - expected).abs(), atol=1e-5, rtol=0)
    assert found.uncertainty is None


def test_a_network_that_takes_the_noise_away_finds_nothing(batch):
    x_0 = (2 * batch.image - 1).repeat(4, 1, 1, 1)
    found = PDDPM(Known(lambda x, t: x_0), signed).detect(*batch)
    torch.testing.assert_close(found.reconstruction, batch.image, atol=1e-6, rtol=0)


def test_draws_are_those_of_single_seeds(batch):
    def detect(**options):
        detector = PDDPM(Known(lambda x, t: 0.7 * x), signed, noise=GaussianNoise(), **options)
        return detector.detect(*batch)

    maps = torch.stack([detect(seed=seed).anomaly_map for seed in (3, 4, 5)])
    several = detect(seed=3, n_samples=3)
    torch.testing.assert_close(several.anomaly_map, maps.mean(0))
    torch.testing.assert_close(several.uncertainty, maps.std(0, correction=0), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_timestep": 0}, "use 1 to 1000"),
        ({"test_timestep": 1001}, "use 1 to 1000"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"patches": [2, 0]}, "patches"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PDDPM(Known(lambda x, t: x), signed, **options)
