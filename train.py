"""`python train.py experiment=NAME`; see `brainuad.train`."""

import sys

from brainuad.train import main

if __name__ == "__main__":
    sys.exit(main())
