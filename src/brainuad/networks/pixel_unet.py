"""MONAI's diffusion U-Net for images of any size, optionally on squares of pixels to save time."""

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet, DiffusionUNetResnetBlock
from torch import Tensor, nn
from torch.nn import functional

from brainuad.networks.patched import Patched


class PixelUNet(nn.Module):
    """Diffusion U-Net (Dhariwal and Nichol 2021, arXiv 2105.05233) on images.

    Args:
        network: MONAI's, with `patch`^2 times the image's channels, in and out.
        patch: side in pixels of the squares that become channels; 2 quarters the cost, 1 for none.
        scale_shift: whether the timestep scales and shifts inside each residual block
            (`ScaleShiftBlock`); False adds it, as MONAI does.
    """

    def __init__(
        self, network: DiffusionModelUNet, patch: int = 1, scale_shift: bool = False
    ) -> None:
        super().__init__()
        if scale_shift:
            for module in list(network.modules()):
                for name, child in module.named_children():
                    if isinstance(child, DiffusionUNetResnetBlock):
                        setattr(module, name, ScaleShiftBlock(child))
        self.network = Patched(network, patch)
        self.multiple = patch * 2 ** (len(network.block_out_channels) - 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Noised images `(B, C, H, W)` and their timesteps `(B,)` to the same shape."""
        height, width = x_t.shape[2:]
        missing = (0, -width % self.multiple, 0, -height % self.multiple)
        x = self.network(functional.pad(x_t, missing, mode="replicate"), t)
        return x[..., :height, :width]


class ScaleShiftBlock(nn.Module):
    """A residual block whose second normalisation is scaled and shifted by the timestep.

    Adaptive group normalisation, Dhariwal and Nichol 2021, section 3.1, as pDDPM uses it:

        h = conv1(resampled(silu(norm1(x)))),   s, b = halves of linear(silu(emb))
        y = skip(resampled(x)) + conv2(silu((1 + s) norm2(h) + b))

    Args:
        block: MONAI's block, whose layers are used; its linear layer becomes twice as wide.
    """

    def __init__(self, block: DiffusionUNetResnetBlock) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.skip_connection = block.skip_connection
        self.resample = block.upsample or block.downsample or nn.Identity()
        self.time_emb_proj = nn.Linear(block.emb_channels, 2 * block.out_channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Features `(B, C, H, W)` and the timestep's embedding `(B, E)` to `(B, C', H', W')`."""
        h = self.conv1(self.resample(functional.silu(self.norm1(x))))
        scale, shift = self.time_emb_proj(functional.silu(emb))[..., None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip_connection(self.resample(x)) + self.conv2(functional.silu(h))
