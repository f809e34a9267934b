"""Group normalisation with means that other runtimes compute as exactly as torch.

onnxruntime adds the 150,000 values of a group one after another in float32: the error is 2e-5 of a
value, and 1e-4 of a probability at the end. Means axis by axis are a hundred times as exact, and
take as long.
"""

import types

from torch import Tensor, nn


def exact_norms(network: nn.Module) -> None:
    """Replace the computation of all group normalisations of a network, without other weights."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = types.MethodType(_normalised, module)  # type: ignore[method-assign]


def _normalised(self: nn.GroupNorm, x: Tensor) -> Tensor:
    count, channels = x.shape[:2]
    groups = x.reshape(count, self.num_groups, channels // self.num_groups, *x.shape[2:])
    centred = groups - _mean(groups)
    variance = _mean(centred.square())
    found = (centred * (variance + self.eps).rsqrt()).reshape(x.shape)
    if self.weight is None:
        return found
    along = [1, -1] + [1] * (x.ndim - 2)
    return found * self.weight.reshape(along) + self.bias.reshape(along)


def _mean(x: Tensor) -> Tensor:
    """Return the mean over all axes but the first two, which keep their place."""
    for axis in range(x.ndim - 1, 1, -1):
        x = x.mean(axis, keepdim=True)
    return x
