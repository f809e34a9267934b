"""Skull stripping by the mask that the source gives, and by nothing else."""

from dataclasses import dataclass

import numpy as np

from brainuad.types import Volume


@dataclass(frozen=True)
class Given:
    """Takes no brain but the one that the source gives: a scan without a mask is refused."""

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: always, because it is called where no mask is given.
        """
        raise ValueError(
            "no brain mask in the source; name it *_brain_mask.nii.gz or in a CSV's column "
            "brain_mask, or use another preparation/skullstrip"
        )
