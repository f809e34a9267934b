"""DINOv2's encoder against torch's transformer layer, and its weights from a file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from brainuad.errors import InputError
from brainuad.networks.dinov2 import DinoV2, is_dinov2, read_dinov2
from brainuad.settings.instantiate import instantiate
from brainuad.training.first_stage import read_first_stage

WIDTH, PATCH, GRID = 64, 2, 4


def released(registers=2, blocks=2):
    """Random weights under the released names, with two that are not used."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return 0.3 * torch.randn(*shape, generator=generator)

    weights = {
        "patch_embed.proj.weight": random(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": random(WIDTH),
        "cls_token": random(1, 1, WIDTH),
        "pos_embed": random(1, GRID**2 + 1, WIDTH),
        "mask_token": random(1, WIDTH),
        "norm.weight": random(WIDTH),
    }
    if registers:
        weights["register_tokens"] = random(1, registers, WIDTH)
    for block in range(blocks):
        for name, shape in (
            ("norm1.weight", (WIDTH,)),
            ("norm1.bias", (WIDTH,)),
            ("attn.qkv.weight", (3 * WIDTH, WIDTH)),
            ("attn.qkv.bias", (3 * WIDTH,)),
            ("attn.proj.weight", (WIDTH, WIDTH)),
            ("attn.proj.bias", (WIDTH,)),
            ("ls1.gamma", (WIDTH,)),
            ("norm2.weight", (WIDTH,)),
            ("norm2.bias", (WIDTH,)),
            ("mlp.fc1.weight", (4 * WIDTH, WIDTH)),
            ("mlp.fc1.bias", (4 * WIDTH,)),
            ("mlp.fc2.weight", (WIDTH, 4 * WIDTH)),
            ("mlp.fc2.bias", (WIDTH,)),
            ("ls2.gamma", (WIDTH,)),
        ):
            weights[f"blocks.{block}.{name}"] = random(*shape)
    return weights


def layer(weights, block):
    """torch's own layer with the weights of a block; it has no factors, so they are multiplied."""
    of = {name.split(".", 2)[2]: value for name, value in weights.items() if f"s.{block}." in name}
    own = nn.TransformerEncoderLayer(
        WIDTH, WIDTH // 64, 4 * WIDTH, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    )
    with torch.no_grad():
        for ours, theirs in (("norm1", "norm1"), ("norm2", "norm2"), ("linear1", "mlp.fc1")):
            getattr(own, ours).weight.copy_(of[f"{theirs}.weight"])
            getattr(own, ours).bias.copy_(of[f"{theirs}.bias"])
        own.self_attn.in_proj_weight.copy_(of["attn.qkv.weight"])
        own.self_attn.in_proj_bias.copy_(of["attn.qkv.bias"])
        for ours, theirs, factor in (
            (own.self_attn.out_proj, "attn.proj", of["ls1.gamma"]),
            (own.linear2, "mlp.fc2", of["ls2.gamma"]),
        ):
            ours.weight.copy_(of[f"{theirs}.weight"] * factor[:, None])
            ours.bias.copy_(of[f"{theirs}.bias"] * factor)
    return own.eval()


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 2])
def test_features_against_torchs_transformer(tmp_path, registers):
    weights = released(registers)
    path = tmp_path / "dinov2.safetensors"
    save_file(weights, path)
    stage = read_first_stage(path)
    encoder = instantiate(stage.config | {"pixels": PATCH}).eval()
    encoder.load_state_dict(stage.weights)
    image = torch.rand(3, 1, GRID * PATCH, GRID * PATCH)

    colours = (image - encoder.mean) / encoder.std
    tokens = nn.functional.conv2d(
        colours, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], PATCH
    )
    tokens = torch.cat([weights["cls_token"].expand(3, -1, -1), tokens.flatten(2).mT], 1)
    tokens = tokens + weights["pos_embed"]
    if registers:
        extra = weights["register_tokens"].expand(3, -1, -1)
        tokens = torch.cat([tokens[:, :1], extra, tokens[:, 1:]], 1)
    found = encoder.features(image)
    assert len(found) == 2
    for block in range(2):
        tokens = layer(weights, block)(tokens)
        expected = tokens[:, 1 + registers :].mT.unflatten(2, (GRID, GRID))
        torch.testing.assert_close(found[block], expected, rtol=1e-3, atol=1e-4)
    assert len(encoder.features(image, 1)) == 1


def test_a_slice_of_another_size_has_a_cell_for_each_square_of_pixels():
    encoder = DinoV2(width=64, blocks=1, patch=2, registers=0, grid=4, pixels=8)
    assert encoder.features(torch.rand(1, 1, 48, 32))[0].shape == (1, 64, 6, 4)


def test_several_sequences_are_refused():
    with pytest.raises(InputError, match="takes one sequence"):
        DinoV2(width=64, blocks=1, patch=2, grid=4).features(torch.rand(1, 2, 16, 16))


def test_other_files_are_told_apart(tmp_path):
    (tmp_path / "no.safetensors").write_bytes(b"no")
    assert not is_dinov2(tmp_path / "no.safetensors")
    assert not is_dinov2(tmp_path / "missing.safetensors")
    save_file({"encoder.conv_in.weight": torch.zeros(1)}, tmp_path / "vae.safetensors")
    assert not is_dinov2(tmp_path / "vae.safetensors")


@pytest.mark.parametrize("name", ["pos_embed", "blocks.1.attn.qkv.weight"])
def test_missing_weights_are_named(tmp_path, name):
    weights = released()
    del weights[name]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=f"part.safetensors: has no {name}"):
        read_dinov2(tmp_path / "part.safetensors")
