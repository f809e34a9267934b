"""Pictures of the findings of a class: an axial slice each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainuad.machine.text import figure_text
from brainuad.postprocess.box import brain_box
from brainuad.reporting.drawing.panels import Picture, Sheet, outline, show
from brainuad.reporting.drawing.views import radiological
from brainuad.types import Volume

OWN, OTHER = "#d55e00", "#56b4e9"  # Okabe and Ito, colour-blind safe

_PANEL, _GAP, _TITLE, _COLUMNS = 210, 8, 20, 4
_NAME = 34
"""Letters of a name that fit above a panel."""


@dataclass(frozen=True)
class Example:
    """The slice with the largest cut through a finding.

    Attributes:
        name: name of the finding.
        grey: `(rows, columns)` of the scan, from the bottom up.
        own: the finding.
        others: all findings of the scan.
        size_mm: width and height.
        white: intensity shown as white.
    """

    name: str
    grey: np.ndarray
    own: np.ndarray
    others: np.ndarray
    size_mm: tuple[float, float]
    white: float

    @classmethod
    def of(
        cls,
        name: str,
        image: Volume,
        own: np.ndarray,
        others: np.ndarray,
        brain_mask: np.ndarray,
    ) -> "Example":
        """Return the slice of a finding.

        Args:
            name: name of the finding.
            image: the scan, axes RAS.
            own: `(D, H, W)` bool, the finding.
            others: `(D, H, W)` bool, all findings of the scan.
            brain_mask: `(D, H, W)` bool.
        """
        at = [0, 0, int(own.sum(axis=(0, 1)).argmax())]
        box = brain_box(brain_mask, (4, 4, 0))
        box = (*box[:2], slice(None))
        grey, mine, all_ = (radiological(array[box], 2, at) for array in (image.array, own, others))
        size = grey.shape[1] * image.spacing_mm[0], grey.shape[0] * image.spacing_mm[1]
        white = 1.1 * float(np.percentile(image.array[brain_mask], 99.5))
        return cls(name, grey.copy(), mine.copy(), all_.copy(), size, max(white, 1e-6))


def draw_examples(examples: Sequence[Example]) -> Picture:
    """Return a picture of several findings, in rows; each is outlined, and others of its scan."""
    columns = min(len(examples), _COLUMNS)
    rows = -(-len(examples) // _COLUMNS)
    sheet = Sheet(columns * (_PANEL + _GAP), rows * (_PANEL + _TITLE + _GAP))
    for index, example in enumerate(examples):
        row, column = divmod(index, _COLUMNS)
        x, y = column * (_PANEL + _GAP), row * (_PANEL + _TITLE + _GAP)
        name = example.name
        short = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
        sheet.text(x + _PANEL / 2, y + _TITLE / 2, figure_text(short), size=7)
        scale = _PANEL / max(example.size_mm)
        wide, tall = (length * scale for length in example.size_mm)
        place = x + (_PANEL - wide) / 2, y + _TITLE + (_PANEL - tall) / 2
        axes = sheet.panel(*place, wide, tall)
        show(axes, example.grey, example.size_mm, vmax=example.white)
        outline(axes, example.others & ~example.own, example.size_mm, OTHER)
        outline(axes, example.own, example.size_mm, OWN, thickness=1.3)
    return sheet.jpeg()
