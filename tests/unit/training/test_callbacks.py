import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from brainuad.networks.memory_layout import LARGEST, fastest_layout
from brainuad.training.callbacks import EMA


def test_layout_changes_and_values_do_not():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    volume = nn.Conv3d(2, 4, 3)
    image = torch.rand(2, 3, 8, 8)
    before = network(image)
    fastest_layout(nn.ModuleList([network, volume]), "cpu")
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network(image), before)
    assert network[0].weight.shape == (4, 3, 3, 3)


@pytest.mark.parametrize(("place", "last"), [("cpu", False), ("cuda:0", True)])
def test_a_large_network_stays_contiguous_on_a_cpu(place, last):
    networks = nn.ModuleList([nn.Conv2d(LARGEST // 9 // 64 + 1, 64, 3), nn.Conv2d(8, 8, 3)])
    fastest_layout(networks, place)
    large, small = (network.weight for network in networks)
    assert large.is_contiguous(memory_format=torch.channels_last) is last
    assert large.is_contiguous() is not last
    assert small.is_contiguous(memory_format=torch.channels_last)


class Falling(LightningModule):
    """A weight that is -k after k steps, beside a frozen one; validation remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.tensor([1 / 3]), requires_grad=False)
        self.seen = []

    def training_step(self, batch, index):
        return self.weight.sum()

    def validation_step(self, batch, index):
        self.seen.append(self.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], 1.0)


def _fall(folder, epochs, decay, resume=None, **options):
    """Three steps an epoch."""
    module, ema = Falling(), EMA(decay, **options)
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callbacks = [ema, ModelCheckpoint(folder, save_last=True)]
    trainer = Trainer(
        *("cpu",), max_epochs=epochs, callbacks=callbacks, num_sanity_val_steps=0, **silent
    )
    data = DataLoader(range(3))
    trainer.fit(module, data, data, ckpt_path=resume, weights_only=True)
    return module


def _averages(steps, decay):
    found, average = [], -1.0
    for n in range(steps):
        rate = 1 - min(decay, (1 + n) / (10 + n)) if n else 1.0
        average += rate * (-(n + 1) - average)
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.999, 0.3])
def test_the_moving_average_is_validated_and_kept(tmp_path, decay):
    module = _fall(tmp_path, 4, decay)
    expected = _averages(12, decay)
    assert module.seen == pytest.approx([x for n in (2, 5, 8, 11) for x in [expected[n]] * 3])
    assert module.weight.item() == pytest.approx(expected[-1])
    assert module.frozen.item() == Falling().frozen.item()
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["state_dict"]["weight"].item() == pytest.approx(expected[-1])
    assert kept["current_model_state"]["weight"].item() == -12


def test_a_moving_average_without_warm_up_has_its_decay_from_the_start(tmp_path):
    module = _fall(tmp_path, 1, 0.5, warm_up=False)
    # Weights -1, -2, -3: -1, then the middle between -1 and -2, then that between -1.5 and -3.
    assert module.weight.item() == -2.25


def test_a_resumed_average_is_that_of_a_whole_training(tmp_path):
    whole = _fall(tmp_path / "whole", 4, 0.9)
    _fall(tmp_path / "part", 2, 0.9)
    resumed = _fall(tmp_path / "part", 4, 0.9, tmp_path / "part" / "last.ckpt")
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed.seen == whole.seen[6:]
