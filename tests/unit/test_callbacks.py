import torch
from hydra import compose, initialize_config_module
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from brainuad.callbacks import ChannelsLast
from brainuad.instantiate import RUN_PACKAGES, instantiate


def test_layout_changes_and_values_do_not():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    volume = nn.Conv3d(2, 4, 3)
    image = torch.rand(2, 3, 8, 8)
    before = network(image)
    ChannelsLast().on_fit_start(None, nn.ModuleList([network, volume]))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network(image), before)
    assert network[0].weight.shape == (4, 3, 3, 3)


class _Line(LightningModule):
    """One weight that falls by 1 in every step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_moving_average_is_what_a_checkpoint_holds(tmp_path):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", ["callbacks=ema", "callbacks.ema.decay=0.5", "name=x"])
    average = instantiate(cfg.callbacks.ema, packages=RUN_PACKAGES)
    trainer = Trainer(
        max_steps=3,
        callbacks=[average],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    line = _Line()
    trainer.fit(line, DataLoader(range(3)))
    saved = torch.load(next(tmp_path.rglob("*.ckpt")), weights_only=True)["state_dict"]
    # Weights -1, -2, -3; the average starts as the first and then halves the distance.
    assert line.weight.item() == saved["weight"].item() == -0.5 * 3 + 0.5 * (-0.5 * 2 + 0.5 * -1)
