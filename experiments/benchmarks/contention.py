"""Seconds per training step while other processes want the cores.

    python experiments/benchmarks/contention.py --experiments madad autoencoder --loads 0 2

Each experiment's untrained network takes steps on one batch of healthy brains, in one process per
kind of waiting: `off`, as torch does by itself (`BRAINUAD_SHARE_CORES=0`); `on`, as every command
of ours does (`brainuad.machine.threads`); `passive`, without spinning; and with other numbers of
turns where `--spins` names them. Busy processes run beside them. The kinds take turns, and each
takes unmeasured steps before its turn. All start before the busy ones do; rows of loads above 0
are of 3,000 turns, what a start beside other work takes. Medians, and how many times faster than
`off` they are, are written to `contention.json` beside this file. For figures of an idle machine,
start it on one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
NAMES = ("madad", "autoencoder", "autopaint", "strega", "dae_3d")
KINDS = {
    "off": {"BRAINUAD_SHARE_CORES": "0"},
    "on": {"BRAINUAD_SHARE_CORES": "1"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
}
EXAMPLE = "example: python experiments/benchmarks/contention.py --experiments madad --loads 0 2"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="*", default=NAMES, help="of others, rows are kept")
    loads = "busy processes a core (default: 0 1 2 4)"
    parser.add_argument("--loads", nargs="*", type=float, default=(0.0, 1.0, 2.0, 4.0), help=loads)
    parser.add_argument("--steps", type=int, default=10, help="measured, of each kind")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds before each turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each kind")
    parser.add_argument("--batch", type=int, default=8, help="tiles a step, at most")
    parser.add_argument("--spins", nargs="*", default=(), help="other numbers of turns to compare")
    parser.add_argument("--one", metavar="EXPERIMENT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        serve(arguments.one, arguments.settle, arguments.batch)
        return
    path = HERE / "contention.json"
    found = json.loads(path.read_text())["experiments"] if path.is_file() else {}
    cores = len(os.sched_getaffinity(0))
    for name in arguments.experiments:
        # Loads that are not measured now keep their rows.
        found[name] = found.get(name, {}) | compare(name, arguments, cores)
        text = json.dumps({"cores": cores, "experiments": found}, indent=2)
        path.write_text(text + "\n")


def compare(name: str, arguments: argparse.Namespace, cores: int) -> dict[str, dict[str, float]]:
    """Return each kind's median at each load, in seconds, and how many times faster it is."""
    spins = {f"spins_{number}": {"GOMP_SPINCOUNT": number} for number in arguments.spins}
    kinds = {kind: start(name, own, arguments) for kind, own in (KINDS | spins).items()}
    rows = {}
    try:
        for load in arguments.loads:
            taken: dict[str, list[float]] = {kind: [] for kind in kinds}
            before = os.getloadavg()[0]
            with busy(round(load * cores)):
                for turn in range(arguments.rounds):
                    order = list(kinds) if turn % 2 == 0 else list(kinds)[::-1]
                    for kind in order:
                        answer = ask(kinds[kind], -(-arguments.steps // arguments.rounds))
                        taken[kind] += answer["steps"]
            row = {f"{kind}_s": statistics.median(steps) for kind, steps in taken.items()}
            row |= {f"{kind}_times_faster": row["off_s"] / row[f"{kind}_s"] for kind in kinds}
            row.pop("off_times_faster")
            rows[f"{load:g}"] = row | {"load_average_before": before}
            print(name, load, rows[f"{load:g}"], flush=True)
    finally:
        for process in kinds.values():
            process.kill()
            process.wait()
    return rows


def start(name: str, own: dict[str, str], arguments: argparse.Namespace) -> "subprocess.Popen[str]":
    """Start a process that takes steps when asked."""
    options = ["--one", name, "--settle", str(arguments.settle), "--batch", str(arguments.batch)]
    process = subprocess.Popen(
        [sys.executable, __file__, *options],
        env=os.environ | own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _line(process.stdout)
    return process


def ask(process: "subprocess.Popen[str]", steps: int) -> dict:
    """Return the measurement of the process."""
    if process.stdin is None:
        raise ValueError("no pipe")
    print(steps, file=process.stdin, flush=True)
    return json.loads(_line(process.stdout))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def serve(name: str, settle: float, batch_size: int) -> None:
    """Take as many steps as each line of standard input says; one line of JSON answers."""
    from brainuad.machine import threads

    threads.start()
    from kept_memory import training_step

    train = training_step(name, batch_size)[1]

    def step() -> float:
        begun = time.perf_counter()
        train()
        return time.perf_counter() - begun

    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        while time.perf_counter() - begun < settle:
            step()
        print(json.dumps({"steps": [step() for _ in range(int(line))]}), flush=True)


def _line(pipe: IO[str] | None) -> str:
    line = pipe.readline() if pipe else ""
    if not line:
        raise SystemExit("a process ended; it said why")
    return line


if __name__ == "__main__":
    main()
