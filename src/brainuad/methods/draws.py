"""One answer out of several random ones."""

from collections.abc import Iterable

import torch
from torch import Tensor

from brainuad.types import Detection


def mean_and_std(draws: Iterable[tuple[Tensor, Tensor]], keep: bool = False) -> Detection:
    """Mean map and reconstruction over draws, and the map's standard deviation (of the population).

    Args:
        draws: anomaly map `(B, 1, *S)` and reconstruction `(B, C, *S)` of each; at least one. Only
            one is held at a time.
        keep: also give the maps themselves.
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
