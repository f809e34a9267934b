"""Check on held-out healthy subjects whether a latent space represents healthy brains."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.types import Batch

IN_USE_NATS = 0.01
"""Smallest mean KL of a used latent dimension (similar to Burda et al. 2016)."""

STEPS = 7
LEVELS = 32
MOST_SCANS = 50
"""Largest number of scans for the mean image, and of scans that are checked."""


@torch.no_grad()
def check_latent(
    network: ContextVAE | UnifiedAutoencoder,
    cover: Callable[[Tensor, torch.Generator], Tensor],
    train: Iterable[Batch],
    held_out: Iterable[Batch],
    device: torch.device,
) -> dict[str, Any]:
    """Return errors, dimensions in use and arrays of pictures by name.

    Errors are mean absolute differences to the clean image in the brain, per subject, of three
    predictors: the reconstruction, the identity (what it was given) and the mean image of the
    training subjects at that level of the brain. They are given the clean image, where the
    identity is perfect by definition, and one with squares painted over, where it is not.

    Args:
        network: trained, in evaluation mode.
        cover: function that paints squares over tiles, drawn by the generator.
        train: tiles of each healthy training scan, as the network sees them.
        held_out: tiles of healthy scans that were not trained on.
        device: device of the network.

    Returns:
        Numbers, and the arrays `kl`, `ends` and `path`; empty without a held-out scan.
    """
    mean_tiles = _mean_image(islice(train, MOST_SCANS))
    rows: dict[str, list[float]] = {}
    kls: list[Tensor] = []
    middles: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for tiles, masks in islice(held_out, MOST_SCANS):
        levels = _levels(len(tiles))
        painted = cover(tiles, generator)
        predicted = {
            "clean": {"identity": tiles, "reconstruction": _reconstruct(network, tiles, device)},
            "painted": {
                "identity": painted,
                "reconstruction": _reconstruct(network, painted, device),
            },
        }
        for given, found in predicted.items():
            for name, image in (*found.items(), ("mean_image", mean_tiles[levels])):
                error = (image - tiles).abs()[masks.expand_as(tiles)].mean()
                rows.setdefault(f"{given}/{name}", []).append(float(error))
        mu, log_sigma = _encode(network, tiles, device)
        kls.append(gaussian_kl(mu, log_sigma).flatten(1))
        middles.append(tiles[len(tiles) // 2])
    if not kls:
        return {}
    kl = torch.cat(kls).mean(0).numpy()
    checks: dict[str, Any] = {
        "subjects": len(kls),
        "latent_dim": len(kl),
        "in_use": int((kl > IN_USE_NATS).sum()),
        "kl_nats": float(kl.sum()),
        "kl": np.sort(kl)[::-1],
        **{f"error/{name}": float(np.mean(values)) for name, values in rows.items()},
    }
    if len(middles) > 1:
        ends = torch.stack(middles[:2])
        path = _interpolate(network, ends, device)
        steps = (path[1:] - path[:-1]).abs().flatten(1).mean(1)
        checks["largest_step"] = float(steps.max() / steps.mean())
        checks |= {"ends": _picture(ends), "path": _picture(path)}
    return checks


def _levels(count: int) -> Tensor:
    """Return the level in the brain of each tile of a scan, 0 to LEVELS - 1."""
    return torch.linspace(0, LEVELS - 1, count).round().long()


def _mean_image(scans: Iterable[Batch]) -> Tensor:
    """Return the mean of the tiles at each level, `(LEVELS, C, *S)`; empty ones use the next."""
    total, count = torch.zeros(()), torch.zeros(LEVELS)
    for tiles, _ in scans:
        levels = _levels(len(tiles))
        if total.ndim == 0:
            total = torch.zeros(LEVELS, *tiles.shape[1:])
        total.index_add_(0, levels, tiles)
        count.index_add_(0, levels, torch.ones(len(levels)))
    filled = count.nonzero()[:, 0]
    nearest = (torch.arange(LEVELS)[:, None] - filled).abs().argmin(1)
    mean = total[filled] / count[filled].reshape(-1, *[1] * (total.ndim - 1))
    return mean[nearest]


def _encode(
    network: ContextVAE | UnifiedAutoencoder, tiles: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    parts = [network.encode(t.to(device)) for t in tiles.split(32)]
    mu, log_sigma = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return mu, log_sigma


def _reconstruct(network: nn.Module, tiles: Tensor, device: torch.device) -> Tensor:
    return torch.cat([network(t.to(device)).cpu() for t in tiles.split(32)])


def _interpolate(
    network: ContextVAE | UnifiedAutoencoder, ends: Tensor, device: torch.device
) -> Tensor:
    """Decode the straight line between the posterior means of two tiles, `(STEPS, C, *S)`."""
    mu, _ = _encode(network, ends, device)
    share = torch.linspace(0, 1, STEPS).reshape(-1, *[1] * (mu.ndim - 1))
    line = (1 - share) * mu[:1] + share * mu[1:]
    return network.decode(line.to(device)).cpu()


def _picture(tiles: Tensor) -> np.ndarray:
    """Return the first channel, `(N, H, W)`; of volumes the middle axial slice."""
    first = tiles[:, 0]
    return (first[..., first.shape[-1] // 2] if first.ndim == 4 else first).numpy()
