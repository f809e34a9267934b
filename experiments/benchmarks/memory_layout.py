"""Which memory layout is faster for each method's networks, and what does each take?

    python experiments/benchmarks/memory_layout.py --experiments strega strega_small

Each experiment's untrained network takes training steps on one batch of healthy brains: with its
convolutions `contiguous`, `channels_last`, and `ours`, as every command of ours has them
(`brainuad.networks.memory_layout`); the third with kept memory (`brainuad.machine.memory`), the
first two without. Each kind is a process of its own, and they take turns. Medians of CPU seconds a
step, peak memory, and ratios to `contiguous` are written to `memory_layout.json` beside this file.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    *("autoencoder", "vae_small", "strega_small", "strega", "strega_3d", "dae_small", "dae"),
    *("dae_3d", "pddpm_small", "pddpm", "fpi_small", "fpi", "fpi_3d", "disyre_small", "autopaint"),
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
        serve(*arguments.one, arguments.batch)
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
    processes = {
        kind: subprocess.Popen(
            [sys.executable, __file__, "--one", name, kind, "--batch", str(arguments.batch)],
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind, own in KINDS.items()
    }
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    row: dict[str, float] = {}
    try:
        for _ in range(arguments.rounds):
            for kind, process in processes.items():
                answer = ask(process, arguments.steps)
                taken[kind] += answer["steps"]
                row[f"{kind}_peak_gib"] = answer["peak_gib"]
                row["largest_weight"] = answer["largest_weight"]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    row |= {f"{kind}_cpu_s": statistics.median(steps) for kind, steps in taken.items()}
    for kind in ("channels_last", "ours"):
        row[f"{kind}_times_faster"] = row["contiguous_cpu_s"] / row[f"{kind}_cpu_s"]
        row[f"{kind}_memory_ratio"] = row[f"{kind}_peak_gib"] / row["contiguous_peak_gib"]
    return row


def ask(process: "subprocess.Popen[str]", steps: int) -> dict:
    """Let a process take steps; return what it measured."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("no pipe")
    print(steps, file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process ended; it said why")
    return json.loads(line)


def serve(name: str, kind: str, batch_size: int) -> None:
    """Take as many steps as each line of standard input says; one line of JSON answers."""
    import torch
    from hydra import compose, initialize_config_module
    from kept_memory import brains

    from brainuad.machine.memory import keep_memory
    from brainuad.networks import memory_layout
    from brainuad.settings.instantiate import instantiate

    keep_memory()
    torch.manual_seed(0)
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", [f"experiment={name}", "name=x", "paths.output_dir=x"])
    detector = instantiate(cfg.model)
    if kind == "ours":
        memory_layout.fastest_layout(detector)
    elif kind == "channels_last":
        memory_layout.channels_last(detector)
    batch = brains(instantiate(cfg.tiling), min(cfg.datamodule.batch_size, batch_size))
    if detector.measures:
        detector.measure([batch])
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, fused=True)
    detector.train()

    def step() -> float:
        begun = time.process_time()
        loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.process_time() - begun

    weights = memory_layout.convolutions(detector)
    largest = max((weight.numel() for weight in weights), default=0)
    step()
    for line in sys.stdin:
        steps = [step() for _ in range(int(line))]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        answer = {"steps": steps, "peak_gib": peak, "largest_weight": largest}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
