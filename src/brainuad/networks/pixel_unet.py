"""MONAI's diffusion U-Net of images of any size, by squares of pixels where it has to be cheap."""

from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional

from brainuad.networks.patched import Patched


class PixelUNet(nn.Module):
    """A diffusion U-Net (Dhariwal and Nichol 2021, arXiv 2105.05233) of images.

    Args:
        network: MONAI's, with `patch`^2 times the image's channels, in and out.
        patch: side in pixels of the squares that become channels; 2 quarters the cost, 1 for none.
    """

    def __init__(self, network: DiffusionModelUNet, patch: int = 1) -> None:
        super().__init__()
        self.network = Patched(network, patch)
        self.multiple = patch * 2 ** (len(network.block_out_channels) - 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Noised images `(B, C, H, W)` and their timesteps `(B,)` to the same shape."""
        height, width = x_t.shape[2:]
        missing = (0, -width % self.multiple, 0, -height % self.multiple)
        x = self.network(functional.pad(x_t, missing, mode="replicate"), t)
        return x[..., :height, :width]
