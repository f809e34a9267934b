"""`python train.py experiment=NAME`; see `brainuad.cli.train`."""

import sys

from brainuad.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
