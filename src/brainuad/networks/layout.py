"""The order of a weight's numbers in memory."""

import torch
from torch import nn

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_channels_last(module: nn.Module) -> None:
    """Keeps convolution weights with the channel as the fastest axis, which CPUs and GPUs prefer.

    Only the layout changes; activations follow it, and results differ by rounding alone.
    """
    for parameter in module.parameters():
        layout = _LAYOUTS.get(parameter.ndim)
        if layout is not None:
            parameter.data = parameter.data.contiguous(memory_format=layout)
