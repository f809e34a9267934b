"""The training set: tiles of healthy scans in one memory-mapped array.

NIfTI files are unpacked once, when the cache is made; the training loop only reads pages.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import Dataset

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.places import grid_of_file, laid
from brainuad.errors import InputError
from brainuad.machine import files
from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.locks import lock
from brainuad.machine.read import read_json
from brainuad.records.fields import from_plain
from brainuad.tiles.augment import Augmentation
from brainuad.types import Batch
from brainuad.volumes.grids import EXACT, Grid
from brainuad.volumes.tiling import SliceTiling, Tiling

VERSION = 2
"""Version of the cache: caches of another version are made again."""

Key = tuple[int, int]
"""Epoch and index, on which a sample depends besides the seed."""


@dataclass(frozen=True)
class TileMeta:
    """`meta.json` of a folder of tiles.

    Attributes:
        shape: `(N, C, *S)` of the images.
        dtype: type of their values.
        per_scan: number of tiles per scan, in the order of the tiles.
        failures: subject and reason of each scan that could not be read.
    """

    shape: tuple[int, ...]
    dtype: str
    per_scan: tuple[int, ...]
    failures: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "TileMeta":
        """Read the file of a folder.

        Raises:
            InputError: missing or damaged.
        """
        path = folder / "meta.json"
        return from_plain(cls, read_json(path, f"delete {folder}"), str(path))


class TileDataset(Dataset):
    """Tiles of scans, augmented by a generator that depends on (seed, epoch, index) only.

    So the number of workers and an interruption change nothing.

    Args:
        folder: made by `build_cache`.
        augment: augmentation of the tiles; None for none.
        seed: random seed of the augmentation.
    """

    def __init__(self, folder: Path, augment: Augmentation | None = None, seed: int = 0) -> None:
        meta = TileMeta.read(folder)
        self.folder = folder
        self.images = np.memmap(folder / "images.bin", meta.dtype, "r", shape=meta.shape)
        one_channel = (meta.shape[0], 1, *meta.shape[2:])
        self.brain_masks = np.memmap(folder / "masks.bin", bool, "r", shape=one_channel)
        self.augment = augment
        self.seed = seed
        self.per_scan = list(meta.per_scan)
        """Number of tiles per scan, in the order of the tiles."""

    @property
    def places(self) -> np.ndarray:
        """Place of each tile in its scan, `(N, k)` int, in the units of `Tiling.split`."""
        return np.load(self.folder / "places.npy")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> Batch:
        """Return one sample without batch axis: image `(C, *S)` float32, brain mask `(1, *S)`."""
        epoch, index = key
        image = torch.from_numpy(self.images[index].astype(np.float32))
        brain_mask = torch.from_numpy(np.array(self.brain_masks[index]))
        if self.augment is not None:
            seed = np.random.SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(seed[0] >> 1))
            image, brain_mask = self.augment(image, brain_mask, generator)
        return Batch(image, brain_mask)


def build_cache(
    scans: Sequence[Scan],
    tiling: Tiling,
    root: Path,
    min_brain_fraction: float = 0.05,
    heights: Sequence[float] | None = None,
    dtype: str = "float16",
    grid: Grid | None = None,
) -> tuple[Path, Failures]:
    """Cut scans into tiles and store those with brain; a second call finds them by content.

    Args:
        scans: scans of one sequence, or with the same channels.
        tiling: how to cut.
        root: folder of all caches; this one's name is the hash of what it was made from.
        min_brain_fraction: smallest share of brain in a tile that is kept; tiles without brain are
            useless and break maximum normalisation. 0 keeps empty tiles, too.
        heights: range of axial slices that are kept, see `within_heights`; None for all.
        dtype: data type on disk; float16 resolves 1/2048 of the intensity range.
        grid: grid to which scans on other ones are resampled before they are cut, see
            `brainuad.cohorts.places`; None for each scan's own.

    Returns:
        The folder with `images.bin (N, C, *S)`, `masks.bin (N, 1, *S)`, `places.npy (N, k)` and
        `meta.json`, and the scans that could not be read, with the reason.

    Raises:
        InputError: no tile was left, the tiles of the scans differ in shape, or `heights` is no
            range, or one of tiles that are not axial slices.
    """
    if heights is not None:
        _check_heights(heights, tiling)
    if grid is not None and not any(_is_away(scan, grid) for scan in scans):
        # All scans are on it and are cut without resampling.
        grid = None
    paths = [path for scan in scans for path in (*scan.seen, scan.brain_mask)]
    folder = root / fingerprint(VERSION, paths, tiling, min_brain_fraction, heights, dtype, grid)
    with lock(folder):
        if not folder.is_dir():
            with files.atomic_folder(folder) as temporary:
                _fill_cache(scans, tiling, temporary, min_brain_fraction, heights, dtype, grid)
    return folder, Failures(TileMeta.read(folder).failures)


def _fill_cache(
    scans: Sequence[Scan],
    tiling: Tiling,
    folder: Path,
    min_brain_fraction: float,
    heights: Sequence[float] | None,
    dtype: str,
    grid: Grid | None,
) -> None:
    """Append one scan after the other, so that memory holds one at a time."""
    shapes: list[tuple[int, ...]] = []
    failures = Failures()
    places: list[np.ndarray] = []
    with (folder / "images.bin").open("wb") as images, (folder / "masks.bin").open("wb") as masks:
        shown = track(scans, description="caching tiles", transient=True)
        for image, brain_mask in _readable(shown, grid, failures):
            tiles, locations = tiling.split(image)
            tile_masks = tiling.split(brain_mask.to(torch.uint8))[0] > 0
            kept = tile_masks.flatten(1).float().mean(1) >= min_brain_fraction
            if heights is not None:
                kept &= within_heights(brain_mask, heights)[locations[:, 0]]
            images.write(tiles[kept].numpy().astype(dtype).tobytes())
            masks.write(tile_masks[kept].numpy().tobytes())
            shapes.append(tuple(tiles[kept].shape))
            places.append(locations[kept].numpy())
    per_scan = [shape[0] for shape in shapes]
    count = sum(per_scan)
    if count == 0:
        reason = failures[0][1] if failures else "no tile holds enough brain"
        raise InputError(f"{scans[0].image.parent}: no training tile could be made ({reason})")
    if len({shape[1:] for shape in shapes}) > 1:
        raise InputError(
            f"{scans[0].image.parent}: the scans have different grids, which tiling=volume cannot "
            "batch; prepare them on one grid or use tiling=axial"
        )
    meta = TileMeta((count, *shapes[0][1:]), dtype, tuple(per_scan), tuple(failures))
    np.save(folder / "places.npy", np.concatenate(places))
    files.write_json(folder / "meta.json", asdict(meta))


def _is_away(scan: Scan, grid: Grid) -> bool:
    own = grid_of_file(scan.image)
    return own is not None and own.apart(grid) > EXACT


def _readable(
    scans: Iterable[Scan], grid: Grid | None, failures: Failures
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for scan in scans:
        with failures.catching(scan.subject):
            yield _loaded(scan, grid)


def _loaded(scan: Scan, grid: Grid | None) -> tuple[torch.Tensor, torch.Tensor]:
    image, brain_mask = load_scan(scan)
    own = None if grid is None else grid_of_file(scan.image)
    if grid is None or own is None or own.apart(grid) <= EXACT:
        return image, brain_mask
    try:
        return laid(image, brain_mask, own.affine, grid)
    except InputError as error:
        raise InputError(f"{scan.image}: {error}") from None


def within_heights(brain_mask: torch.Tensor, heights: Sequence[float]) -> torch.Tensor:
    """Return the axial slices whose middle lies in a range of the brain's height, `(W,)` bool.

    Args:
        brain_mask: `(1, D, H, W)` bool, W from the feet to the head, not empty.
        heights: range of heights, 0 at the lower face of the lowest slice with brain, 1 at the
            upper face of the highest one; both ends belong to it.
    """
    filled = brain_mask.flatten(0, 2).any(0).nonzero()[:, 0]
    lowest, highest = filled[0], filled[-1]
    middle = torch.arange(brain_mask.shape[-1]) + 0.5
    share = (middle - lowest) / (highest + 1 - lowest)
    return (share >= heights[0]) & (share <= heights[1])


def _check_heights(heights: Sequence[float], tiling: Tiling) -> None:
    if len(heights) != 2 or not 0 <= heights[0] < heights[1] <= 1:
        raise InputError(
            f"datamodule.heights is {list(heights)}; give the lower and the upper end as shares of "
            "the brain's height, [0.1,0.9]"
        )
    if not isinstance(tiling, SliceTiling) or tiling.plane != "axial":
        raise InputError(
            "datamodule.heights is a range of axial slices; set datamodule.heights=null or "
            "tiling=axial"
        )


def brain_tiles(
    scans: Iterable[Scan], tiling: Tiling, min_brain_fraction: float = 0.05
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield tiles `(N, C, *S)` with enough brain and their masks `(N, 1, *S)`, scan by scan.

    Unreadable scans, and scans without such a tile, are left out.
    """
    for scan in scans:
        try:
            image, brain_mask = load_scan(scan)
        except InputError:
            continue
        tiles = tiling.split(image)[0]
        masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
        kept = masks.flatten(1).float().mean(1) >= min_brain_fraction
        if kept.any():
            yield tiles[kept], masks[kept]
