"""Between our volumes and MONAI's tensors that carry their affine."""

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.lazy.functional import apply_pending

from brainuad.types import Volume


def volume_of(image: MetaTensor) -> Volume:
    """The first channel as a volume, sharing its memory; pending operations are applied to a copy.

    Args:
        image: `(C, D, H, W)`.
    """
    if image.pending_operations:
        image, _ = apply_pending(image.clone())
    return Volume(image.numpy()[0], np.array(image.affine, dtype=np.float64))


def meta_tensor(array: np.ndarray, like: MetaTensor) -> MetaTensor:
    """An array with the affine, the metadata and the applied operations of another image.

    Args:
        array: `(D, H, W)`.
        like: an image on its grid.

    Returns:
        `(1, D, H, W)`.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None]
    return MetaTensor(
        tensor, meta=dict(like.meta), applied_operations=list(like.applied_operations)
    )
