"""Choose the memory layout with the fastest convolutions."""

from collections.abc import Iterator

import torch
from torch import nn

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}

LARGEST = 2**22
"""Largest number of values in a convolution for which a CPU uses channels-last.

Up to 2.5 million values, channels-last is 0.93 to 1.31 times as fast as contiguous, in the same
memory (experiments/benchmarks/memory_layout.py). StRegA's released network, with 537 million,
takes 1.1 to 1.5 times as long channels-last (experiments/benchmarks/strega_step.py). Sizes in
between were not measured.
"""


def fastest_layout(module: nn.Module, place: str) -> None:
    """Lay out the convolution weights of each child as the device prefers, in place.

    The choice depends on sizes and the kind of device only, so that a resumed training and a loaded
    model give the same results, bit for bit. Activations follow the weights. Results of the two
    layouts differ by rounding.

    Args:
        module: a method; the choice is made for each of its networks.
        place: device, as torch knows it. GPUs compute everything channels-last.
    """
    for network in module.children():
        largest = max((weight.numel() for weight in convolutions(network)), default=0)
        if not place.startswith("cpu") or largest <= LARGEST:
            channels_last(network)


def convolutions(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights with a layout to choose: those of 4 or 5 dimensions."""
    return (parameter for parameter in module.parameters() if parameter.ndim in _LAYOUTS)


def channels_last(module: nn.Module) -> None:
    """Keep convolution weights with the channel as the fastest axis, in place."""
    for parameter in convolutions(module):
        # A clone, because `contiguous` leaves a single channel as it is, and its gradient not.
        layout = _LAYOUTS[parameter.ndim]
        parameter.data = parameter.data.clone(memory_format=layout)
