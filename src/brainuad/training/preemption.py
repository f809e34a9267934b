"""Preemption: a training that gets a signal saves a checkpoint and, under SLURM, queues again.

Lightning's own handler saves inside the signal handler, at any point of a step and at another step
on every rank. Here a signal in training only sets a flag, and the ranks agree on the step.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from brainuad.errors import Stopped
from brainuad.machine import ranks
from brainuad.machine.signals import Handlers, give_back, take_over
from brainuad.machine.text import say

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
"""Signals of SLURM: before the end of the time, as `--signal=USR1@60` asks for, and at the end."""


@contextmanager
def stoppable() -> Iterator[None]:
    """End the work at once where a signal comes outside of training: files are written atomically.

    Raises:
        Stopped: a signal came.
    """
    before = take_over(_leave, SIGNALS)
    try:
        yield
    finally:
        give_back(before)


class Preemption(Checkpoint):
    """Saves `last.ckpt` and ends the training after a signal, on all ranks at the same step.

    It is a `Checkpoint`, so that Lightning calls it after other callbacks, such as an average of
    the weights. Put it behind the callback whose best weights are kept.

    Args:
        folder: folder of the checkpoints; `ckpt=last` resumes from it, in the middle of an epoch.
        every: number of steps between two checks with several ranks; each costs a message.
    """

    def __init__(self, folder: Path, every: int = 10) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every = every
        self.signal: signal.Signals | None = None
        self._steps = 0
        self._before: Handlers = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle the signals; Lightning has set its own handlers before."""
        self._before = take_over(self._note, SIGNALS)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop where any rank got a signal.

        Raises:
            Stopped: after the checkpoint is written.
        """
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half an accumulated step cannot be saved
        asked = self.signal is not None
        self._steps += 1  # over epochs, which may be shorter than `every`
        if trainer.world_size > 1:
            if self._steps % self.every:
                return
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        trainer.save_checkpoint(self.path)
        requeue()
        name = self.signal.name if self.signal else "a signal to another rank"
        raise Stopped(f"{name}: step {trainer.global_step} is in {self.path}; go on by ckpt=last")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        give_back(self._before)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.signal = signal.Signals(number)


def requeue() -> None:
    """Requeue this SLURM job, or this task of its array; without SLURM do nothing.

    A job that SLURM is ending already is left: a cancelled one would come back, and SLURM requeues
    a preempted one itself.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or ranks.rank() != 0:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"

    def scontrol(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)

    if "JobState=RUNNING" not in scontrol("show", "job", job).stdout:
        return
    done = scontrol("requeue", job)
    say(done.stderr.strip() or f"job {job} is back in the queue", flush=True)


def _leave(number: int, frame: Any) -> None:
    requeue()
    raise Stopped(f"{signal.Signals(number).name}: nothing finished is lost; go on by ckpt=last")
