"""The gradient of a VAE's evidence bound with respect to the image, as a score.

Zimmerer et al., "Unsupervised Anomaly Localization using Variational Auto-Encoders", MICCAI 2019
(arXiv 1907.02796): the change of a pixel that would make the image more probable.

    elbo   |d/dx [ w KL(q(z|x) || N(0, I)) + 1/2 sum (x_hat - x)^2 ]|
    kl     |d/dx w KL(q(z|x) || N(0, I))|, which the paper multiplies with the residual

for z the posterior's mean and the objective's own w. KL is summed over the latent dimensions.

Differs from the paper: the likelihood is Gaussian, because the gradient of a Laplacian one is +-1
at every pixel; the map is smoothed by a median in place of an average over noisy copies of the
image.
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
    """Return the map of the module's docstring, a mean over channels, `(B, 1, *S)`.

    It works inside `torch.no_grad`; no parameter gets a gradient.

    Args:
        encode: maps images to mu and log sigma.
        decode: maps z to images.
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
        # A sum over the batch, because the terms of images are independent.
        (gradient,) = torch.autograd.grad(total, x)
    return reduce(gradient.abs(), "b c ... -> b 1 ...", "mean")
