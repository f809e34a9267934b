"""Combine several random draws into one detection."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from brainuad.methods.parts.residuals import Residual, needed
from brainuad.types import Detection


def score_draws(
    residual: Residual,
    image: Tensor,
    brain_mask: Tensor,
    reconstructions: Iterable[Tensor],
    keep: bool = False,
) -> Detection:
    """Return the mean of the draws' residuals, or one residual that uses the draws' spread.

    Args:
        residual: see `brainuad.methods.parts.residuals`.
        image: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        reconstructions: reconstructions of `image`, one per draw; at least two for a residual that
            needs `std`.
        keep: as in `mean_and_std`; a residual that uses the spread has neither draws nor an
            uncertainty.
    """
    if needed(residual) == "std":
        std, mean = torch.std_mean(torch.stack([part.float() for part in reconstructions]), 0)
        return Detection(residual(image, mean, brain_mask, std=std), mean)
    draws = ((residual(image, healthy, brain_mask), healthy) for healthy in reconstructions)
    return mean_and_std(draws, keep)


def averaged(parts: Sequence[Detection]) -> Detection:
    """Return the mean over models or views, with the standard deviation between and within them.

    Args:
        parts: detections in one scan, without batch axis; the maps of all their draws are
            concatenated.
    """
    if len(parts) == 1:
        return parts[0]
    maps = torch.stack([part.anomaly_map for part in parts])
    within = [part.uncertainty**2 for part in parts if part.uncertainty is not None]
    variance = maps.var(0, correction=0)
    if within:
        variance = variance + torch.stack(within).sum(0) / len(parts)
    healthy = [part.reconstruction for part in parts if part.reconstruction is not None]
    mean = torch.stack(healthy).mean(0) if len(healthy) == len(parts) else None
    draws = [part.draws for part in parts if part.draws is not None]
    kept = torch.cat(draws) if len(draws) == len(parts) else None
    return Detection(maps.mean(0), mean, variance.sqrt(), kept)


def mean_and_std(draws: Iterable[tuple[Tensor, Tensor]], keep: bool = False) -> Detection:
    """Return mean map and reconstruction over draws, and the map's population standard deviation.

    Args:
        draws: anomaly map `(B, 1, *S)` and reconstruction `(B, C, *S)` of each; at least one. Only
            one is held at a time.
        keep: whether to return the maps themselves too.
    """
    mean = reconstruction = squares = None
    count = 0
    kept = []
    for count, (anomaly_map, healthy) in enumerate(draws, start=1):
        score, image = anomaly_map.float(), healthy.float()
        if keep:
            kept.append(score)
        if mean is None or reconstruction is None or squares is None:
            mean, reconstruction, squares = score, image, 0 * score
            continue
        # Welford's update: a difference of squares would cancel in float32.
        before, mean = mean, mean + (score - mean) / count
        squares = squares + (score - before) * (score - mean)
        reconstruction = reconstruction + (image - reconstruction) / count
    assert mean is not None
    assert squares is not None
    maps = torch.cat(kept, dim=1) if kept else None
    return Detection(mean, reconstruction, (squares / count).clamp_min(0).sqrt(), maps)
