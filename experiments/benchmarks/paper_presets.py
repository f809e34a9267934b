"""One training step and one detected slice of every preset named `_paper`, on a CPU.

    OMP_NUM_THREADS=1 python experiments/benchmarks/paper_presets.py

Each preset has a process of its own, untrained, in its own size, at batch 1 (2 where a method needs
another slice as donor). Seconds and peak memory go to `paper_presets.json` beside this file; a
preset that needs more than `--most-gib` is killed and said to.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "experiment"
DONORS = ("fpi_paper", "disyre_paper")
EXAMPLE = "example: OMP_NUM_THREADS=1 python experiments/benchmarks/paper_presets.py --most-gib 16"


def main() -> None:
    """Entry point."""
    names = sorted(path.stem for path in CONFIGS.glob("*_paper.yaml"))
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", nargs="*", default=names, help="the others' rows are kept")
    parser.add_argument("--most-gib", type=float, default=16.0, help="of memory, a preset")
    parser.add_argument("--one", metavar="EXPERIMENT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        most = int(arguments.most_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (2 * most, 2 * most))
        print(json.dumps(measure(arguments.one)))
        return
    path = HERE / "paper_presets.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for name in arguments.experiments:
        command = [sys.executable, __file__, "--one", name, "--most-gib", str(arguments.most_gib)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        row: dict[str, Any] = {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1]}
        if done.returncode == 0:
            row = json.loads(done.stdout.splitlines()[-1])
        found[name] = row
        print(name, row, flush=True)
        path.write_text(json.dumps(found, indent=2) + "\n")


def measure(name: str) -> dict[str, float]:
    """Seconds of a step and of a slice, the loss before it, parameters, and peak memory in GiB."""
    import torch
    from hydra import compose, initialize_config_module
    from kept_memory import brains, peak_gib, training_step

    from brainuad.settings.instantiate import instantiate

    detector, step = training_step(name, 2 if name in DONORS else 1)
    begun = time.perf_counter()
    step()
    seconds = time.perf_counter() - begun
    trained = peak_gib()
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", [f"experiment={name}", "name=x", "paths.output_dir=x"])
    batch = brains(instantiate(cfg.tiling), 1)
    begun = time.perf_counter()
    found = detector.eval().detect(*batch).anomaly_map
    assert bool(torch.isfinite(found).all())
    return {
        "parameters": sum(p.numel() for p in detector.parameters()),
        "step_s": seconds,
        "step_peak_gib": trained,
        "slice_s": time.perf_counter() - begun,
        "peak_gib": peak_gib(),
    }


if __name__ == "__main__":
    main()
