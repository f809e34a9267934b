"""Pictures of the findings of a class: an axial slice each."""

from collections.abc import Sequence

import numpy as np

from brainuad.machine.text import figure_text
from brainuad.postprocess.box import brain_box
from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.drawing.views import radiological
from brainuad.types import Volume

OWN, OTHER = "#d55e00", "#56b4e9"  # Okabe and Ito, colour-blind safe

COLUMNS = 4
_NAME = 30
"""Letters of a name that fit above a panel."""


def example(
    name: str, image: Volume, own: np.ndarray, others: np.ndarray, brain_mask: np.ndarray
) -> Panel:
    """Return the axial slice with the largest cut through a finding.

    Args:
        name: name of the finding.
        image: the scan, axes RAS.
        own: `(D, H, W)` bool, the finding; outlined in orange.
        others: `(D, H, W)` bool, all findings of the scan; outlined in blue.
        brain_mask: `(D, H, W)` bool.
    """
    at = [0, 0, int(own.sum(axis=(0, 1)).argmax())]
    box = (*brain_box(brain_mask, (4, 4, 0))[:2], slice(None))
    grey, mine, beside = (
        radiological(array[box], 2, at).T.copy() for array in (image.array, own, others & ~own)
    )
    white = max(1.1 * float(np.percentile(image.array[brain_mask], 99.5)), 1e-6)
    title = figure_text(name if len(name) <= _NAME else f"…{name[1 - _NAME :]}")
    return Panel(grey, title, top=white, outlines=[(beside, OTHER), (mine, OWN)])


def draw_examples(examples: Sequence[Panel]) -> Picture:
    """Return a picture of several findings, in rows."""
    rows = [examples[start : start + COLUMNS] for start in range(0, len(examples), COLUMNS)]
    return draw_grid(rows, width=210).jpeg()
