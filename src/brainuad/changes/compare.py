"""Comparison of two visits of one person."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import ndimage

from brainuad.changes.difference import Difference
from brainuad.changes.halfway import Halfway, RegisterHalfway, carried, shares
from brainuad.changes.joint import Joined, joined
from brainuad.changes.matching import COLUMNS as MATCHED
from brainuad.changes.matching import matched
from brainuad.changes.tissue import Tissue, tissue_of
from brainuad.changes.visit import Visit
from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.grids import Grid

COLUMNS = (*MATCHED, "x_mm", "y_mm", "z_mm", "first_score", "second_score", "difference_sd")

LEAST_SHARED = 0.6
"""Smallest share of the smaller brain that lies in the other one; below it the registration is
wrong, or the scans show different parts."""


@dataclass(frozen=True)
class Comparison:
    """Changes between two visits.

    Attributes:
        findings: one row per finding of either visit with `COLUMNS`: volumes in mm³, the middle in
            the world of the second scan in mm, mean score at each visit in thresholds, and the mean
            difference of the scans, second minus first, in standard deviations of its noise; the
            last three are of the changed tissue where there is any.
        halfway: grid of all arrays.
        scans: both scans, normalised jointly.
        tissue: abnormal tissue at both visits.
        labels: `(D, H, W)` int, the finding that a voxel belongs to; 0 for none.
    """

    findings: pd.DataFrame
    halfway: Halfway
    scans: Joined
    tissue: Tissue
    labels: np.ndarray

    def in_second(self, state: str, like: Volume) -> np.ndarray:
        """Return the gained tissue of the findings of a state on the grid of the second scan, bool.

        Args:
            state: `new` or `grown`.
            like: the second scan.
        """
        rows = self.findings.loc[self.findings["state"] == state, "change"]
        own = self.tissue.gained & np.isin(self.labels, rows)
        way = np.linalg.inv(self.halfway.to_second)
        grid = Grid(like.array.shape, like.affine)
        return shares(own, self.halfway.grid.affine, grid, way) >= 0.5


@dataclass(frozen=True)
class Compare:
    """Comparison of two visits.

    Args:
        register: registration of both scans.
        difference: detector of changed tissue.
    """

    register: RegisterHalfway = field(default_factory=RegisterHalfway)
    difference: Difference = field(default_factory=Difference)

    def __call__(self, first: Visit, second: Visit) -> Comparison:
        """Return the changes between two visits.

        Raises:
            InputError: the two are one scan, a threshold is not above 0, or the brains do not lie
                on one another after registration.
        """
        _require_two(first, second)
        visits = (first, second)
        try:
            halfway = self.register(first.image, second.image, (first.brain, second.brain))
            one, two = (
                _laid(visit, halfway.grid, way)
                for visit, way in zip(visits, halfway[1:], strict=True)
            )
            inside = one.brain & two.brain
            if inside.sum() < LEAST_SHARED * min(one.brain.sum(), two.brain.sum()):
                raise ValueError("the brains do not lie on one another")
            spacing = float(halfway.grid.affine[0, 0])
            scans = joined(one.image.array, two.image.array, inside, spacing)
        except ValueError as error:
            raise InputError(
                f"the visits cannot be compared ({error}); check that both show one person's head"
            ) from None
        labels, z = self.difference(scans, inside, spacing)
        masks = (one.mask & inside, two.mask & inside)
        scores = (one.score / one.threshold, two.score / two.threshold)
        tissue = tissue_of(labels, scores, masks, spacing, self.difference.least_mm3)
        found = matched(tissue, spacing**3)
        way = halfway.to_second @ halfway.grid.affine
        table = _described(found.table, found.labels, tissue, scores, z, way)
        return Comparison(table, halfway, scans, tissue, found.labels)


def _require_two(first: Visit, second: Visit) -> None:
    if np.array_equal(first.image.array, second.image.array):
        raise InputError("both visits are the same scan; give the scans of two days")
    for name, visit in (("first", first), ("second", second)):
        if not visit.threshold > 0:
            raise InputError(
                f"the {name} scan has no threshold above 0; choose one by --threshold NUMBER"
            )


def _laid(visit: Visit, grid: Grid, way: np.ndarray) -> Visit:
    """Return a visit on another grid."""
    affine = visit.image.affine

    def share(mask: np.ndarray) -> np.ndarray:
        return carried(mask, affine, grid, way) >= 0.5

    image = Volume(carried(visit.image.array, affine, grid, way, order=3), grid.affine)
    score = carried(visit.score, affine, grid, way)
    return Visit(image, share(visit.brain), score, share(visit.mask), visit.threshold)


def _described(
    table: pd.DataFrame,
    labels: np.ndarray,
    tissue: Tissue,
    scores: tuple[np.ndarray, np.ndarray],
    z: np.ndarray,
    to_world: np.ndarray,
) -> pd.DataFrame:
    """Add places and means to the table of findings."""
    numbers = table["change"].to_numpy()
    if not numbers.size:
        return table.reindex(columns=COLUMNS)
    changed = tissue.gained | tissue.lost
    # A stable finding as a whole; of another one the changed tissue.
    moved = np.isin(numbers, labels[changed])
    own = np.where(changed | ~np.isin(labels, numbers[moved]), labels, 0)
    middles = np.array(ndimage.center_of_mass(own > 0, own, numbers)).reshape(-1, 3)
    return table.assign(
        **dict(zip(("x_mm", "y_mm", "z_mm"), apply_affine(to_world, middles).T, strict=True)),
        first_score=ndimage.mean(scores[0], own, numbers),
        second_score=ndimage.mean(scores[1], own, numbers),
        difference_sd=ndimage.mean(z, own, numbers),
    )[list(COLUMNS)]
