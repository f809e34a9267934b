"""`python predict.py MODEL SCANS OUT`; see `brainuad.predict`."""

import sys

from brainuad.predict import main

if __name__ == "__main__":
    sys.exit(main())
