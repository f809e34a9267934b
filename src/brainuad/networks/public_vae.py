"""Public KL autoencoders for latent diffusion, read from safetensors files.

MAD-AD uses one. `experiment=madad_paper model.first_stage=PATH.safetensors` takes its weights
instead of training. All have one layout, diffusers' `AutoencoderKL`:

| there | here |
| --- | --- |
| `encoder.conv_in`, `decoder.conv_in` | first of `encoder.blocks`, `decoder.blocks` |
| `*_blocks.I.resnets.J.{norm1,conv1,norm2,conv2}` | the same names in the next of `blocks` |
| `….conv_shortcut` | `….nin_shortcut` |
| `down_blocks.I.downsamplers.0.conv` | `blocks.N.conv` |
| `up_blocks.I.upsamplers.0.conv` | `blocks.N.postconv` |
| `mid_block.attentions.0.group_norm` | `blocks.N.norm` |
| `….to_q, to_k, to_v, to_out.0` (older: `query, key, value, proj_attn`) | `blocks.N.attn.…` |
| `conv_norm_out`, `conv_out` | the last of `blocks`, with a SiLU between |
| one `quant_conv` from 8 to 8 channels | `quant_conv_mu`, `quant_conv_log_sigma`, 8 to 4 each |

Their decoders have one residual block more a level than their encoders, and both have a SiLU before
the last convolution, which MONAI's lack. For a grey image, the first weights of a network for three
colours are summed over the colours, and the last ones averaged.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.autoencoderkl import AutoencoderKL, Decoder, Encoder
from torch import Tensor, nn

from brainuad.errors import InputError

RESNET = {"norm1": "norm1", "conv1": "conv1.conv", "norm2": "norm2", "conv2": "conv2.conv"}
SHORTCUT = {"conv_shortcut": "nin_shortcut.conv"}
ATTENTION = {
    "group_norm": "norm",
    "to_q": "attn.to_q",
    "to_k": "attn.to_k",
    "to_v": "attn.to_v",
    "to_out.0": "attn.out_proj",
}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SCALE = 0.18215
"""Latent diffusion's factor of its latents, which MAD-AD also uses (`evaluate-MAD-AD.py:171`)."""


def public_vae(
    channels: Sequence[int] = (128, 256, 512, 512),
    blocks: int = 2,
    latent_channels: int = 4,
    norm_groups: int = 32,
    in_channels: int = 1,
) -> AutoencoderKL:
    """Build an autoencoder of the public layout from MONAI's parts.

    Args:
        channels: number of channels of each level of the encoder.
        blocks: residual blocks a level of the encoder; the decoder has one more.
        latent_channels: number of channels of the latent.
        norm_groups: number of groups of the group normalisations, 32 in all public ones.
        in_channels: number of channels of the image.
    """
    levels = len(channels)
    none = [False] * levels
    options: dict[str, Any] = {
        "norm_num_groups": norm_groups,
        "norm_eps": 1e-6,
        "attention_levels": none,
    }
    network = AutoencoderKL(
        2, in_channels, in_channels, 1, channels, none, latent_channels, norm_groups
    )
    network.encoder = Encoder(
        2, in_channels, channels, 2 * latent_channels, [blocks] * levels, **options
    )
    network.decoder = Decoder(
        2, channels, latent_channels, in_channels, [blocks + 1] * levels, **options
    )
    for half in (network.encoder, network.decoder):
        assert isinstance(half.blocks, nn.ModuleList)
        half.blocks.insert(len(half.blocks) - 1, nn.SiLU())
    for name in ("quant_conv_mu", "quant_conv_log_sigma"):
        conv = Convolution(
            2, 2 * latent_channels, latent_channels, kernel_size=1, padding=0, conv_only=True
        )
        setattr(network, name, conv)
    return network


