import pytest
import torch
from torch import nn

from brainuad.methods.parts.adversarial import hinge, judge, spectral_discriminator


def test_hinge_by_hand():
    generated, own = hinge(
        torch.tensor([0.5, -1.5]), torch.tensor([-2.0, 0.5]), torch.tensor([2.0, 0.25])
    )
    assert generated.item() == pytest.approx(0.5)
    assert own.item() == pytest.approx((0 + 1.5) / 2 + (0 + 0.75) / 2)


class _Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, image):
        return [image, self.weight * image]


def test_each_gets_the_gradient_of_taking_turns():
    fake, real = torch.tensor([0.2, -0.1], requires_grad=True), torch.tensor([0.9, 0.4])
    discriminator = _Slope()
    generated, own = hinge(*judge(discriminator, fake, real))
    (generated + own).backward()
    # -mean(3 x) for the generator; max(0, 1 + w fake) and max(0, 1 - w real) for the other.
    torch.testing.assert_close(fake.grad, torch.full((2,), -1.5))
    assert discriminator.weight.grad.item() == pytest.approx((0.2 - 0.1) / 2 + 0.0)


def test_spectral_norm_bounds_every_convolution_and_learns():
    torch.manual_seed(0)
    discriminator = spectral_discriminator(
        spatial_dims=2, channels=4, in_channels=1, num_layers_d=2
    )
    image = torch.rand(2, 1, 32, 32, requires_grad=True)
    for _ in range(30):
        judged = judge(discriminator, image, torch.rand(2, 1, 32, 32))
    convolutions = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 4
    for convolution in convolutions:
        largest = torch.linalg.svdvals(convolution.weight.flatten(1))[0]
        assert largest.item() == pytest.approx(1, abs=0.05)
    sum(hinge(*judged)).backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is not None for p in discriminator.parameters())
