"""Skull stripping by deepbet, a network whose weights ship with its package."""

from dataclasses import dataclass

import numpy as np

from brainuad.preparation.skullstrip.contract import require
from brainuad.types import Volume


@dataclass(frozen=True)
class Deepbet:
    """deepbet (Fisch et al. 2024, arXiv 2308.07003), seconds a scan.

    Made for T1w, usable on FLAIR and T2w; needs the extra `prep`.

    Args:
        threshold: of the network's probability.

    Raises:
        InputError: deepbet is not installed.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        require("deepbet", "deepbet", "prep")

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: no brain found.
        """
        from deepbet.bet import BrainExtraction

        network = BrainExtraction(no_gpu=True)
        try:
            found = network.run_model(volume.array.astype(np.float32).copy()) > self.threshold
            return network.postprocess(found).astype(bool)
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            raise ValueError(f"deepbet found no brain ({error})") from None