def read_public_vae(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a public autoencoder.

    Args:
        path: `.safetensors` file in diffusers' layout, which holds only tensors.

    Returns:
        The arguments of `public_vae`, derived from the shapes, and the weights under its names.

    Raises:
        InputError: unreadable, of another layout, or with parts that this network lacks.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such autoencoder; check the path")
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a safetensors file ({reason}); download it again") from None
    weights = {_modern(name): value for name, value in found.items()}
    try:
        options = _architecture(weights)
        translated = {
            new: weights[old] for old, new in _names(options, with_shortcuts=weights.keys())
        }
        translated |= _quant(weights)
        _to_grey(translated)
    except KeyError as error:
        raise InputError(
            f"{path}: has no {error.args[0]}; give an AutoencoderKL in diffusers' layout, such as "
            "vae/diffusion_pytorch_model.safetensors"
        ) from None
    with torch.device("meta"):
        expected = {name: value.shape for name, value in public_vae(**options).state_dict().items()}
    unlike = [name for name in expected if translated[name].numel() != expected[name].numel()]
    left = len(weights) - len(translated) + 2  # quant_conv becomes two
    if unlike or left:
        what = f"{unlike[0]} has another shape" if unlike else f"{left} weights have no place"
        raise InputError(f"{path}: {what}; only plain AutoencoderKL networks can be taken")
    # Older attention uses 1 x 1 convolutions: the same numbers in another shape.
    return options, {
        name: value.float().reshape(expected[name]) for name, value in translated.items()
    }


def released_scale(path: Path) -> float:
    """Return the factor with which a public autoencoder's latents were released.

    Args:
        path: path of its weights. diffusers writes `scaling_factor` into a `config.json` beside
            them; without one it is `SCALE`, as diffusers has it.

    Raises:
        InputError: the `config.json` cannot be read, or its factor is not above 0.
    """
    described = path.with_name("config.json")
    if not described.is_file():
        return SCALE
    try:
        scale = float(
            json.loads(described.read_text(encoding="utf-8")).get("scaling_factor", SCALE)
        )
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(f"{described}: not a configuration; download it again") from None
    if not scale > 0:
        raise InputError(f"{described}: scaling_factor is {scale}; use one above 0")
    return scale


def _architecture(weights: dict[str, Tensor]) -> dict[str, Any]:
    pattern = re.compile(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight")
    shapes = {
        (int(match[1]), int(match[2])): value.shape[0]
        for name, value in weights.items()
        if (match := pattern.fullmatch(name))
    }
    if not shapes:
        raise KeyError("encoder.down_blocks.0.resnets.0.conv1.weight")
    return {
        "channels": [shapes[level, 0] for level in range(max(shapes)[0] + 1)],
        "blocks": max(block for _, block in shapes) + 1,
        "latent_channels": weights["post_quant_conv.weight"].shape[0],
    }


def _names(options: dict[str, Any], with_shortcuts: Any) -> Iterator[tuple[str, str]]:
    """Yield (name there, name here) of every tensor except `quant_conv`, in MONAI's order.

    A layer without parts is the SiLU, which has no weights.
    """
    levels, blocks = len(options["channels"]), options["blocks"]
    for half, side, count, scaler in (
        ("encoder", "down", blocks, ("downsamplers.0.conv", "conv.conv")),
        ("decoder", "up", blocks + 1, ("upsamplers.0.conv", "postconv.conv")),
    ):
        middle = [
            ("mid_block.resnets.0", RESNET),
            ("mid_block.attentions.0", ATTENTION),
            ("mid_block.resnets.1", RESNET),
        ]
        body: list[tuple[str, dict[str, str]]] = []
        for level in range(levels):
            for block in range(count):
                name = f"{side}_blocks.{level}.resnets.{block}"
                shortcut = f"{half}.{name}.conv_shortcut.weight" in with_shortcuts
                body.append((name, RESNET | SHORTCUT if shortcut else RESNET))
            if level + 1 < levels:
                body.append((f"{side}_blocks.{level}", {scaler[0]: scaler[1]}))
        inner = body + middle if half == "encoder" else middle + body
        layers: list[tuple[str, dict[str, str]]] = [("", {"conv_in": "conv"}), *inner]
        layers += [("", {"conv_norm_out": ""}), ("", {}), ("", {"conv_out": "conv"})]
        for index, (prefix, parts) in enumerate(layers):
            for there, here in parts.items():
                for kind in ("weight", "bias"):
                    old = ".".join(filter(None, (half, prefix, there, kind)))
                    yield old, ".".join(filter(None, (half, "blocks", str(index), here, kind)))
    for kind in ("weight", "bias"):
        yield f"post_quant_conv.{kind}", f"post_quant_conv.conv.{kind}"


def _quant(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split the joint convolution: its first half gives the mean, its second the log variance."""
    split = {}
    for kind in ("weight", "bias"):
        mean, log_variance = weights[f"quant_conv.{kind}"].chunk(2)
        split[f"quant_conv_mu.conv.{kind}"] = mean
        split[f"quant_conv_log_sigma.conv.{kind}"] = log_variance
    return split


def _to_grey(weights: dict[str, Tensor]) -> None:
    """Reduce colours to one channel, in place."""
    first = "encoder.blocks.0.conv.weight"
    weights[first] = weights[first].sum(1, keepdim=True)
    last = max(
        (name for name in weights if re.fullmatch(r"decoder\.blocks\.\d+\.conv\.weight", name)),
        key=lambda name: int(name.split(".")[2]),
    )
    for name in (last, last.replace("weight", "bias")):
        weights[name] = weights[name].mean(0, keepdim=True)


def _modern(name: str) -> str:
    """Rename attention of older files as in newer ones."""
    for old, new in OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return name
