"""Ranks: the processes that train together, and their messages.

A single process is rank 0 of 1. The first training starts the process group; before, the first
rank passes its decisions to the others by a file.
"""

import atexit
import hashlib
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from brainuad.errors import InputError
from brainuad.machine.files import our_name, remove, remove_leftovers, write_json

Item = TypeVar("Item")

LAUNCHERS = {
    "SLURM_PROCID": ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    "TORCHELASTIC_RUN_ID": ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
}
"""Variables that identify the start of a job, by the variable that identifies a launcher."""

JOB = "BRAINUAD_JOB"
"""Variable by which the first rank passes the start of the job to its children."""

_OWN = secrets.token_hex(8)

NUMBERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables with the rank of a process; the first that is set counts, as for Lightning."""


def rank() -> int:
    """Return the rank of this process; without a process group that of the environment."""
    if _met():
        return distributed.get_rank()
    return next((own for name in NUMBERS if (own := number(name)) is not None), 0)


def number(name: str) -> int | None:
    """Return the number in an environment variable; None where it is not set.

    Raises:
        InputError: its value is no number.
    """
    text = os.environ.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{name} is {text!r} in the environment, which is no number; unset it"
        ) from None


def count() -> int:
    """Return the number of processes in the group; 1 without one."""
    return distributed.get_world_size() if _met() else 1


def barrier() -> None:
    """Wait for all ranks."""
    if _met():
        distributed.barrier()


def share(items: Sequence[Item]) -> list[Item]:
    """Return this rank's part of a list that all ranks have."""
    return list(items[rank() :: count()]) if _met() else list(items)


def gather(items: Sequence[Item]) -> list[Item]:
    """Return the lists of all ranks, concatenated, on each rank."""
    if count() == 1:
        return list(items)
    parts: list[list[Item]] = [[] for _ in range(count())]
    distributed.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


@torch.no_grad()
def mean(value: Tensor, weight: float = 1.0) -> Tensor:
    """Return the weighted mean of a scalar tensor over the ranks."""
    if count() == 1:
        return value
    pair = torch.stack([value.float() * weight, torch.full_like(value, weight).float()])
    distributed.all_reduce(pair)
    return (pair[0] / pair[1]).to(value)


def relative_share(samples: int, device: torch.device) -> Tensor | float:
    """Return this rank's number of samples in a step divided by the mean over ranks.

    Gradients are averaged over ranks; with this factor on the loss they are averaged over samples.
    """
    if count() == 1:
        return 1.0
    own = torch.full((), float(samples), device=device)
    return own / mean(own)


def decide(folder: Path, key: str, value: Any) -> Any:
    """Return the first rank's `value` on all ranks, before there is a process group.

    No broadcast is possible yet: Lightning starts the group with the first training.

    Args:
        folder: folder that all ranks can read.
        key: name of the decision, unique in the job.
        value: value of the first rank, as JSON has it; ignored on other ranks.
    """
    path = folder / our_name(_job(), f"{key}.json", _launched_from_outside())
    if rank() == 0:
        remove_leftovers(folder)
        write_json(path, value, hold=True)
        atexit.register(_forget, path)
        return value
    while not path.is_file():
        time.sleep(0.2)
    return json.loads(path.read_text(encoding="utf-8"))


def _forget(path: Path) -> None:
    """Remove the file of a decision, if its disk allows it."""
    with suppress(OSError):
        remove(path)


def part() -> None:
    """Destroy the process group. The first rank may continue alone, or start another training."""
    if _met():
        distributed.barrier()
        distributed.destroy_process_group()
    if rank() == 0 and not _launched_from_outside():
        # With these variables of Lightning's launcher the next training would wait for other ranks.
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def behave() -> None:
    """Silence all ranks but the first, and end them when their parent process ends.

    A rank whose launcher was killed would wait for the others for half an hour.
    """
    if rank() == 0:
        return
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _launched_from_outside() -> bool:
    return any(name in os.environ for name in LAUNCHERS)


def _job() -> str:
    """Return 16 hexadecimal digits of this start of a job, equal on all its ranks."""
    for launcher, names in LAUNCHERS.items():
        if launcher in os.environ:
            words = "-".join(os.environ.get(name, "") for name in names)
            return hashlib.sha256(words.encode()).hexdigest()[:16]
    # Lightning's launcher is the first rank itself, and its children have its environment. Numbers
    # of processes are no choice: they are reused, in a container soon.
    if rank() == 0:
        os.environ[JOB] = _OWN
    return os.environ[JOB]


def _met() -> bool:
    return distributed.is_available() and distributed.is_initialized()
