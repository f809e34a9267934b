"""Measure time and memory of each memory layout for each method's networks.

    python experiments/benchmarks/memory_layout.py --experiments strega strega_paper

Each experiment's untrained network takes training steps on one batch of healthy brains: with its
convolutions `contiguous`, `channels_last`, and `ours`, as every command of ours has them
(`brainuad.networks.memory_layout`); the third with kept memory (`brainuad.machine.memory`), the
first two without. Each turn is a process of its own. Medians of CPU seconds a
step, peak memory, and ratios to `contiguous` are written to `memory_layout.json` beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = (
    *("autoencoder", "vae", "strega", "strega_paper", "strega_3d", "dae", "dae_paper"),
    *("dae_3d", "pddpm", "pddpm_paper", "fpi", "fpi_paper", "fpi_3d", "disyre", "autopaint"),
    *("autopaint_paper", "madad"),
)
KINDS = {
    "contiguous": {"BRAINUAD_KEEP_MEMORY": "0"},
    "channels_last": {"BRAINUAD_KEEP_MEMORY": "0"},
    "ours": {},
}
EXAMPLE = "example: OMP_NUM_THREADS=1 python experiments/benchmarks/memory_layout.py"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="*", default=NAMES, help="the others' rows are kept")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kind")
    parser.add_argument("--steps", type=int, default=3, help="measured, in each turn")
    parser.add_argument("--batch", type=int, default=4, help="tiles a step, at most")
    parser.add_argument("--one", nargs=2, metavar=("EXPERIMENT", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.steps, arguments.batch)))
        return
    path = HERE / "memory_layout.json"
    found = json.loads(path.read_text())["experiments"] if path.is_file() else {}
    for name in arguments.experiments:
        found[name] = compare(name, arguments)
        print(name, found[name], flush=True)
        setting = {"batch": arguments.batch, "threads": os.environ.get("OMP_NUM_THREADS")}
        text = json.dumps({"setting": setting, "experiments": found}, indent=2)
        path.write_text(text + "\n")


def compare(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Return CPU seconds a step and peak memory of each kind, and their ratios to `contiguous`."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    row: dict[str, float] = {}
    options = ["--steps", str(arguments.steps), "--batch", str(arguments.batch)]
    for _ in range(arguments.rounds):
        for kind, own in KINDS.items():
            command = [sys.executable, __file__, "--one", name, kind, *options]
            done = subprocess.run(
                command, env=os.environ | own, check=True, stdout=subprocess.PIPE, text=True
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            taken[kind] += answer["steps"]
            row[f"{kind}_peak_gib"] = answer["peak_gib"]
            row["largest_weight"] = answer["largest_weight"]
    row |= {f"{kind}_cpu_s": statistics.median(steps) for kind, steps in taken.items()}
    for kind in ("channels_last", "ours"):
        row[f"{kind}_times_faster"] = row["contiguous_cpu_s"] / row[f"{kind}_cpu_s"]
        row[f"{kind}_memory_ratio"] = row[f"{kind}_peak_gib"] / row["contiguous_peak_gib"]
    return row


def measure(name: str, kind: str, steps: int, most: int) -> dict[str, Any]:
    """CPU seconds of each step after the first one, and the peak of this process in GiB."""
    from kept_memory import on_cpu, peak_gib, training_step

    from brainuad.networks.memory_layout import channels_last, convolutions

    layouts = {"contiguous": lambda module: None, "channels_last": channels_last, "ours": on_cpu}
    detector, step = training_step(name, most, layouts[kind])
    step()
    taken = []
    for _ in range(steps):
        begun = time.process_time()
        step()
        taken.append(time.process_time() - begun)
    largest = max((weight.numel() for weight in convolutions(detector)), default=0)
    return {"steps": taken, "peak_gib": peak_gib(), "largest_weight": largest}


if __name__ == "__main__":
    main()
