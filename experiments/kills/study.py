"""Kills a short training of two ranks at random moments, goes on, and compares the weights.

    python -m experiments.kills.study

One run is left alone. Then, as often as asked, a new one is started, one process of it is killed at
a random moment of its life (SIGKILL of a rank or of the parent, SIGTERM of the parent, in turn),
and the same command is given again. Writes `results.md` beside this file.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from brainuad.machine.files import MARK
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPTIONS = [
    *("experiment=strega", "trainer=ddp_cpu", "limit=2", "max_epochs=20"),
    *("predict=false", "report=false", "ckpt=last", "callbacks.preemption.every=1"),
]
WAYS = ("SIGKILL of a rank", "SIGKILL of the parent", "SIGTERM of the parent")
PATIENCE_S = 60


@dataclass
class Trial:
    """One kill: at which second of the life, what was there by then, and what came of it."""

    way: str
    at_s: float
    step: str
    gone_s: float
    again: str
    equal: bool


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/kills"))
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    whole = arguments.runs / "whole"
    shutil.rmtree(arguments.runs, ignore_errors=True)
    finish(start(whole))  # makes the caches
    shutil.rmtree(whole)
    begun = time.time()
    finish(start(whole))
    life = time.time() - begun
    trials: list[Trial] = []
    while len(trials) < arguments.kills:
        out = arguments.runs / str(len(trials))
        shutil.rmtree(out, ignore_errors=True)
        trial = kill(out, WAYS[len(trials) % 3], rng.uniform(0, life), whole)
        if trial is None:
            print("it had ended before it could be killed: another one", flush=True)
            continue
        print(trial, flush=True)
        trials.append(trial)
        write(trials, life, arguments.seed)


def start(out: Path) -> subprocess.Popen[str]:
    """The command, whose processes can be found by the folder in their words."""
    line = [sys.executable, str(ROOT / "train.py"), *OPTIONS, f"paths.output_dir={out}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Return the printed text."""
    said, errors = process.communicate()
    if process.returncode != 0:
        raise SystemExit(errors)
    return said


def kill(out: Path, way: str, after_s: float, whole: Path) -> Trial | None:
    """One trial; None where the run ended by itself before its moment."""
    process = start(out)
    begun = time.time()
    while time.time() - begun < after_s and process.poll() is None:
        time.sleep(0.01)
    others = [pid for pid in processes(out) if pid != process.pid]
    # Before there is another rank the parent is the only one.
    victim = others[0] if way.endswith("a rank") and others else process.pid
    at_s = time.time() - begun
    if process.poll() is not None:
        return None
    os.kill(victim, getattr(signal, way.split(maxsplit=1)[0]))
    killed = time.time()
    process.communicate()
    while processes(out) and time.time() - killed < PATIENCE_S:
        time.sleep(0.1)
    gone_s = time.time() - killed
    for pid in processes(out):
        os.kill(pid, signal.SIGKILL)
        gone_s = float("inf")
    last = out / "checkpoints" / "last.ckpt"
    step = str(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else "none"
    said = finish(start(out))
    again = "resumed" if "resuming from" in said else "started anew"
    return Trial(way, at_s, step, gone_s, again, equal(out, whole) and not leftovers(out))


def processes(out: Path) -> list[int]:
    """Those whose command names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if f"paths.output_dir={out}" in words:
                found.append(int(entry.name))
    return found


def equal(out: Path, whole: Path) -> bool:
    """Return whether all weights of both last checkpoints are the same, bit for bit."""
    ours, theirs = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (out, whole)
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def leftovers(out: Path) -> list[Path]:
    """Temporary files of killed processes."""
    return list(out.rglob(f"{MARK}*"))


def write(trials: list[Trial], life: float, seed: int) -> None:
    """The table so far."""
    rows = [
        [t.way, f"{t.at_s:.1f}", t.step, f"{t.gone_s:.1f}", t.again, "yes" if t.equal else "NO"]
        for t in trials
    ]
    good = sum(t.equal and t.gone_s <= PATIENCE_S for t in trials)
    text = "# Results\n\nWritten by `study.py`; do not edit.\n\n"
    text += f"{good} of {len(trials)} killed runs ended with the weights of the one that was left "
    text += f"alone, bit for bit, without an orphan or a leftover (seed {seed}; that one took "
    text += f"{life:.0f} s, 20 epochs).\n\n"
    titles = ["killed", "after s", "step saved", "all gone after s", "next start", "same weights"]
    (HERE / "results.md").write_text(text + to_markdown(titles, rows) + "\n")


if __name__ == "__main__":
    main()
