"""Threads of a process: no more than the allowed cores, with early sleep while they wait.

OpenMP's threads wait at a barrier by spinning, by default for milliseconds. While other processes
want the cores, the thread that all wait for may not be running, and a training step then takes ten
times as long. Threads that go to sleep early lose little on an idle machine and no result changes.
Nothing here imports torch, which reads the environment when it is loaded.
"""

import contextlib
import os
import re
import statistics
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

SWITCH = "BRAINUAD_SHARE_CORES"
OURS = "BRAINUAD_THREADS"
"""Variable with the threads of the whole job, where `start` has set OMP_NUM_THREADS."""

NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

SPINS = "10000"
"""Turns of the waiting loop before a thread sleeps; the default of GNU's OpenMP is 300,000.

With three busy processes on two cores, steps of `autoencoder` and `madad` are 2.1 and 2.3 times as
fast as by default (experiments/benchmarks/contention.py).
"""

SPINS_BUSY = "3000"
"""Turns where other processes run at the start; the steps are then 2.4 and 2.7 times as fast.

On an idle machine a step takes 3 to 20 % longer with so few, and 1 to 8 % with `SPINS`.
"""

SAMPLES, APART_S = 5, 0.01
"""Number of samples of the running processes, and the seconds between two."""


def start(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Prepare the process, before torch is imported. A second call has no effect.

    Where a quota or SLURM allows fewer cores than torch would take, OMP_NUM_THREADS becomes that
    number. GOMP_SPINCOUNT becomes `SPINS`, or `SPINS_BUSY` beside other work. The user's own
    variables win: those in NUMBERS over the first, those in POLICIES over the second.
    BRAINUAD_SHARE_CORES=0 turns both off.

    Args:
        environment: variables to read and to change.
        root: root of the file system.
    """
    if environment.get(SWITCH) == "0":
        return
    if not set(NUMBERS) & set(environment):
        allowed = bound(environment, root)
        if allowed is not None and allowed < len(cores(root)):
            environment["OMP_NUM_THREADS"] = environment[OURS] = str(allowed)
    if not set(POLICIES) & set(environment):
        environment["GOMP_SPINCOUNT"] = SPINS_BUSY if is_busy(root) else SPINS


def is_busy(root: Path = Path("/")) -> bool:
    """Return whether another process computes on this machine, as the kernel counts them."""
    running = []
    for index in range(SAMPLES):
        if index:
            time.sleep(APART_S)
        found = re.search(r"^procs_running (\d+)$", _read(root / "proc/stat") or "", re.MULTILINE)
        # This process is one of them.
        running.append(int(found[1]) - 1 if found else 0)
    return statistics.median(running) >= 1


def divide(processes: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Share the threads that `start` allowed among the processes that this one launches.

    Args:
        processes: number of processes, this one included.
        environment: variables to read and to change. Processes that SLURM launched have their own
            cores.
    """
    if OURS in environment and "SLURM_PROCID" not in environment:
        _set(max(1, int(environment[OURS]) // processes), environment)


def one_thread() -> None:
    """Use one thread in a process of a pool; a number that the user set stays."""
    if OURS in os.environ or not set(NUMBERS) & set(os.environ):
        os.environ[OURS] = "1"
        _set(1, os.environ)


def cores(root: Path = Path("/")) -> set[str]:
    """Return the cores that this process may run on; two hardware threads count as one core."""
    found = set()
    for cpu in affinity():
        siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        text = _read(siblings)
        found.add(text.strip() if text else str(cpu))
    return found


def affinity() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def bound(environment: MutableMapping[str, str], root: Path = Path("/")) -> int | None:
    """Return the number of cores that a quota or SLURM allows; None where neither limits it."""
    found = list(quotas(root))
    with contextlib.suppress(KeyError, ValueError):
        found.append(int(environment["SLURM_CPUS_PER_TASK"]))
    return max(1, int(min(found))) if found else None


def quotas(root: Path = Path("/")) -> list[float]:
    """Return the cores that each control group of this process allows, versions 1 and 2."""
    found = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Every group above limits too; in a container the path may be the host's.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            below = "/".join(parts[:depth])
            if controllers:
                group = root / "sys/fs/cgroup/cpu" / below
                words = [_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            else:
                text = _read(root / "sys/fs/cgroup" / below / "cpu.max") or ""
                words = list(text.split())
            with contextlib.suppress(ValueError, TypeError, ZeroDivisionError):
                quota, period = (float(word) for word in words)  # type: ignore[arg-type]
                found += [quota / period] if quota > 0 else []
    return found


def _set(number: int, environment: MutableMapping[str, str]) -> None:
    environment["OMP_NUM_THREADS"] = str(number)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != number:
        torch.set_num_threads(number)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
