"""Is an autoencoder's latent space one of healthy brains? Checks on held-out healthy subjects."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.cohorts.manifest import Scan
from brainuad.machine.files import atomic_path, write_json
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.tiles.cache import brain_tiles
from brainuad.volumes.tiling import Tiling

IN_USE_NATS = 0.01
"""Mean KL from which a latent dimension counts as used (Burda et al. 2016 use the like)."""

STEPS = 7
LEVELS = 32
MOST_SCANS = 50
"""At most so many scans make the mean image, and as many are checked."""


@torch.no_grad()
def check_latent(
    network: ContextVAE | UnifiedAutoencoder,
    cover: Callable[[Tensor, torch.Generator], Tensor],
    tiling: Tiling,
    train: Sequence[Scan],
    held_out: Sequence[Scan],
    out: Path,
    device: torch.device,
) -> None:
    """Write `latent.json` (errors, dimensions in use) and `latent.npz` (pictures) to `out`.

    Errors are mean absolute differences to the clean image in the brain, per subject, of three
    predictors: the reconstruction, the identity (what it was given) and the mean image of the
    training subjects at that level of the brain. They are given the clean image, where the
    identity is perfect by definition, and one with squares painted over, where it is not.

    Args:
        network: trained, in evaluation mode.
        cover: function that paints squares over tiles, drawn by the generator.
        tiling: tiling of the method.
        train: healthy training scans as the network sees them; unreadable scans are left out.
        held_out: healthy scans that were not trained on.
        out: run folder.
        device: device of the network.
    """
    mean_tiles = _mean_image(train[:MOST_SCANS], tiling)
    rows: dict[str, list[float]] = {}
    kls: list[Tensor] = []
    middles: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for tiles, masks in brain_tiles(held_out[:MOST_SCANS], tiling):
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
        return
    kl = torch.cat(kls).mean(0).numpy()
    pictures = {"kl": np.sort(kl)[::-1]}
    record = {
        "subjects": len(kls),
        "latent_dim": len(kl),
        "in_use": int((kl > IN_USE_NATS).sum()),
        "kl_nats": float(kl.sum()),
        "error": {name: float(np.mean(values)) for name, values in rows.items()},
    }
    if len(middles) > 1:
        ends = torch.stack(middles[:2])
        path = _interpolate(network, ends, device)
        steps = (path[1:] - path[:-1]).abs().flatten(1).mean(1)
        record["largest_step"] = float(steps.max() / steps.mean())
        pictures |= {"ends": _picture(ends), "path": _picture(path)}
    with atomic_path(out / "latent.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **pictures)
    write_json(out / "latent.json", record)


def _levels(count: int) -> Tensor:
    """Where in the brain the tiles of a scan are, 0 to LEVELS - 1."""
    return torch.linspace(0, LEVELS - 1, count).round().long()


def _mean_image(scans: Sequence[Scan], tiling: Tiling) -> Tensor:
    """`(LEVELS, C, *S)`: the training tiles' mean at each level; empty levels take the next."""
    total, count = torch.zeros(()), torch.zeros(LEVELS)
    for tiles, _ in brain_tiles(scans, tiling):
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
    """`(STEPS, C, *S)`: decoded on the straight line between the posterior means of two tiles."""
    mu, _ = _encode(network, ends, device)
    share = torch.linspace(0, 1, STEPS).reshape(-1, *[1] * (mu.ndim - 1))
    line = (1 - share) * mu[:1] + share * mu[1:]
    return network.decode(line.to(device)).cpu()


def _picture(tiles: Tensor) -> np.ndarray:
    """`(N, H, W)`: first channel; of volumes, the axial slice in the middle."""
    first = tiles[:, 0]
    return (first[..., first.shape[-1] // 2] if first.ndim == 4 else first).numpy()
