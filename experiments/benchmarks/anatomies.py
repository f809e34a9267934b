"""Measure the time of a synthetic scan, stage by stage.

    python experiments/benchmarks/anatomies.py BANK

Warps anatomies of a bank (`python -m data_prep anatomies`) and scans each several times, one
disease after the other, in one process of one thread. Medians of seconds of CPU time are written to
`anatomies.json` beside this file: other work on the machine changes them little.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch

from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.lesions import DISEASES
from brainuad.synthetic.anatomies.scan import ScanGenerator

HERE = Path(__file__).parent
SEED = 42


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank", type=Path)
    parser.add_argument("--anatomies", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = ScanGenerator(read_bank(arguments.bank))
    read, warped = [], []
    scanned: dict[str, list[float]] = {disease: [] for disease in DISEASES}
    for number in range(arguments.anatomies):
        # The first reads the file; the second is of the same head.
        read.append(timed(lambda n=number: generator.anatomy(SEED, n))[0])
        seconds, anatomy = timed(lambda n=number: generator.anatomy(SEED, n))
        warped.append(seconds)
        for index, disease in enumerate(DISEASES):
            scanned[disease].append(
                timed(
                    lambda a=anatomy, n=number, i=index, d=disease: generator.scan(
                        a, SEED, n, i, sequence="FLAIR", disease=d
                    )
                )[0]
            )
    setting = {"threads": 1, "torch": torch.__version__, "load_average": os.getloadavg()[0]}
    setting["size"] = list(anatomy.size)
    found = {
        "anatomy, with its file": statistics.median(read),
        "anatomy": statistics.median(warped),
        **{f"scan, {disease}": statistics.median(times) for disease, times in scanned.items()},
    }
    found = {name: round(seconds, 3) for name, seconds in found.items()}
    text = json.dumps({"setting": setting, "cpu_seconds": found}, indent=2)
    (HERE / "anatomies.json").write_text(text + "\n")
    print(text)


def timed(call):
    """Return seconds of CPU time of a call, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
