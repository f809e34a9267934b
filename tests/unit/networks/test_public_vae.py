"""Public weights against a plain forward pass of their layout, written out by their names."""

import pytest
import torch
from public_weights import BLOCKS, public_weights
from safetensors.torch import save_file
from torch.nn import functional

from brainuad.errors import InputError
from brainuad.networks.public_vae import public_vae, read_public_vae, released_scale


class Plain:
    """The public layout's forward pass, from its names alone."""

    def __init__(self, weights):
        self.weights = weights

    def conv(self, name, x, **options):
        return functional.conv2d(
            x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **options
        )

    def norm(self, name, x):
        return functional.group_norm(
            x, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-6
        )

    def resnet(self, name, x):
        h = self.conv(f"{name}.conv1", functional.silu(self.norm(f"{name}.norm1", x)), padding=1)
        h = self.conv(f"{name}.conv2", functional.silu(self.norm(f"{name}.norm2", h)), padding=1)
        if f"{name}.conv_shortcut.weight" in self.weights:
            x = self.conv(f"{name}.conv_shortcut", x)
        return x + h

    def middle(self, half, x):
        x = self.resnet(f"{half}.mid_block.resnets.0", x)
        name = f"{half}.mid_block.attentions.0"
        tokens = self.norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)
        q, k, v = (
            functional.linear(
                tokens, self.weights[f"{name}.{n}.weight"], self.weights[f"{name}.{n}.bias"]
            )
            for n in ("to_q", "to_k", "to_v")
        )
        mixed = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v
        out = self.weights[f"{name}.to_out.0.weight"], self.weights[f"{name}.to_out.0.bias"]
        mixed = functional.linear(mixed, *out)
        x = x + mixed.transpose(1, 2).reshape(x.shape)
        return self.resnet(f"{half}.mid_block.resnets.1", x)

    def end(self, half, x):
        x = functional.silu(self.norm(f"{half}.conv_norm_out", x))
        return self.conv(f"{half}.conv_out", x, padding=1)

    def encode(self, x):
        x = self.conv("encoder.conv_in", x, padding=1)
        for level in range(2):
            for block in range(BLOCKS):
                x = self.resnet(f"encoder.down_blocks.{level}.resnets.{block}", x)
            if level == 0:
                x = functional.pad(x, (0, 1, 0, 1))
                x = self.conv("encoder.down_blocks.0.downsamplers.0.conv", x, stride=2)
        x = self.end("encoder", self.middle("encoder", x))
        return self.conv("quant_conv", x).chunk(2, 1)

    def decode(self, z):
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", z), padding=1)
        x = self.middle("decoder", x)
        for level in range(2):
            for block in range(BLOCKS + 1):
                x = self.resnet(f"decoder.up_blocks.{level}.resnets.{block}", x)
            if level == 0:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
                x = self.conv("decoder.up_blocks.0.upsamplers.0.conv", x, padding=1)
        return self.end("decoder", x)


@pytest.fixture
def path(tmp_path):
    save_file(public_weights(), tmp_path / "vae.safetensors")
    return tmp_path / "vae.safetensors"


def test_grey_images_through_colour_weights(path):
    options, state = read_public_vae(path)
    assert options == {"channels": [32, 64], "blocks": 2, "latent_channels": 4}
    network = public_vae(**options).eval()
    network.load_state_dict(state)
    plain, image = Plain(public_weights()), torch.rand(2, 1, 16, 24) * 2 - 1
    with torch.no_grad():
        mean, std = network.encode(image)
        expected_mean, log_variance = plain.encode(image.expand(-1, 3, -1, -1))
        decoded = network.decode(mean)
        expected = plain.decode(expected_mean).mean(1, keepdim=True)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(std, torch.exp(log_variance / 2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)


def test_older_attention_and_one_channel(tmp_path):
    save_file(public_weights(colours=1), tmp_path / "new.safetensors")
    old = public_weights(colours=1, old_attention=True)
    save_file(old, tmp_path / "old.safetensors")
    _, expected = read_public_vae(tmp_path / "new.safetensors")
    _, found = read_public_vae(tmp_path / "old.safetensors")
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in expected.items()
    }
    name = "decoder.mid_block.attentions.0.proj_attn.weight"
    assert torch.equal(found["decoder.blocks.2.attn.out_proj.weight"], old[name][:, :, 0, 0])


@pytest.mark.parametrize(
    ("config", "scale"),
    [(None, 0.18215), ('{"scaling_factor": 0.13025}', 0.13025), ('{"act_fn": "silu"}', 0.18215)],
)
def test_the_scale_is_the_released_one(tmp_path, config, scale):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert released_scale(tmp_path / "vae.safetensors") == scale


@pytest.mark.parametrize("config", ["{", "[]", '{"scaling_factor": null}', '{"scaling_factor": 0}'])
def test_a_damaged_scale_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="config.json"):
        released_scale(tmp_path / "vae.safetensors")


def _not_safetensors(path):
    torch.save(public_weights(), path)


def _foreign(path):
    save_file({"conv.weight": torch.zeros(3)}, path)


def _no_middle(path):
    weights = public_weights()
    del weights["encoder.mid_block.resnets.1.conv1.weight"]
    save_file(weights, path)


def _extra(path):
    save_file(public_weights() | {"loss.logvar": torch.zeros(1)}, path)


def _other_shape(path):
    name = "decoder.up_blocks.1.resnets.0.conv1.weight"
    save_file(public_weights() | {name: torch.zeros(16, 64, 3, 3)}, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such autoencoder"),
        (_not_safetensors, "not a safetensors file"),
        (_foreign, "diffusers' layout"),
        (_no_middle, "has no encoder.mid_block.resnets.1.conv1.weight"),
        (_extra, "1 weights have no place"),
        (_other_shape, "has another shape"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, make, words):
    path = tmp_path / "vae.safetensors"
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        read_public_vae(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
