"""The processes that train together: which one this is, and what they tell one another.

A single process is rank 0 of 1. The ranks meet when the first training starts; before, the first
one tells the others by a file what it decided.
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
"""Variables that tell the start of a job from any other one, by the one that tells a launcher."""

JOB = "BRAINUAD_JOB"
"""Variable by which the first rank tells its children which start they belong to."""

_OWN = secrets.token_hex(8)

NUMBERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables that tell a process its rank; the first that is set counts, as for Lightning."""


def rank() -> int:
    """Return this process's rank; before the process group exists, from the environment."""
    if _met():
        return distributed.get_rank()
    return next((own for name in NUMBERS if (own := number(name)) is not None), 0)


def number(name: str) -> int | None:
    """Return the number in an environment variable; None where it is not set.

    Raises:
        InputError: it holds something else.
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
    """Return the number of processes in the process group; 1 before it exists."""
    return distributed.get_world_size() if _met() else 1


def barrier() -> None:
    """Waits for all."""
    if _met():
        distributed.barrier()


def share(items: Sequence[Item]) -> list[Item]:
    """This rank's part of a list that all have."""
    return list(items[rank() :: count()]) if _met() else list(items)


def gather(items: Sequence[Item]) -> list[Item]:
    """The parts of all ranks, one behind the other, on each."""
    if count() == 1:
        return list(items)
    parts: list[list[Item]] = [[] for _ in range(count())]
    distributed.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


@torch.no_grad()
def mean(value: Tensor, weight: float = 1.0) -> Tensor:
    """Weighted mean over the ranks of a scalar tensor, which is left as it is."""
    if count() == 1:
        return value
    pair = torch.stack([value.float() * weight, torch.full_like(value, weight).float()])
    distributed.all_reduce(pair)
    return (pair[0] / pair[1]).to(value)


def relative_share(samples: int, device: torch.device) -> Tensor | float:
    """This rank's samples of a step over the mean of all ranks: 1 where they are dealt evenly.

    The ranks' gradients are averaged; with this factor they are averaged over samples.
    """
    if count() == 1:
        return 1.0
    own = torch.full((), float(samples), device=device)
    return own / mean(own)


def decide(folder: Path, key: str, value: Any) -> Any:
    """The first rank's `value`, on all ranks, before they have met.

    Args:
        folder: that all ranks see.
        key: name of the decision, used once per job.
        value: plain; the first rank's counts.
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
    """Removes a decision, unless its disk is gone or takes no more."""
    with suppress(OSError):
        remove(path)


def part() -> None:
    """Ends the meeting; the first rank may then go on alone, or to another job."""
    if _met():
        distributed.barrier()
        distributed.destroy_process_group()
    if rank() == 0 and not _launched_from_outside():
        # What Lightning's launcher leaves behind makes the next training wait for other ranks.
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def behave() -> None:
    """Ranks but the first say nothing on standard output, and end when their parent has ended.

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
    """16 digits that the ranks of one start share, and no other start has."""
    for launcher, names in LAUNCHERS.items():
        if launcher in os.environ:
            words = "-".join(os.environ.get(name, "") for name in names)
            return hashlib.sha256(words.encode()).hexdigest()[:16]
    # Lightning's launcher is the first rank itself, and its children have its environment. The
    # number of a process would be that of another one later, in a container soon.
    if rank() == 0:
        os.environ[JOB] = _OWN
    return os.environ[JOB]


def _met() -> bool:
    return distributed.is_available() and distributed.is_initialized()
