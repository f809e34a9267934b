from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn
from torch.nn import functional

from brainuad.networks.masked_unet import MaskedUNet, SelfAttention
from brainuad.settings.instantiate import instantiate

SIZES = sorted(path.stem for path in (Path(__file__).parents[3] / "configs/model/size").iterdir())


def _small(**options):
    torch.manual_seed(0)
    options = {"width": 16, "heads": 2, "norm_groups": 4, "dropout": 0.0} | options
    return MaskedUNet(4, **options)


def _awake(network):
    """Layers that start at zero hide what is in front of them."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return network.eval()


# Counted by instantiating the released networks (models.py:4-40 of farzad-bz/MAD-AD); XL with ten
# heads, which share one count with twelve. `tiny` is ours.
COUNTS = {
    "tiny": 2_787_333,
    "XS": 16_142_149,
    "S": 64_478_853,
    "M": 145_010_117,
    "L": 257_735_941,
    "XL": 402_656_325,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_released_parameters(name):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", ["experiment=madad_paper", f"model/size={name}", "name=x"])
    with torch.device("meta"):
        network = instantiate(cfg.model.network)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == COUNTS[name]
    row = next(line for line in MaskedUNet.__doc__.splitlines() if f"| `{name}` |" in line)
    heads = network.middle[1].heads
    assert row.split("|")[2:5] == [f" {network.width} ", f" {heads} ", f" {count:,} "]


def test_all_sizes_are_there():
    assert set(COUNTS) == set(SIZES)


class Released:
    """openaimodel_medical.py's forward pass, written out with the weights of ours.

    Its input blocks are `first` and `down`, its output blocks `up`, `out` is `clean_head`, `mt_out`
    is `mask_head`. Rows of query, key and value lie head by head there and in three blocks here.
    """

    def __init__(self, network, heads, groups):
        self.weights = network.state_dict()
        self.heads, self.groups, self.width = heads, groups, network.width

    def conv(self, name, x, **options):
        weight = self.weights[f"{name}.weight"]
        options = {"padding": weight.shape[-1] // 2} | options
        return functional.conv2d(x, weight, self.weights[f"{name}.bias"], **options)

    def linear(self, name, x):
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name, x):
        given = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.group_norm(x, self.groups, *given, 1e-5)

    def block(self, name, x, emb):
        h = self.conv(f"{name}.first.2", functional.silu(self.norm(f"{name}.first.0", x)))
        h = h + self.linear(f"{name}.time", functional.silu(emb))[..., None, None]
        h = self.conv(f"{name}.second.3", functional.silu(self.norm(f"{name}.second.0", h)))
        return h + (self.conv(f"{name}.skip", x) if f"{name}.skip.weight" in self.weights else x)

    def attend(self, name, x):
        count, width, *cells = x.shape
        ch = width // self.heads
        qkv = self.conv(f"{name}.qkv", self.norm(f"{name}.norm", x)).flatten(2)
        ours = qkv.view(count, 3, self.heads, ch, -1)
        q, k, v = ours.transpose(1, 2).reshape(count * self.heads, 3 * ch, -1).split(ch, dim=1)
        scale = ch**-0.25
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), dim=-1)
        h = torch.einsum("bts,bcs->bct", weight, v).reshape(count, width, *cells)
        return x + self.conv(f"{name}.out", h)

    def stage(self, name, x, emb):
        x = self.block(f"{name}.0", x, emb)
        return self.attend(f"{name}.1", x)

    def __call__(self, x, t):
        half = self.width // 2
        rates = 10_000 ** (-torch.arange(half) / half)
        angles = t[:, None].float() * rates
        embedded = torch.cat([angles.cos(), angles.sin()], dim=-1)
        emb = self.linear("time.2", functional.silu(self.linear("time.0", embedded)))
        h = self.conv("first", x)
        hs = [h]
        for name in ("down.0", "down.1", "half", "down.3", "down.4", "half", "down.6", "down.7"):
            if name == "half":
                h = self.conv(f"down.{len(hs) - 1}", h, stride=2)
            else:
                h = self.stage(name, h, emb)
            hs.append(h)
        h = self.attend("middle.1", self.block("middle.0", h, emb))
        h = self.block("middle.2", h, emb)
        for name in (0, 1, 2, "twice 3", 4, 5, 6, "twice 7", 8, 9, 10):
            if isinstance(name, str):
                h = functional.interpolate(h, scale_factor=2, mode="nearest")
                h = self.conv(f"up.{name.split()[1]}", h)
            else:
                h = self.stage(f"up.{name}", torch.cat([h, hs.pop()], dim=1), emb)
        clean = self.conv("clean_head.2", functional.silu(self.norm("clean_head.0", h)))
        # No activation between normalisation and convolution.
        return clean, torch.sigmoid(self.conv("mask_head.1", self.norm("mask_head.0", h)))


def test_the_forward_pass_is_the_released_one():
    network = _awake(MaskedUNet(4, width=16, heads=2, norm_groups=4))
    x, t = torch.randn(3, 4, 8, 12), torch.tensor([0, 4, 9])
    with torch.no_grad():
        found = network(x, t)
        expected = Released(network, heads=2, groups=4)(x, t)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert found[0].std() > 0.05


@pytest.mark.parametrize("cells", [(32, 32), (24, 28), (12, 14), (6, 7), (5, 9)])
def test_latents_of_any_size_come_back(cells):
    network = _awake(_small())
    clean, mask = network(torch.randn(2, 4, *cells), torch.tensor([0, 9]))
    assert clean.shape == (2, 4, *cells)
    assert mask.shape == (2, 1, *cells)
    assert mask.min() > 0
    assert mask.max() < 1


def test_it_starts_with_a_clean_latent_of_zeros_and_an_undecided_mask():
    clean, mask = _small()(torch.randn(1, 4, 8, 8), torch.tensor([3]))
    assert not clean.any()
    assert (mask == 0.5).all()


def test_rows_are_independent_and_the_timestep_matters():
    network = _awake(_small())
    x = torch.randn(3, 4, 8, 8)
    whole = network(x, torch.tensor([1, 5, 9]))
    alone = network(x[1:2], torch.tensor([5]))
    other = network(x[1:2], torch.tensor([6]))
    for a, b, c in zip(whole, alone, other, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(b, c, rtol=1e-4, atol=1e-5)


def test_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    layer = _awake(SelfAttention(8, 2, 4))
    x = torch.randn(1, 8, 3, 2)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2)[0].view(3, 2, 4, 6)
    weight = torch.softmax(torch.einsum("hci,hcj->hij", q, k) / 2, dim=-1)
    found = torch.einsum("hij,hcj->hci", weight, v).reshape(1, 8, 3, 2)
    torch.testing.assert_close(layer(x), x + layer.out(found), rtol=1e-4, atol=1e-5)


def test_attention_where_asked():
    network = _small(attention=(False, False, True))
    count = sum(isinstance(module, SelfAttention) for module in network.modules())
    # Two blocks down, the middle, three up, at the last level only.
    assert count == 2 + 1 + 3


def test_widths_that_cannot_be_split_are_refused():
    with pytest.raises(ValueError, match="width is 320"):
        MaskedUNet(width=320, heads=12)
