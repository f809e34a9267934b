"""The benchmark on real people, a cohort a command.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.real soop

makes the cohort, trains and tests what `settings.yaml` lists, and writes the tables and figures to
`experiments/real/soop`. Other words are those of `python -m experiments.benchmark`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from brainuad.benchmark.command import Study
from brainuad.benchmark.command import main as benchmark
from brainuad.benchmark.plan import read_settings
from experiments.real.cohorts import MAKERS

HERE = Path(__file__).parent
SETTINGS = HERE / "settings.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    cohorts = read_settings(SETTINGS)["cohorts"]
    if not words or words[0] not in cohorts:
        asks = bool({"-h", "--help"} & set(words))
        print(f"{__doc__}\ncohorts: {', '.join(cohorts)}", file=None if asks else sys.stderr)
        return 0 if asks else 2
    cohort, *rest = words
    study = Study("python -m experiments.benchmark", SETTINGS, HERE / cohort, MAKERS)
    return benchmark(["--cohorts", cohort, *rest], study)


if __name__ == "__main__":
    sys.exit(main())
