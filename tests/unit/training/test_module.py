"""What a training leaves behind is the method's, whoever trained it."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE
from brainuad.training.callbacks import EMA, StepSeed
from brainuad.training.module import DetectorModule
from brainuad.types import Batch


class Listening(StRegA):
    """Remembers the epochs and steps that it is told."""

    def __init__(self):
        network = ContextVAE((32, 32), features=(4, 8), latent_dim=8)
        super().__init__(network, signed, optimizer=lambda p: torch.optim.Adam(p, 3e-3))
        self.epochs, self.steps = [], []

    def start_epoch(self, epoch):
        self.epochs.append(epoch)

    def loss(self, batch):
        self.steps.append(self.step)
        return super().loss(batch)


def trained(folder, epochs, callbacks=(), resume=None):
    torch.manual_seed(0)
    detector = Listening()
    tile = Batch(torch.rand(1, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks, StepSeed(0), ModelCheckpoint(folder, save_last=True)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader([tile] * 4, 2)
    trainer.fit(
        DetectorModule(detector, {"name": "listening"}), data, ckpt_path=resume, weights_only=True
    )
    return detector


@pytest.mark.parametrize("callbacks", [[], [EMA(0.9)]], ids=["plain", "averaged"])
def test_a_checkpoint_has_the_detectors_weights_by_their_own_names(tmp_path, callbacks):
    detector = trained(tmp_path, 1, callbacks)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["brainuad"] == {"name": "listening"}
    assert saved["state_dict"].keys() == detector.state_dict().keys()
    for name, value in detector.state_dict().items():
        assert torch.equal(saved["state_dict"][name], value)
    Listening().load_state_dict(saved["state_dict"])


@pytest.mark.parametrize("averaged", [False, True])
def test_it_goes_on_where_it_was(tmp_path, averaged):
    def callbacks():
        return [EMA(0.9)] if averaged else []

    whole = trained(tmp_path / "whole", 3, callbacks())
    trained(tmp_path / "part", 1, callbacks())
    resumed = trained(tmp_path / "part", 3, callbacks(), tmp_path / "part" / "last.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_a_method_is_told_its_epoch_and_its_step(tmp_path):
    detector = trained(tmp_path, 2)
    assert sorted(set(detector.epochs)) == [0, 1]
    assert detector.steps == [0, 1, 2, 3]
    resumed = trained(tmp_path, 3, resume=tmp_path / "last.ckpt")
    assert set(resumed.epochs) == {2}
    assert resumed.steps == [4, 5]
