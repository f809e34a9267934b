"""`python predict.py MODEL SCANS OUT`; see `brainuad.cli.predict`."""

import sys

from brainuad.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
