"""Measure the time from a raw head to its mask, and a dry run of many scans.

    python experiments/benchmarks/raw_head.py MODEL SCAN [--scans 1000]

MODEL is a `model.ckpt` or a bundle of the scan's sequence, SCAN one raw head. Each command runs as
a process of its own, imports included, with one thread; the medians of CPU seconds, the wall
seconds and the peak memory are written to `raw_head.json` beside this file.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PREDICT = "import sys; from brainuad.cli.predict import main; sys.exit(main(sys.argv[1:]))"
MEASURE = (
    "import os, resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(code, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)"
)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--sequence", default="T1w", help="in the scan's name")
    parser.add_argument("--scans", type=int, default=1000, help="of the dry run")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, many = folder / "one", folder / "many"
        one.mkdir(), many.mkdir()
        shutil.copyfile(arguments.scan, one / f"head_{arguments.sequence}.nii.gz")
        for index in range(arguments.scans):
            (many / f"s{index}_{arguments.sequence}.nii.gz").symlink_to(arguments.scan.absolute())
        model = str(arguments.model)
        found = {
            "setting": {"threads": 1, "rounds": arguments.rounds, "load": os.getloadavg()[0]},
            "raw head": measured([model, str(one), "{out}"], folder, arguments.rounds),
            f"dry run of {arguments.scans}": measured(
                [model, str(many), "{out}", "--dry-run"], folder, arguments.rounds
            ),
        }
    (HERE / "raw_head.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def measured(words: list[str], folder: Path, rounds: int) -> dict[str, float]:
    """Run `brainuad-predict` several times and return the medians."""
    rows = []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for index in range(rounds):
        out = str(folder / f"out{index}")
        command = [sys.executable, "-c", PREDICT, *(word.replace("{out}", out) for word in words)]
        begun = time.perf_counter()
        said = subprocess.run(
            [sys.executable, "-c", MEASURE, *command],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        code, cpu, peak = said.split()
        if code != "0":
            raise SystemExit(f"brainuad-predict ended with status {code}")
        rows.append((float(cpu), time.perf_counter() - begun, float(peak)))
        shutil.rmtree(out, ignore_errors=True)
    names = ("cpu_seconds", "wall_seconds", "peak_gib")
    return {
        name: round(statistics.median(values), 2)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


if __name__ == "__main__":
    main()
