"""A skull stripper that kills its process, with the few imports that each one has to make."""

import os
import signal
from dataclasses import dataclass

import numpy as np

from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.types import Volume


@dataclass(frozen=True)
class Deadly:
    """Kill the process on a scan at 5 mm, as a lack of memory does, and take others as they are."""

    def __call__(self, volume: Volume) -> np.ndarray:
        """See the module."""
        if np.isclose(volume.affine[0, 3], 5):
            os.kill(os.getpid(), signal.SIGKILL)
        return Extracted()(volume)
