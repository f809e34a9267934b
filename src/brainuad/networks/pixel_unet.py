"""MONAI's diffusion U-Net of images of any size, by squares of pixels where it has to be cheap."""

from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional


class PixelUNet(nn.Module):
    """A diffusion U-Net (Dhariwal and Nichol 2021, arXiv 2105.05233) of images.

    Args:
        network: MONAI's, with `patch`^2 times the image's channels, in and out.
        patch: side in pixels of the squares that become channels; 2 quarters the cost, 1 for none.
    """

    def __init__(self, network: DiffusionModelUNet, patch: int = 1) -> None:
        super().__init__()
        self.network = network
        self.patch = patch

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Noised images `(B, C, H, W)` and their timesteps `(B,)` to the same shape."""
        height, width = x_t.shape[2:]
        step = self.patch * 2 ** (len(self.network.block_out_channels) - 1)
        x = functional.pad(x_t, (0, -width % step, 0, -height % step), mode="replicate")
        x = functional.pixel_unshuffle(x, self.patch)
        x = functional.pixel_shuffle(self.network(x, t), self.patch)
        return x[..., :height, :width]
