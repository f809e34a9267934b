"""Thresholds of repainting, set on healthy scans so that few of their pixels are candidates."""

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from brainuad.errors import InputError
from brainuad.machine.text import say
from brainuad.methods.parts.repaint import Regions, Repainted
from brainuad.types import Batch

MOST_SCANS = 20
"""Largest number of healthy scans that set the thresholds."""


class Repainter(Protocol):
    """A method whose thresholds are set, see `AutoPaint`."""

    candidate_threshold: Tensor
    repaint_peak: Tensor
    regions: Regions

    @property
    def device(self) -> torch.device:
        """Device of the network."""

    def find_candidates(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, int]:
        """Return the candidates' map and its cost in images."""

    def repaint_region(
        self, image: Tensor, brain_mask: Tensor, first: Tensor, rounds: int | None = None
    ) -> Repainted:
        """Repaint the pixels above the thresholds."""


@torch.no_grad()
def set_thresholds(detector: Repainter, held_out: Iterable[Batch]) -> dict[str, float]:
    """Set the thresholds on healthy held-out scans and repaint the pixels above them.

    Args:
        detector: trained, in evaluation mode.
        held_out: tiles of healthy scans that it was not trained on.

    Returns:
        The thresholds, the share of healthy brains that is a candidate, the share that is left
        after repainting, and the cost in images per slice.

    Raises:
        InputError: there is no scan.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    passes = 0
    for tiles, masks in islice(held_out, MOST_SCANS):
        for pair in zip(tiles.split(16), masks.split(16), strict=True):
            image, brain_mask = (part.to(detector.device) for part in pair)
            first, cost = detector.find_candidates(image, brain_mask)
            found.append((*pair, first.cpu()))
            passes += cost
    if not found:
        raise InputError("no healthy held-out scan can be read any more; put them back")
    # By numpy, because torch's quantile is limited to 2 ** 24 values.
    scores = np.concatenate([first[mask].numpy() for _, mask, first in found])
    threshold, peak = detector.candidate_threshold, detector.repaint_peak
    regions = detector.regions
    threshold.fill_(float(np.quantile(scores, 1 - regions.alpha)))
    peak.copy_(threshold)
    if regions.left_alpha is not None:
        once = np.concatenate([_once_repainted(detector, *part) for part in found])
        # If a smaller share is a candidate, all of it may stay.
        peak.clamp_(min=float(np.quantile(once, 1 - regions.left_alpha)))
    before = after = 0
    for part in found:
        image, brain_mask, first = (tensor.to(detector.device) for tensor in part)
        repainted = detector.repaint_region(image, brain_mask, first)
        before += int(regions(first, threshold, brain_mask).sum())
        after += int(repainted.region.sum())
        passes += repainted.passes
    record = {
        "candidate_threshold": threshold.item(),
        "repaint_peak": peak.item(),
        "healthy_region_before": before / len(scores),
        "healthy_region_after": after / len(scores),
        "images_a_slice": passes / sum(len(image) for image, _, _ in found),
    }
    say(
        f"candidates: {before / len(scores):.1%} of healthy held-out brains, "
        f"{after / len(scores):.1%} after repainting; {record['images_a_slice']:.1f} images a slice"
    )
    return record


def _once_repainted(detector: Repainter, *part: Tensor) -> np.ndarray:
    """Return the residual of each brain pixel after one repainting, 0 outside the candidates."""
    image, brain_mask, first = (tensor.to(detector.device) for tensor in part)
    region = detector.regions(first, detector.candidate_threshold, brain_mask)
    score = detector.repaint_region(image, brain_mask, first, rounds=1).anomaly_map
    return torch.where(region, score, 0)[brain_mask].cpu().numpy()
