"""DINOv2's vision transformer as a frozen encoder, with public weights from a safetensors file.

Oquab et al., "DINOv2", 2023 (arXiv 2304.07193); with registers, Darcet et al. 2023 (arXiv
2309.16588). `experiment=inp_former_paper model.first_stage=PATH.safetensors` takes its weights in
place of an encoder trained on the cohort. The file has the names of the released checkpoints
(facebookresearch/dinov2): `patch_embed.proj`, `cls_token`, `register_tokens`, `pos_embed` and
`blocks.N.*` with `norm1`, `attn.qkv`, `attn.proj`, `ls1.gamma`, `norm2`, `mlp.fc1`, `mlp.fc2` and
`ls2.gamma`. Its last normalisation and its mask token are not used. Released checkpoints are `.pth`
files; `safetensors.torch.save_file(torch.load(PATH, weights_only=True), NEW)` converts one.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, by which its inputs are standardised."""

HEAD = 64
"""Numbers of each head in all released sizes."""

MARK = "patch_embed.proj.weight"
"""Name by which a file of this layout is recognised."""

_EPS = 1e-6  # of the layer normalisations, as released


class DinoV2(nn.Module):
    """Encoder of grey slices: `features(image, layers)`, as a first stage needs it.

    Args:
        width: numbers for each token; 384, 768 or 1024 in the released sizes.
        blocks: number of blocks.
        patch: side of a token in pixels.
        registers: number of register tokens; 0 or 4.
        grid: side of the grid of learned positions; 37 as released.
        pixels: pixels of a slice for each token; the slice is enlarged by patch / pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int = 768,
        blocks: int = 12,
        patch: int = 14,
        registers: int = 4,
        grid: int = 37,
        pixels: int = 8,
    ) -> None:
        super().__init__()
        self.patch, self.pixels, self.grid, self.registers = patch, pixels, grid, registers
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid**2 + 1, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def features(self, image: Tensor, layers: int | None = None) -> list[Tensor]:
        """Return the tokens after the first blocks, each `(B, width, H / pixels, W / pixels)`.

        Args:
            image: `(B, 1, H, W)` in [0, 1].
            layers: number of blocks, from the first; None for all.

        Raises:
            InputError: the image has several channels.
        """
        if image.shape[1] != 1:
            raise InputError(
                f"DINOv2 takes one sequence, data.sequence names {image.shape[1]}; name one"
            )
        cells = [side // self.pixels for side in image.shape[2:]]
        large = F.interpolate(image, [self.patch * side for side in cells], mode="bilinear")
        x = cast(Tensor, self.patch_embed["proj"]((large - self.mean) / self.std))
        tokens = x.flatten(2).transpose(1, 2) + self._positions(cells)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        others = [self.register_tokens.expand(len(x), -1, -1)] if self.registers else []
        tokens = torch.cat([first, *others, tokens], 1)
        found = []
        for block in self.blocks[:layers]:
            tokens = block(tokens)
            found.append(tokens[:, 1 + self.registers :].transpose(1, 2).unflatten(2, cells))
        return found

    def _positions(self, cells: Sequence[int]) -> Tensor:
        """Return the learned positions resized to a grid, `(1, N, width)`."""
        square = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        if list(cells) != [self.grid, self.grid]:
            square = F.interpolate(square, list(cells), mode="bicubic", antialias=True)
        return square.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Self-attention and perceptron, each with a learned factor (LayerScale)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.ls1 = nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))})
        self.norm2 = nn.LayerNorm(width, _EPS)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.ls2 = nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))})

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, N, width)` of the same shape."""
        parts = self.attn["qkv"](self.norm1(x)).unflatten(-1, (3, -1, HEAD))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.attn["proj"](attended) * self.ls1["gamma"]
        hidden = F.gelu(self.mlp["fc1"](self.norm2(x)))
        return cast(Tensor, x + self.mlp["fc2"](hidden) * self.ls2["gamma"])


def is_dinov2(path: Path) -> bool:
    """Return whether a safetensors file has DINOv2's layout; no tensor is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return MARK in file.keys()  # noqa: SIM118, because the file is no dictionary
    except (SafetensorError, OSError, ValueError):
        return False


def read_dinov2(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the arguments of `DinoV2`, derived from the shapes, and its weights.

    Args:
        path: `.safetensors` file in the layout above, which holds only tensors.

    Raises:
        InputError: weights are missing or of another shape.
    """
    from safetensors.torch import load_file

    weights = load_file(path)
    numbers = [int(m[1]) for name in weights if (m := re.match(r"blocks\.(\d+)\.", name))]
    try:
        options = {
            "width": weights["cls_token"].shape[-1],
            "blocks": max(numbers, default=-1) + 1,
            "patch": weights[MARK].shape[-1],
            "registers": weights["register_tokens"].shape[1] if "register_tokens" in weights else 0,
            "grid": round((weights["pos_embed"].shape[1] - 1) ** 0.5),
        }
    except KeyError as error:
        raise InputError(f"{path}: has no {error.args[0]}; {_WANTED}") from None
    with torch.device("meta"):
        expected = {name: value.shape for name, value in DinoV2(**options).state_dict().items()}
    for name, shape in expected.items():
        if name not in weights or weights[name].shape != shape:
            raise InputError(f"{path}: has no {name} of the shape {tuple(shape)}; {_WANTED}")
    return options, {name: weights[name].float() for name in expected}


_WANTED = "give a DINOv2 of facebookresearch/dinov2 with ViT-S, B or L as safetensors"
