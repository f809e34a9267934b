"""`python evaluate.py maps=DIR data=folder data.source=COHORT`; see `brainuad.cli.evaluate`."""

import sys

from brainuad.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
