"""Training set of latent methods: every tile encoded once, in one memory-mapped array."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from brainuad.machine import files
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.locks import lock
from brainuad.machine.read import read_json
from brainuad.tiles.cache import Key, TileDataset

BATCH = 64


class Latents(NamedTuple):
    """Input of a latent method's training.

    Attributes:
        mean: `(B, c, h, w)` of the posterior, scaled to unit size.
        std: the same, its standard deviation.
        brain_share: `(B, 1, h, w)` share of brain in each cell, in [0, 1].
    """

    mean: Tensor
    std: Tensor
    brain_share: Tensor


class LatentDataset(Dataset[Latents]):
    """Encoded tiles; epoch e reads copy e modulo the number of copies.

    Args:
        folder: made by `build_latents`.
    """

    def __init__(self, folder: Path) -> None:
        shape = read_json(folder / "meta.json", f"delete {folder}")["shape"]
        self.values = np.memmap(folder / "latents.bin", np.float16, "r", shape=tuple(shape))

    def __len__(self) -> int:
        return self.values.shape[1]

    def __getitem__(self, key: Key) -> Latents:
        """Return one sample without the batch axis, float32."""
        epoch, index = key
        sample = self.values[epoch % len(self.values), index].astype(np.float32)
        channels = (len(sample) - 1) // 2
        return Latents(*torch.from_numpy(sample).split([channels, channels, 1]))


def build_latents(
    tiles: TileDataset, encode: Callable[..., Latents], key: str, root: Path, copies: int
) -> LatentDataset:
    """Encode tiles once, in half precision; a second call finds them by content.

    Args:
        tiles: tiles to encode, augmented as in epochs 0 to `copies` - 1.
        encode: maps a batch of images and brain masks to latents.
        key: identifies `encode`, such as the hash of its weights.
        root: folder of all such caches.
        copies: number of augmented copies per tile; 1 where there is no augmentation.

    Returns:
        The encoded tiles. With as many copies as epochs they equal encoding on the fly, except for
        half precision.
    """
    seed: int | None = tiles.seed
    if tiles.augment is None:
        copies, seed = 1, None
    folder = root / fingerprint(tiles.folder.name, tiles.augment, seed, copies, key)
    with lock(folder):
        if not folder.is_dir():
            with files.atomic_folder(folder) as temporary:
                _fill(tiles, encode, temporary, copies)
    return LatentDataset(folder)


def _fill(tiles: TileDataset, encode: Callable[..., Latents], folder: Path, copies: int) -> None:
    keys = [(copy, index) for copy in range(copies) for index in range(len(tiles))]
    shape: list[int] = []
    with (folder / "latents.bin").open("wb") as file:
        for start in track(
            range(0, len(keys), BATCH), description="encoding tiles", transient=True
        ):
            samples = [tiles[key] for key in keys[start : start + BATCH]]
            images, masks = (torch.stack(part) for part in zip(*samples, strict=True))
            latents = torch.cat(encode(images, masks), dim=1).cpu().numpy().astype(np.float16)
            file.write(latents.tobytes())
            shape = [copies, len(tiles), *latents.shape[1:]]
    files.write_json(folder / "meta.json", {"shape": shape})
