"""Findings of two visits, matched: new, grown, shrunk, vanished, stable; split and merged."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from brainuad.changes.tissue import Tissue
from brainuad.metrics.lesion import label_lesions

STATES = ("new", "grown", "shrunk", "vanished", "stable")

COLUMNS = (
    *("change", "state", "first_mm3", "second_mm3", "gained_mm3", "lost_mm3"),
    *("first_parts", "second_parts"),
)


class Matched(NamedTuple):
    """Findings of two visits.

    Attributes:
        labels: `(D, H, W)` int, the finding that a voxel belongs to at either visit; 0 for none.
        table: one row per finding with `COLUMNS`, in the order of `STATES`, the largest change
            first. `change` is the label. `first_parts` and `second_parts` are the numbers of
            connected parts: two that became one have merged, one that became two has split.
    """

    labels: np.ndarray
    table: pd.DataFrame


def matched(tissue: Tissue, voxel_mm3: float) -> Matched:
    """Match the parts of the tissue of two visits that overlap, directly or through others.

    Args:
        tissue: abnormal tissue at both visits.
        voxel_mm3: volume of a voxel.
    """
    one, two = label_lesions(tissue.first), label_lesions(tissue.second)
    n_one, n_two = int(one.max()), int(two.max())
    total = n_one + n_two
    shared = (one > 0) & (two > 0)
    edges = np.unique(np.stack([one[shared] - 1, two[shared] - 1 + n_one]), axis=1)
    graph = coo_array((np.ones(edges.shape[1]), edges), shape=(total, total))
    count, group = connected_components(graph, directed=False) if total else (0, np.zeros(0, int))
    group = np.concatenate([[0], group + 1])
    labels = np.where(one > 0, group[one], group[np.where(two > 0, two + n_one, 0)])
    numbers = np.arange(1, count + 1)

    def volume(mask: np.ndarray) -> np.ndarray:
        return np.bincount(labels[mask], minlength=count + 1)[1:] * voxel_mm3

    table = pd.DataFrame(
        {
            "change": numbers,
            "first_mm3": volume(tissue.first),
            "second_mm3": volume(tissue.second),
            "gained_mm3": volume(tissue.gained),
            "lost_mm3": volume(tissue.lost),
            "first_parts": np.bincount(group[1 : n_one + 1], minlength=count + 1)[1:],
            "second_parts": np.bincount(group[n_one + 1 :], minlength=count + 1)[1:],
        }
    )
    table["state"] = [_state(*row) for row in table[list(COLUMNS[2:])].to_numpy()]
    table["order"] = table["state"].map(STATES.index)
    table["size"] = -(table["gained_mm3"] + table["lost_mm3"] + 1e-6 * table["second_mm3"])
    table = table.sort_values(["order", "size"], kind="stable")
    new = np.zeros(count + 1, np.int32)
    new[table["change"]] = numbers
    table["change"] = numbers
    return Matched(new[labels], table.reindex(columns=COLUMNS).reset_index(drop=True))


def _state(
    first: float, second: float, gained: float, lost: float, n_first: float, n_second: float
) -> str:
    if n_first == 0:
        return "new"
    if n_second == 0:
        return "vanished"
    if gained == lost:
        return "stable"
    return "grown" if gained > lost else "shrunk"
