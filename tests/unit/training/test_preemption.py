import itertools
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from brainuad.errors import Stopped
from brainuad.training.batches import EpochBatches, EpochLoader
from brainuad.training.callbacks import EMA, StepSeed
from brainuad.training.fit import AtomicCheckpoints
from brainuad.training.preemption import Preemption, requeue, stoppable


class Walk(LightningModule):
    """A weight that remembers every sample it saw, in their order, and every draw."""

    def __init__(self, stop_at: int | None = None, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.stop_at = stop_at
        self.number = number

    def training_step(self, batch, index):
        if self.trainer.fit_loop.total_batch_idx == self.stop_at:
            os.kill(os.getpid(), self.number)
        return ((self.weight - batch.float().mean() - torch.rand(3)) ** 2).sum()

    def validation_step(self, batch, index):
        self.log("val/loss", self.weight.sum())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


class Numbers:
    def __getitem__(self, key):
        return key[1]


def walk(folder, stop_at=None, number=signal.SIGTERM, workers=0, ema=False, accumulate=1):
    module = Walk(stop_at, number)
    last = folder / "last.ckpt"
    callbacks = [StepSeed(0), Preemption(folder), *([EMA(0.9)] if ema else [])]
    callbacks.append(ModelCheckpoint(folder, "last", enable_version_counter=False))
    trainer = Trainer(
        *("cpu",),
        max_epochs=3,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        accumulate_grad_batches=accumulate,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = EpochLoader(Numbers(), EpochBatches(11, 2, shuffle=True), workers)
    val = EpochLoader(Numbers(), EpochBatches(3, 2))
    path = last if last.is_file() else None
    trainer.fit(module, train, val, ckpt_path=path, weights_only=True)
    return module.weight.detach()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop_at", "options"),
    [
        *itertools.product([0, 8], [{}, {"ema": True}, {"accumulate": 2}]),
        (8, {"workers": 2}),  # a minute: each worker imports torch
    ],
    ids=str,
)
def test_stopped_in_the_middle_of_an_epoch_it_ends_the_same(tmp_path, stop_at, options):
    expected = walk(tmp_path / "whole", **options)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM: step .* go on by ckpt=last"):
        walk(tmp_path / "stopped", stop_at, **options)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert torch.equal(walk(tmp_path / "stopped", **options), expected)


def test_the_other_signal_does_it_too(tmp_path):
    with pytest.raises(Stopped, match="SIGUSR1"):
        walk(tmp_path, 3, signal.SIGUSR1)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4


def test_micro_batches_of_one_step_have_draws_of_their_own(tmp_path):
    drawn = []

    class Drawing(Walk):
        def training_step(self, batch, index):
            drawn.append(torch.rand(1).item())
            return self.weight.sum()

    trainer = Trainer(
        *("cpu",),
        max_epochs=1,
        callbacks=[StepSeed(0)],
        accumulate_grad_batches=3,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Drawing(), EpochLoader(Numbers(), EpochBatches(12, 2)))
    assert len(set(drawn)) == 6


def test_outside_of_training_a_signal_ends_the_work_at_once():
    handler = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Stopped, match="SIGUSR1"), stoppable():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is handler


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "4"}, "12_4"),
    ],
)
def test_a_job_of_slurm_queues_again(tmp_path, monkeypatch, variables, job):
    program = tmp_path / "scontrol"
    program.write_text(
        f'#!/bin/sh\n[ $1 = show ] && cat {tmp_path}/state || echo "$@" >> {tmp_path}/asked\n'
    )
    program.chmod(0o755)
    # What scontrol shows of a job that was cancelled, or that makes room for another.
    (tmp_path / "state").write_text("JobId=7 JobState=COMPLETING Reason=None")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    requeue()
    assert not (tmp_path / "asked").exists()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    requeue()
    assert not (tmp_path / "asked").exists()
    (tmp_path / "state").write_text("JobId=7 JobState=RUNNING Reason=None")
    requeue()
    assert (tmp_path / "asked").read_text() == f"requeue {job}\n"


def test_ranks_look_in_epochs_shorter_than_the_interval_too(tmp_path):
    saved = []
    trainer = SimpleNamespace(
        world_size=2,
        accumulate_grad_batches=1,
        global_step=10,
        save_checkpoint=saved.append,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda asked, all: asked),
    )
    callback = Preemption(tmp_path, every=10)
    callback.signal = signal.SIGUSR1
    batches = [batch for _ in range(3) for batch in range(4)]
    for batch in batches[:9]:
        callback.on_train_batch_end(trainer, None, None, None, batch)
    with pytest.raises(Stopped):
        callback.on_train_batch_end(trainer, None, None, None, batches[9])
    assert saved == [tmp_path / "last.ckpt"]
