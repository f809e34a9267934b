"""Random weights in the layout of public autoencoders."""

import torch

CHANNELS, BLOCKS, LATENT = (32, 64), 2, 4


def public_weights(colours=3, old_attention=False):
    """Random weights under the public names (diffusers' `AutoencoderKL`)."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def conv(name, before, after, size):
        shape = (after, before, size, size) if size else (after, before)
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.1
        weights[f"{name}.bias"] = torch.randn(after, generator=generator) * 0.1

    def norm(name, width):
        weights[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    def resnet(name, before, after):
        norm(f"{name}.norm1", before)
        conv(f"{name}.conv1", before, after, 3)
        norm(f"{name}.norm2", after)
        conv(f"{name}.conv2", after, after, 3)
        if before != after:
            conv(f"{name}.conv_shortcut", before, after, 1)

    last = CHANNELS[-1]
    for half, side, order, blocks in (
        ("encoder", "down", CHANNELS, BLOCKS),
        ("decoder", "up", CHANNELS[::-1], BLOCKS + 1),
    ):
        before = order[0]
        conv(f"{half}.conv_in", colours if half == "encoder" else LATENT, before, 3)
        for level, after in enumerate(order):
            for block in range(blocks):
                resnet(f"{half}.{side}_blocks.{level}.resnets.{block}", before, after)
                before = after
            if level == 0:
                conv(f"{half}.{side}_blocks.0.{side}samplers.0.conv", before, before, 3)
        resnet(f"{half}.mid_block.resnets.0", last, last)
        resnet(f"{half}.mid_block.resnets.1", last, last)
        norm(f"{half}.mid_block.attentions.0.group_norm", last)
        names = ("query", "key", "value", "proj_attn") if old_attention else None
        for name in names or ("to_q", "to_k", "to_v", "to_out.0"):
            conv(f"{half}.mid_block.attentions.0.{name}", last, last, int(old_attention))
        norm(f"{half}.conv_norm_out", order[-1])
        conv(f"{half}.conv_out", order[-1], 2 * LATENT if half == "encoder" else colours, 3)
    conv("quant_conv", 2 * LATENT, 2 * LATENT, 1)
    conv("post_quant_conv", LATENT, LATENT, 1)
    return weights
