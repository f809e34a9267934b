"""SQUID's network: patches rebuilt from memories of healthy patches at the same place.

Xiang et al., "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection", CVPR 2023 (arXiv
2111.13495); released code tiangexiang/SQUID, `models/squid.py`, `models/inpaint.py` and
`models/basic_modules.py`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.errors import InputError
from brainuad.networks.memory import MemoryMatrix, MemoryQueue, cut, joined, masked_shortcut


class Rebuilt(NamedTuple):
    """Images of both decoders, `(B, C, H, W)` in [0, 1], and what the loss needs besides.

    Attributes:
        student: by the decoder behind the memories.
        teacher: by the decoder without memories.
        distance: sum over levels of the mean squared difference between the decoders' features.
        features: what the queue may store, `(B, places, D)`.
    """

    student: Tensor
    teacher: Tensor
    distance: Tensor
    features: Tensor


class Squid(nn.Module):
    """Autoencoder of patches with a block between encoder and decoder that in-paints features.

    Args:
        size: height and width of the images.
        channels: channels of the images.
        widths: channels of the input's level and of each halving; 32, 64, 128, 256, 512 in the
            code.
        patches: patches along each axis.
        whole_from: level, counted from the input's, from which the decoder works on the whole image
            in place of its patches; 2 of 4 in the code.
        skips: number of the deepest levels of the decoder that see the encoder's features, each
            before a memory matrix; 2 in the code.
        slots: entries of each queue.
        matrix_slots: entries of each memory matrix.
        k: entries that count, see `gumbel_shrinkage`.
        sharpness: as in `recall`; None as in the code.
        shortcut: share of the sites that keep their own feature in training.
        heads: heads of the attention; they divide the numbers of an entry.
        dropout: dropout of the block's perceptron.
        squares: side of the squares of pixels that become channels before the network; 1 for none.

    Raises:
        InputError: the size cannot be cut and halved so often.
        ValueError: a memory matrix would follow a level of whole images.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        patches: int = 2,
        whole_from: int = 1,
        skips: int = 1,
        slots: int = 200,
        matrix_slots: int = 200,
        k: int = 5,
        sharpness: float | None = None,
        shortcut: float = 0.05,
        heads: int = 8,
        dropout: float = 0.0,
        squares: int = 1,
    ) -> None:
        super().__init__()
        levels = len(widths) - 1
        unit = squares * patches * 2**levels
        if any(side % unit for side in size):
            raise InputError(
                f"slices of {' x '.join(map(str, size))} pixels cannot be cut into {patches} x "
                f"{patches} patches and halved {levels} times; make data.slice_size a multiple of "
                f"{unit}"
            )
        if skips > levels - whole_from:
            raise ValueError(
                f"skips is {skips}, but only {levels - whole_from} levels of the decoder work on "
                "patches; use fewer skips or a smaller whole_from"
            )
        small = (size[0] // unit, size[1] // unit)
        self.patches, self.whole_from, self.squares = patches, whole_from, squares
        self.first = Convolutions(channels * squares**2, widths[0])
        self.down = nn.ModuleList(
            Convolutions(widths[i], widths[i + 1], stride=2) for i in range(levels)
        )
        self.inpaint = InpaintBlock(
            widths[-1], small, patches, slots, k, sharpness, shortcut, heads, dropout
        )
        self.student = Decoder(widths, skips, channels * squares**2)
        self.teacher = Decoder(widths, skips, channels * squares**2)
        # Their maps are of patches, each in quarters, as in the code.
        self.matrices = nn.ModuleList(
            MemoryMatrix(
                matrix_slots,
                widths[levels - 1 - i],
                (small[0] * 2 ** (i + 1), small[1] * 2 ** (i + 1)),
                k,
                sharpness,
                shortcut,
            )
            for i in range(skips)
        )

    def forward(self, image: Tensor) -> Rebuilt:
        """Rebuild images `(B, C, H, W)` in [0, 1]."""
        x = cut(F.pixel_unshuffle(image, self.squares), self.patches)
        x = self.first(x)
        before = []
        for down in self.down:
            before.append(x)
            x = down(x)
        own = x.detach()
        x, features = self.inpaint(x)
        distances = []
        levels = len(self.down)
        for i, encoded in enumerate(reversed(before)):
            if levels - i == self.whole_from:
                x, own = joined(x, self.patches), joined(own, self.patches)
            whole = levels - i <= self.whole_from
            skip = joined(encoded, self.patches) if whole else encoded
            x = self.student.up(i, x, skip)
            if i < len(self.matrices):
                x = self.matrices[i](x)
            own = self.teacher.up(i, own, skip.detach())
            distances.append(F.mse_loss(x, own))
        images = [
            F.pixel_shuffle(decoder.image(level), self.squares)
            for decoder, level in ((self.student, x), (self.teacher, own))
        ]
        return Rebuilt(images[0], images[1], torch.stack(distances).sum(), features)

    def store(self, features: Tensor) -> None:
        """Store features of healthy patches `(B, places, D)` in the queue."""
        self.inpaint.queue.store(features)


class InpaintBlock(nn.Module):
    """Replaces the feature of a patch by its memory and the memories of the eight around it.

    Query of the attention is the patch's own feature, keys and values are the recalled features of
    its neighbours; patches beyond the border count with zeros, as in the code.
    """

    code: Tensor

    def __init__(
        self,
        width: int,
        size: tuple[int, int],
        patches: int,
        slots: int,
        k: int,
        sharpness: float | None,
        shortcut: float,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patches, self.shortcut = patches, shortcut
        places, narrow = patches**2, width // 4
        length = narrow * size[0] * size[1]
        self.narrow = nn.Sequential(
            nn.Conv2d(width, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.queue = MemoryQueue(places, slots, length, k, sharpness)
        self.attention = nn.MultiheadAttention(length, heads, batch_first=True)
        self.norm = nn.LayerNorm(length)
        self.mlp = nn.Sequential(
            nn.Linear(length, length // 4),
            nn.Dropout(dropout),
            nn.ReLU(),
            nn.Linear(length // 4, length),
            nn.Dropout(dropout),
        )
        self.norm_mlp = nn.LayerNorm(length)
        code = place_bits(places)
        self.register_buffer("code", code, persistent=False)
        self.widen = nn.Sequential(
            nn.Conv2d(narrow + code.shape[1], width, 1), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return in-painted `(B places, C, h, w)`, and the features that may be stored."""
        places = self.patches**2
        narrow = self.narrow(x)
        own = narrow.flatten(1).unflatten(0, (-1, places))
        recalled = self.queue(own)
        queries = own.flatten(0, 1)[:, None]
        around = neighbours(recalled, self.patches)
        attended = self.attention(queries, around, around, need_weights=False)[0][:, 0]
        flat = recalled.flatten(0, 1)
        flat = (self.norm(attended) + flat).relu()
        flat = (self.norm_mlp(self.mlp(flat)) + flat).relu()
        found = flat.view_as(narrow)
        code = self.code.repeat(len(x) // places, 1)[:, :, None, None]
        code = code.expand(-1, -1, *found.shape[2:]).to(found.dtype)
        found = self.widen(torch.cat([found, code], 1))
        return masked_shortcut(found, x, self.shortcut, self.training), own


class Decoder(nn.Module):
    """Levels of a decoder, and the last convolution."""

    def __init__(self, widths: Sequence[int], skips: int, channels: int) -> None:
        super().__init__()
        levels = len(widths) - 1
        self.skips = skips
        self.blocks = nn.ModuleList(
            Convolutions(
                widths[levels - i] + (widths[levels - 1 - i] if i < skips else 0),
                widths[levels - 1 - i],
            )
            for i in range(levels)
        )
        self.last = nn.Conv2d(widths[0], channels, 1)

    def up(self, level: int, x: Tensor, skip: Tensor) -> Tensor:
        """Double `x` to the size of `skip`, which one of the deepest levels also sees."""
        x = F.interpolate(x, skip.shape[2:], mode="bilinear")
        if level < self.skips:
            x = torch.cat([skip, x], 1)
        return cast(Tensor, self.blocks[level](x))

    def image(self, x: Tensor) -> Tensor:
        """Return the image in [0, 1]."""
        return cast(Tensor, self.last(x).sigmoid())


class Convolutions(nn.Module):
    """Three convolutions, the last two beside a shortcut (`double_conv`)."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(out, out, 3, padding=1),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, out, H / stride, W / stride)`."""
        x = self.first(x)
        return cast(Tensor, (self.second(x) + x).relu())


def neighbours(recalled: Tensor, patches: int) -> Tensor:
    """Return the features of the eight patches around each, `(B places, 8, D)`, row by row.

    Args:
        recalled: `(B, places, D)` of patches x patches places.
        patches: patches along each axis.
    """
    grid = recalled.transpose(1, 2).unflatten(2, (patches, patches))
    windows = F.unfold(grid, 3, padding=1).unflatten(1, (-1, 9))  # (B, D, 9, places)
    around = windows[:, :, [0, 1, 2, 3, 5, 6, 7, 8]]
    return around.permute(0, 3, 2, 1).flatten(0, 1)


def place_bits(places: int) -> Tensor:
    """Return each place's number in binary digits, `(places, floor(log2 places) + 1)`."""
    bits = int(math.log2(places)) + 1
    numbers = torch.arange(places)[:, None]
    return ((numbers >> torch.arange(bits - 1, -1, -1)) & 1).float()
