"""StRegA's compact context-encoding VAE, on intensities.

Chatterjee et al., "StRegA: Unsupervised anomaly detection in brain MRIs using a compact
context-encoding variational autoencoder", Computers in Biology and Medicine 2022 (arXiv
2201.13271), after Zimmerer et al., "Context-encoding Variational Autoencoder for Unsupervised
Anomaly Detection" 2018 (arXiv 1812.05941).

    L = (1 - f) [ beta KL(q(z|x) || N(0, I)) + theta |x_hat - x|_1 ] + f |x_hat(x_ce) - x|_1

with means over latent and pixel dimensions; x_ce is x with squares painted over.

Differs from the paper: the input is the scan's intensity (the paper's own baseline); the tissue
segmentation that gives the method its name is not part of the preparation yet. The posterior's
mean is used at test time where the released code draws a sample, so that two runs agree.
"""

import torch
from torch import Tensor

from brainuad.methods.detector import (
    OptimizerFactory,
    ReconstructionDetector,
    Residual,
    SchedulerFactory,
)
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.types import Batch


class StRegA(ReconstructionDetector):
    """Compact ceVAE.

    Args:
        network: the variational autoencoder.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        ce_factor: f, the share of the context-encoding term (0.5 in ceVAE).
        kl_weight: beta (0.01 in ceVAE).
        reconstruction_weight: theta (1 without GECO).
        max_squares: most squares painted over a slice.
        max_side: longest side of a square as a share of the slice's shorter side.
    """

    def __init__(
        self,
        network: ContextVAE,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        ce_factor: float = 0.5,
        kl_weight: float = 0.01,
        reconstruction_weight: float = 1.0,
        max_squares: int = 3,
        max_side: float = 0.5,
    ) -> None:
        super().__init__(residual, optimizer, scheduler)
        self.network = network
        self.ce_factor = ce_factor
        self.kl_weight = kl_weight
        self.reconstruction_weight = reconstruction_weight
        self.max_squares = max_squares
        self.max_side = max_side

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Decodes the posterior's mean."""
        return self.network(image)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The objective in the module's docstring; in validation z is the mean, without squares."""
        image = batch.image
        mu, log_sigma = self.network.encode(image)
        z = mu + torch.exp(log_sigma) * torch.randn_like(mu) if self.training else mu
        l1 = (self.network.decode(z) - image).abs().mean()
        kl = gaussian_kl(mu, log_sigma).mean()
        vae = self.kl_weight * kl + self.reconstruction_weight * l1
        if not self.training:
            return {"loss": vae, "l1": l1, "kl": kl}
        corrupted = paint_squares(image, *draw_squares(image, self.max_squares, self.max_side))
        context = (self.network(corrupted) - image).abs().mean()
        total = (1 - self.ce_factor) * vae + self.ce_factor * context
        return {"loss": total, "l1": l1, "kl": kl, "context": context}


def draw_squares(
    image: Tensor, max_squares: int, max_side: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draws squares for a whole batch on its device.

    Args:
        image: `(B, C, H, W)`.
        max_squares: the number a slice is uniform in 0..max_squares.
        max_side: the side is uniform in 0..max_side * min(H, W) pixels.
        generator: None for the global one.

    Returns:
        Boxes `(B, max_squares, 4)` as top, left, bottom, right in pixels (empty when not used)
        and values `(B, max_squares)`, uniform between the batch's minimum and maximum.
    """
    batch, _, height, width = image.shape
    number, side, top, left, value = torch.rand(
        5, batch, max_squares, generator=generator, device=image.device
    )
    side = (side * (max_side * min(height, width) + 1)).floor()
    used = (
        torch.arange(max_squares, device=image.device) < (number[:, :1] * (max_squares + 1)).floor()
    )
    side = side * used
    top = (top * (height - side + 1)).floor()
    left = (left * (width - side + 1)).floor()
    low, high = image.amin(), image.amax()
    boxes = torch.stack([top, left, top + side, left + side], dim=-1)
    return boxes, low + value * (high - low)


def paint_squares(image: Tensor, boxes: Tensor, values: Tensor) -> Tensor:
    """Fills drawn boxes of `image (B, C, H, W)` with their values; later ones lie on top."""
    y = torch.arange(image.shape[-2], device=image.device)[:, None]
    x = torch.arange(image.shape[-1], device=image.device)[None, :]
    for box, value in zip(boxes.unbind(1), values.unbind(1), strict=True):
        top, left, bottom, right = (edge[:, None, None] for edge in box.unbind(-1))
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        image = torch.where(inside[:, None], value[:, None, None, None].to(image.dtype), image)
    return image
