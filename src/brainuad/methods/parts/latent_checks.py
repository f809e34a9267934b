"""Is an autoencoder's latent space one of healthy brains? Checks on held-out healthy subjects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.manifest import Scan
from brainuad.machine.files import atomic_path, write_json
from brainuad.networks.context_vae import gaussian_kl
from brainuad.synthetic.lesions.boxes import draw_boxes, paint_boxes
from brainuad.tiles.cache import brain_tiles
from brainuad.volumes.tiling import Tiling

if TYPE_CHECKING:
    from brainuad.methods.strega import StRegA

IN_USE_NATS = 0.01
"""Mean KL from which a latent dimension counts as used (Burda et al. 2016 use the like)."""

STEPS = 7
LEVELS = 32
MOST_SCANS = 50
"""At most so many scans make the mean image, and as many are checked."""


@torch.no_grad()
def check_latent(
    detector: "StRegA", tiling: Tiling, train: Sequence[Scan], held_out: Sequence[Scan], out: Path
) -> None:
    """Writes `latent.json` (errors, dimensions in use) and `latent.npz` (pictures) to `out`.

    Errors are mean absolute differences to the clean image in the brain, per subject, of three
    predictors: the reconstruction, the identity (what it was given) and the mean image of the
    training subjects at that level of the brain. They are given the clean image, where the
    identity is perfect by definition, and one with squares painted over, where it is not.

    Args:
        detector: trained.
        tiling: of the detector.
        train: healthy scans as the detector sees them; a scan that cannot be read is left out.
        held_out: healthy scans that it was not trained on.
        out: run folder.
    """
    mean_tiles = _mean_image(train[:MOST_SCANS], tiling)
    rows: dict[str, list[float]] = {}
    kls: list[Tensor] = []
    middles: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    detector.eval()
    for tiles, masks in brain_tiles(held_out[:MOST_SCANS], tiling):
        levels = _levels(len(tiles))
        painted = paint_boxes(
            tiles, *draw_boxes(tiles, detector.max_squares, detector.max_side, generator)
        )
        predicted = {
            "clean": {"identity": tiles, "reconstruction": _reconstruct(detector, tiles)},
            "painted": {"identity": painted, "reconstruction": _reconstruct(detector, painted)},
        }
        for given, found in predicted.items():
            for name, image in (*found.items(), ("mean_image", mean_tiles[levels])):
                error = (image - tiles).abs()[masks.expand_as(tiles)].mean()
                rows.setdefault(f"{given}/{name}", []).append(float(error))
        mu, log_sigma = _encode(detector, tiles)
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
        path = _interpolate(detector, ends)
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


def _encode(detector: "StRegA", tiles: Tensor) -> tuple[Tensor, Tensor]:
    parts = [detector.network.encode(t.to(detector.device)) for t in tiles.split(32)]
    mu, log_sigma = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return mu, log_sigma


def _reconstruct(detector: "StRegA", tiles: Tensor) -> Tensor:
    return torch.cat([detector.network(t.to(detector.device)).cpu() for t in tiles.split(32)])


def _interpolate(detector: "StRegA", ends: Tensor) -> Tensor:
    """`(STEPS, C, *S)`: decoded on the straight line between the posterior means of two tiles."""
    mu, _ = _encode(detector, ends)
    share = torch.linspace(0, 1, STEPS).reshape(-1, *[1] * (mu.ndim - 1))
    line = (1 - share) * mu[:1] + share * mu[1:]
    return detector.network.decode(line.to(detector.device)).cpu()


def _picture(tiles: Tensor) -> np.ndarray:
    """`(N, H, W)`: first channel; of volumes, the axial slice in the middle."""
    first = tiles[:, 0]
    return (first[..., first.shape[-1] // 2] if first.ndim == 4 else first).numpy()
