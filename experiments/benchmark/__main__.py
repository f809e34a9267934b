"""The benchmark of every method: `python -m experiments.benchmark --help`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from brainuad.benchmark.cohorts import MAKERS
from brainuad.benchmark.command import Study
from brainuad.benchmark.command import main as benchmark
from experiments.benchmark.bars import bars
from experiments.benchmark.cohorts import real_t1

HERE = Path(__file__).parent
SETTINGS = HERE / "settings.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    makers = MAKERS | {"real_t1": real_t1}
    return benchmark(argv, Study("python -m experiments.benchmark", SETTINGS, HERE, makers, bars))


if __name__ == "__main__":
    sys.exit(main())
