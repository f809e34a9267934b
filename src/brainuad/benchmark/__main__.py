"""The benchmark with settings of your own."""

import sys

from brainuad.benchmark.command import main

if __name__ == "__main__":
    sys.exit(main())
