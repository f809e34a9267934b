"""Thresholds of repainting, set on healthy scans so that few of their pixels are candidates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.machine.text import say
from brainuad.methods.parts.repaint import Regions, Repainted
from brainuad.tiles.cache import brain_tiles
from brainuad.volumes.tiling import Tiling

MOST_SCANS = 20
"""At most so many healthy scans set the thresholds."""


class Repainter(Protocol):
    """What the thresholds are set for, see `AutoPaint`."""

    candidate_threshold: Tensor
    repaint_peak: Tensor
    region_alpha: float
    left_alpha: float | None
    regions: Regions

    @property
    def device(self) -> torch.device:
        """Device of the network."""

    def find_candidates(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, int]:
        """Return the candidates' map and its cost in images."""

    def repaint_region(
        self, image: Tensor, brain_mask: Tensor, first: Tensor, rounds: int | None = None
    ) -> Repainted:
        """Repaint what lies above the thresholds."""


@torch.no_grad()
def set_thresholds(
    detector: Repainter, tiling: Tiling, held_out: Sequence[Scan], out: Path
) -> None:
    """Sets the thresholds on healthy held-out scans and repaints what is above them.

    Writes `autopaint.json` to `out`: the thresholds, the share of healthy brains that is a
    candidate and that is left of it after repainting, and the cost in images a slice.

    Args:
        detector: trained, in evaluation mode.
        tiling: of the detector.
        held_out: healthy scans that it was not trained on, as it sees them; one that cannot be read
            is left out.
        out: run folder.

    Raises:
        InputError: none of the scans can be read any more.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    passes = 0
    for tiles, masks in brain_tiles(held_out[:MOST_SCANS], tiling):
        for pair in zip(tiles.split(16), masks.split(16), strict=True):
            image, brain_mask = (part.to(detector.device) for part in pair)
            first, cost = detector.find_candidates(image, brain_mask)
            found.append((*pair, first.cpu()))
            passes += cost
    if not found:
        raise InputError("no healthy held-out scan can be read any more; put them back")
    # By numpy: torch's quantile takes no more than 2 ** 24 values.
    scores = np.concatenate([first[mask].numpy() for _, mask, first in found])
    threshold, peak = detector.candidate_threshold, detector.repaint_peak
    threshold.fill_(float(np.quantile(scores, 1 - detector.region_alpha)))
    peak.copy_(threshold)
    if detector.left_alpha is not None:
        once = np.concatenate([_once_repainted(detector, *part) for part in found])
        # Where less than that share is a candidate, all of it may stay.
        peak.clamp_(min=float(np.quantile(once, 1 - detector.left_alpha)))
    before = after = 0
    for part in found:
        image, brain_mask, first = (tensor.to(detector.device) for tensor in part)
        repainted = detector.repaint_region(image, brain_mask, first)
        before += int(detector.regions(first, threshold, brain_mask).sum())
        after += int(repainted.region.sum())
        passes += repainted.passes
    record = {
        "candidate_threshold": threshold.item(),
        "repaint_peak": peak.item(),
        "healthy_region_before": before / len(scores),
        "healthy_region_after": after / len(scores),
        "images_a_slice": passes / sum(len(image) for image, _, _ in found),
    }
    write_json(out / "autopaint.json", record)
    say(
        f"candidates: {before / len(scores):.1%} of healthy held-out brains, "
        f"{after / len(scores):.1%} after repainting; {record['images_a_slice']:.1f} images a slice"
    )


def _once_repainted(detector: Repainter, *part: Tensor) -> np.ndarray:
    """Of each brain pixel what one repainting of the candidates says, 0 if it is none."""
    image, brain_mask, first = (tensor.to(detector.device) for tensor in part)
    region = detector.regions(first, detector.candidate_threshold, brain_mask)
    score = detector.repaint_region(image, brain_mask, first, rounds=1).anomaly_map
    return torch.where(region, score, 0)[brain_mask].cpu().numpy()
