"""Any convolutional network on squares of pixels: half the sides cost a quarter of the time."""

from torch import Tensor, nn
from torch.nn import functional


class Patched(nn.Module):
    """Pixels become channels before a network and pixels again after it (slices).

    Args:
        network: from `(B, C patch^2, H / patch, W / patch)` and more arguments to the same shape.
        patch: side of a square in pixels; it divides H and W.
    """

    def __init__(self, network: nn.Module, patch: int = 2) -> None:
        super().__init__()
        self.network = network
        self.patch = patch

    def forward(self, image: Tensor, *others: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C, H, W)`."""
        found = self.network(functional.pixel_unshuffle(image, self.patch), *others)
        return functional.pixel_shuffle(found, self.patch)
