"""`python predict.py checkpoint=MODEL data=folder data.source=DIR`; see `brainuad.predict`."""

import sys

from brainuad.predict import main

if __name__ == "__main__":
    sys.exit(main())
