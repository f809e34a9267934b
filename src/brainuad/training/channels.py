"""Check of the images' channels against those of a network, with a clear message."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from brainuad.errors import InputError


@contextmanager
def channels_compared(count: int) -> Iterator[None]:
    """Compare the channels that reach each convolution with those that it was built for.

    Args:
        count: channels of the scans.

    Raises:
        InputError: they differ, because a network's setting does not follow `data.sequence`.
    """

    def compare(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.modules.conv._ConvNd) and given:
            got = given[0].shape[-len(module.kernel_size) - 1]
            if got != module.in_channels:
                raise InputError(
                    f"model: a layer of its network takes {module.in_channels} channels and got "
                    f"{got}; data.sequence has {count}. Set the network's channels to "
                    "${channels:1}, as configs/model/network does, or name other sequences"
                )

    handle = nn.modules.module.register_module_forward_pre_hook(compare)
    try:
        yield
    finally:
        handle.remove()
