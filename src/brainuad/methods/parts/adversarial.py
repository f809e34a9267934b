"""A generator and a discriminator under one optimiser.

Generator and discriminator receive the same gradients as in alternating updates on one generated
image. So Lightning's automatic optimisation can be used, with accumulation, mixed precision,
clipping (by the norm of both) and DDP.
"""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations


def judge(discriminator: nn.Module, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs for the fake image (generator), and for fake and real (discriminator).

    Args:
        discriminator: returns a list of activations, the output last, as MONAI's does.
        fake: generated images `(B, C, *S)`.
        real: `(B, C, *S)`.

    Returns:
        Through the first, gradients reach `fake` and not the discriminator; through the others,
        the discriminator and not `fake`.
    """
    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    judged = functional_call(discriminator, fixed, (fake,))[-1]
    return judged, discriminator(fake.detach())[-1], discriminator(real)[-1]


def hinge(judged: Tensor, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hinge losses of the generator and of the discriminator.

    Lim and Ye, "Geometric GAN", 2017 (arXiv 1705.02894): -E[D(fake)], and
    E[max(0, 1 + D(fake))] + E[max(0, 1 - D(real))].
    """
    return -judged.mean(), (1 + fake).relu().mean() + (1 - real).relu().mean()


def with_spectral_norm(network: nn.Module) -> nn.Module:
    """Limit the largest singular value of each convolution's weight to 1, in place.

    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018 (arXiv
    1802.05957), by torch's parametrisation.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            parametrizations.spectral_norm(module)
    return network


def spectral_discriminator(**options: object) -> nn.Module:
    """Build MONAI's patch discriminator with spectral in place of batch normalisation.

    Args:
        options: `spatial_dims`, `channels`, `in_channels`, `num_layers_d` of
            `PatchDiscriminator`.
    """
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    return with_spectral_norm(PatchDiscriminator(norm="INSTANCE", **options))  # type: ignore[arg-type]
