"""Work that is told to stop saves what it has and, under SLURM, queues again.

Lightning's own handler saves from inside the signal handler: at any point of a step, and of another
step on every rank. Here a signal in training only sets a flag, and the ranks agree on the step.
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
"""Signals that SLURM sends before the time limit (`--signal=USR1@60`), and at it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Outside of training a signal ends the work at once: its files are whole or not there.

    Raises:
        Stopped: a signal came.
    """
    before = take_over(_leave, SIGNALS)
    try:
        yield
    finally:
        give_back(before)


class Preemption(Checkpoint):
    """Saves `last.ckpt` and ends the training when a signal asked for it, on all ranks at once.

    A `Checkpoint`, so that Lightning calls it when the others, such as an average of the weights,
    have had the step. Put it behind the one whose best weights are kept.

    Args:
        folder: folder of the checkpoints; `ckpt=last` resumes from there, in the middle of an
            epoch.
        every: steps between two looks of several ranks, which cost a message between them.
    """

    def __init__(self, folder: Path, every: int = 10) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every = every
        self.signal: signal.Signals | None = None
        self._steps = 0
        self._before: Handlers = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over the signals; Lightning has put its own handlers in place by now."""
        self._before = take_over(self._note, SIGNALS)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stops where any rank was told to.

        Raises:
            Stopped: after the checkpoint is written.
        """
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half of a step cannot be saved
        asked = self.signal is not None
        self._steps += 1  # not of the epoch: it may be shorter than `every`
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
        """Gives the signals back."""
        give_back(self._before)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.signal = signal.Signals(number)


def requeue() -> None:
    """Puts this SLURM job, or this task of its array, back into the queue; elsewhere nothing.

    Not a job that SLURM is ending already: one that was cancelled would come back, and one that
    SLURM takes off for another it queues again by itself.
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
    raise Stopped(f"{signal.Signals(number).name}: what was finished is kept; go on by ckpt=last")
