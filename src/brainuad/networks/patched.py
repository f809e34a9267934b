"""Run any convolutional network on squares of pixels; half the sides cost a quarter of the time."""

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

_AXES = {4: "(h p) (w q)", 5: "(d o) (h p) (w q)"}
_LESS = {4: ("p q", "h w"), 5: ("o p q", "d h w")}
_MODES = {4: "bilinear", 5: "trilinear"}


class Patched(nn.Module):
    """Network on slices or volumes whose pixels become channels before it and pixels after it.

    Args:
        network: maps `(B, C patch^n, *S / patch)` and further arguments to `(B, C' patch^n, *S /
            patch)`, n = len(S); to `(B, C', *S / patch)` if it is smooth.
        patch: side of a square (cube) in pixels; it divides S.
        smooth: whether the network predicts one value per square, which is interpolated linearly;
            for predictions without detail, such as coarse noise.
    """

    def __init__(self, network: nn.Module, patch: int = 2, smooth: bool = False) -> None:
        super().__init__()
        self.network = network
        self.patch = patch
        self.smooth = smooth

    def forward(self, image: Tensor, *others: Tensor) -> Tensor:
        """`(B, C, *S)` to `(B, C', *S)`."""
        whole, (inner, outer) = _AXES[image.ndim], _LESS[image.ndim]
        sides = dict.fromkeys(inner.split(), self.patch)
        found = rearrange(image, f"b c {whole} -> b (c {inner}) {outer}", **sides)
        found = self.network(found, *others)
        if self.smooth:
            size, mode = image.shape[2:], _MODES[image.ndim]
            return functional.interpolate(found, size=size, mode=mode, align_corners=False)
        return rearrange(found, f"b (c {inner}) {outer} -> b c {whole}", **sides)
