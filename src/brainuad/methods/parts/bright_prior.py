"""Clear the scores of dark voxels, for sequences in which lesions are bright.

The "hyper-intensity prior" of Baur et al. 2021 (arXiv 2004.03271), as in the released code,
utils/Evaluation.py:205 and :282-289.
"""

import numpy as np
import torch
from torch import Tensor

from brainuad.types import Detection


def keep_bright(found: Detection, image: Tensor, quantile: float | None) -> Detection:
    """Return the scores where the image reaches its quantile, elsewhere 0.

    Args:
        found: detection in a whole scan, `(C, D, H, W)`.
        image: `(C, D, H, W)`, zero outside the brain; of several channels the mean counts.
        quantile: in [0, 1], of the whole array: including the background, so that 0.9 keeps about
            four tenths of a brain that fills a quarter of the array. None keeps every score.
    """
    if quantile is None:
        return found
    brightness = image.mean(0, keepdim=True)
    # torch.quantile is limited to 16 million voxels, and a scan may have more.
    bright = brightness >= float(np.quantile(brightness.numpy(), quantile))
    parts = {
        name: torch.where(bright, part, 0)
        for name in ("anomaly_map", "uncertainty", "draws")
        if (part := getattr(found, name)) is not None
    }
    return found._replace(**parts)
