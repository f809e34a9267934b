"""The prediction of a scan, on its own grid and in its brightness."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.model.prepared_scan import PreparedScan
from brainuad.postprocess.native import native_image
from brainuad.types import Volume


@dataclass(frozen=True)
class Prediction:
    """The prediction of a scan, on its own grid.

    Attributes:
        anomaly_map: `(D, H, W)` float32, post-processed; the threshold applies to it.
        mask: `(D, H, W)` bool.
        brain: `(D, H, W)` bool, the brain mask of the preparation.
        affine: `(4, 4)`, voxel to the scan's world, RAS mm.
        findings: one row per connected component of the mask; see `findings.find`.
        score: score of the whole scan, the mean of the map's top 1 % on the prepared grid.
        percentile: share in % of the healthy validation subjects with a lower score; None where
            the card holds no scores of them.
        threshold: threshold of the mask.
        reconstruction: `(D, H, W)`, the pseudo-healthy brain in the scan's own brightness, zero
            outside it; None where the method makes none.
        uncertainty: `(D, H, W)`, standard deviation over draws and models of the map before
            post-processing; None where there is only one.
        flags: reasons to doubt that the model suits this scan.
        raw: maps on the prepared grid, as in the folder `prepared/` of a run: `anomaly` before
            post-processing, and where there are any `reconstruction`, `uncertainty` and `input`.
        native: file of the scan.
        seconds: duration of each stage.
        notes: oddities of its files, in words; they do not affect its results.
        image: `(D, H, W)`, the scan; None where a prediction was made without it.
        sides_known: False where the header does not distinguish left from right.
    """

    anomaly_map: np.ndarray
    mask: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    findings: pd.DataFrame
    score: float
    percentile: float | None
    threshold: float
    reconstruction: np.ndarray | None
    uncertainty: np.ndarray | None
    flags: tuple[str, ...]
    raw: dict[str, Volume]
    native: Path
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    image: np.ndarray | None = None
    sides_known: bool = True

    def _repr_html_(self) -> str:
        """Return the view in a notebook: a picture through the largest finding, and the table."""
        from brainuad.reporting.drawing.found import draw_found
        from brainuad.reporting.pages.found import found_html

        picture = None
        if self.image is not None:
            scan = Volume(self.image, self.affine)
            given = self.anomaly_map, self.mask, self.threshold, self.sides_known
            picture = draw_found(scan, *given)
        return found_html(
            self.native.name,
            picture,
            self.findings,
            summary={"score": self.score, "threshold": self.threshold},
            flags=self.flags,
            notes=self.notes,
        )


def as_bright(
    reconstruction: np.ndarray, scan: PreparedScan, native: Volume, brain: np.ndarray
) -> np.ndarray:
    """Return a reconstruction on the native grid, in the brightness of the raw scan.

    A monotone curve maps the quantiles of the prepared brain to those of the native one, for any
    normalisation.

    Args:
        reconstruction: `(D, H, W)` on the prepared grid.
        scan: the prepared scan.
        native: the raw scan.
        brain: `(D, H, W)` bool, on the native grid, not empty.
    """
    way = scan.brain_mask, scan.space, native
    image, share = native_image(scan.image, *way)
    filled, _ = native_image(Volume(reconstruction, scan.image.affine), *way, share)
    seen = image[brain]
    steps = np.linspace(0, 1, 257)
    before, index = np.unique(np.quantile(seen, steps), return_index=True)
    after = np.quantile(native.array[brain], steps)[index]
    found = np.zeros(native.array.shape, np.float32)
    found[brain] = np.interp(filled[brain], before, after)
    return found
