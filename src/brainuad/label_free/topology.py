"""Compare the shape of healthy data with that of their latent vectors, by persistent homology.

brainuad-report topology runs/vae/NAME
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.errors import InputError
from brainuad.label_free.run_model import model_of_run
from brainuad.machine.failures import Failures
from brainuad.machine.files import atomic_path, write_json
from brainuad.metrics.topology import (
    Shape,
    bottleneck,
    reduced,
    shape_of,
    spread_out,
    tearing,
)
from brainuad.tiles.cache import brain_tiles

MOST_TILES = 500
"""Largest number of tiles that the points are chosen from."""

BATCH = 32
"""Tiles per pass through the network."""

CLOUDS = ("data", "latent", "reconstruction")


def measure_topology(run: Path, device_name: str = "auto") -> Failures:
    """Compare healthy tiles of a run with their latent vectors and reconstructions.

    The tiles are of the healthy training and validation scans. It writes `RUN/topology.json`
    (pieces and loops of each cloud, distances and errors) and `RUN/topology.npz` (the bars).

    Args:
        run: run folder with `model.ckpt` and `config.yaml`.
        device_name: as `brainuad.model.device.device`.

    Returns:
        (subject, reason) of scans that could not be read.

    Raises:
        InputError: not such a folder, its cohort is gone, the method has no latent vectors, or the
            extra `topology` is not installed.
    """
    folder, model = model_of_run(run, device_name)
    assert folder.cohort is not None
    network = latent_network(model.method)
    if network is None:
        name = folder.method or "the method"
        raise InputError(f"{run}: {name} has no latent vectors; topology is for autoencoders")
    scans = [s for s in folder.cohort.scans if s.healthy and s.split in ("train", "val")]
    scans = [scan for scan in scans if scan.sequence == model.card.sequence]
    failures = Failures()
    seen = model.views(scans, failures)
    share = max(MOST_TILES // max(len(seen), 1), 1)
    parts = [_evenly(tiles, share) for tiles, _ in brain_tiles(seen, model.tiling)]
    if sum(map(len, parts)) < 3:
        raise InputError(f"{run}: the cohort lacks its healthy scans; bring them back")
    tiles = _evenly(torch.cat(parts), MOST_TILES)
    clouds = encoded(network, tiles, model.method.device)
    numbers, arrays = compare(*clouds)
    write_json(run / "topology.json", numbers)
    with atomic_path(run / "topology.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return failures


def latent_network(method: nn.Module) -> nn.Module | None:
    """Return the part of a method that encodes and decodes; None where it has none."""
    parts = (getattr(method, name, None) for name in ("network", "autoencoder", "first_stage"))
    both = (part for part in parts if hasattr(part, "encode") and hasattr(part, "decode"))
    return next(both, None)


@torch.no_grad()
def encoded(
    network: nn.Module, tiles: Tensor, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tiles, posterior means and reconstructions, each `(N, …)`.

    Args:
        network: autoencoder; `encode` returns the mean and a spread.
        tiles: `(N, C, *S)`.
        device: device of the network.
    """
    network.eval()
    latents, decoded = [], []
    for part in tiles.split(BATCH):
        mean = network.encode(part.to(device))[0]  # type: ignore[operator]
        latents.append(mean.cpu())
        decoded.append(network.decode(mean).cpu())  # type: ignore[operator]
    return tiles.numpy(), torch.cat(latents).numpy(), torch.cat(decoded).numpy()


def compare(
    data: np.ndarray, latent: np.ndarray, reconstruction: np.ndarray
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return numbers and bars of the three clouds, by name.

    Each is reduced and scaled by itself; all have the same points, those of the data that are
    farthest from one another.

    Args:
        data: `(N, …)`.
        latent: `(N, …)`, vectors of the same points.
        reconstruction: like `data`.

    Returns:
        `pieces/CLOUD`, `loops/CLOUD`, `outliers/CLOUD` and `strength/CLOUD` (longest loop in units
        of the longest that noise has), `distance/latent` and `distance/reconstruction` (bottleneck
        distance of the loops to those of the data), `torn` (mean error of the tenth of the points
        whose neighbours in the data lie farthest apart in the latent space, divided by that of all
        others), `points`; and the arrays `pieces/CLOUD`, `loops/CLOUD` and `limits`.
    """
    chosen = spread_out(reduced(data))
    errors = np.abs(reconstruction - data).reshape(len(data), -1).mean(axis=1)[chosen]
    clouds = [reduced(cloud[chosen]) for cloud in (data, latent, reconstruction)]
    shapes: dict[str, Shape] = dict(zip(CLOUDS, map(shape_of, clouds), strict=True))
    numbers: dict[str, float] = {"points": len(chosen)}
    arrays = {"limits": np.array([shape.limits for shape in shapes.values()])}
    for name, shape in shapes.items():
        numbers |= {f"pieces/{name}": shape.pieces, f"loops/{name}": shape.loops}
        numbers |= {f"outliers/{name}": shape.outliers, f"strength/{name}": shape.strength}
        arrays |= {f"pieces/{name}": shape.bars[0], f"loops/{name}": shape.bars[1]}
    for name in CLOUDS[1:]:
        numbers[f"distance/{name}"] = bottleneck(shapes["data"].bars[1], shapes[name].bars[1])
    torn = tearing(clouds[0], clouds[1])
    most = torn >= np.quantile(torn, 0.9)
    rest = errors[~most].mean() if (~most).any() else 0.0
    if rest > 0:
        numbers["torn"] = float(errors[most].mean() / rest)
    return numbers, arrays


def _evenly(tiles: Tensor, most: int) -> Tensor:
    """Return at most `most` of the tiles, in even steps."""
    if len(tiles) <= most:
        return tiles
    return tiles[torch.linspace(0, len(tiles) - 1, most).round().long()]
