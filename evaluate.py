"""`python evaluate.py maps=DIR data=folder data.source=COHORT`; see `brainuad.evaluate`."""

import sys

from brainuad.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
