"""Number of tiles per forward pass that fit the memory."""

import torch
from torch import Tensor, nn

from brainuad.machine.limits import available_bytes
from brainuad.methods.base import AnomalyDetector
from brainuad.volumes.tiling import Tiling

MOST = {"cpu": 32, "cuda": 256}
"""Largest batch by type of device; larger ones gain no speed."""

SHARE = 0.5
"""Share of the free memory that one batch may use. The estimate is rough, and other processes need
memory too."""


def batch_size_for(
    detector: AnomalyDetector, tiling: Tiling, image: Tensor, brain_mask: Tensor
) -> int:
    """Return the number of tiles whose activations fit the free memory of the detector's device.

    One tile is run, and the outputs of all its layers are counted as if none were freed.

    Args:
        detector: method, on its device.
        tiling: cuts a volume into tiles.
        image: `(C, D, H, W)`, a scan of the usual size.
        brain_mask: `(1, D, H, W)` bool.
    """
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    filled = masks.flatten(1).sum(1)
    if int((filled > 0).sum()) <= 1:
        return 1
    fullest = filled.argmax()[None]
    tile = tiling.split(image)[0][fullest].to(detector.device)
    sizes: dict[nn.Module, int] = {}

    def count(module: nn.Module, given: object, found: object) -> None:
        tensors = found if isinstance(found, tuple | list) else (found,)
        sizes[module] = sum(t.nbytes for t in tensors if isinstance(t, Tensor))

    hooks = [
        module.register_forward_hook(count)
        for module in detector.modules()
        if not any(module.children())
    ]
    try:
        detector.detect(tile, masks[fullest].to(detector.device))
    finally:
        for hook in hooks:
            hook.remove()
    one = sum(sizes.values()) + 4 * tile.nbytes
    most = MOST.get(detector.device.type, MOST["cuda"])
    return max(1, min(most, int(SHARE * free_bytes(detector.device) / one)))


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_bytes()
