"""The gradient of a VAE's evidence bound with respect to the image, as a score.

Zimmerer et al., "Unsupervised Anomaly Localization using Variational Auto-Encoders", MICCAI 2019
(arXiv 1907.02796): what would have to change in a pixel to make the image more probable.

    elbo   |d/dx [ w KL(q(z|x) || N(0, I)) + 1/2 sum (x_hat - x)^2 ]|
    kl     |d/dx w KL(q(z|x) || N(0, I))|, which the paper multiplies with the residual

for z the posterior's mean and the objective's own w. KL is summed over the latent dimensions.

Differs from the paper: the likelihood is Gaussian, because the Laplace's own term is +-1 at every
pixel whatever is there; no average over noisy copies of the image, which a median behind the map
stands for.
"""

from collections.abc import Callable

import torch
from einops import reduce
from torch import Tensor

from brainuad.networks.context_vae import gaussian_kl

BOUNDS = ("elbo", "kl")


def elbo_gradient(
    encode: Callable[[Tensor], tuple[Tensor, Tensor | None]],
    decode: Callable[[Tensor], Tensor],
    image: Tensor,
    kl_weight: float,
    bound: str = "elbo",
) -> Tensor:
    """The map of the module's docstring, mean over channels: `(B, C, *S)` to `(B, 1, *S)`.

    Works inside `torch.no_grad`; no parameter gets a gradient.

    Args:
        encode: from images to mu and log sigma.
        decode: from z to images.
        image: `(B, C, *S)`.
        kl_weight: w for sums over pixels and latent dimensions.
        bound: `elbo` or `kl`.
    """
    with torch.enable_grad():
        x = image.detach().requires_grad_()
        mu, log_sigma = encode(x)
        assert log_sigma is not None
        total = kl_weight * gaussian_kl(mu.float(), log_sigma.float()).sum()
        if bound == "elbo":
            total = total + 0.5 * (decode(mu).float() - x).square().sum()
        # A sum over the batch: no image has a part in another's terms.
        (gradient,) = torch.autograd.grad(total, x)
    return reduce(gradient.abs(), "b c ... -> b 1 ...", "mean")
