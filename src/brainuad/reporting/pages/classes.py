"""Page of the classes of findings: how many, what they are like, and examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from brainuad.machine.files import write_text
from brainuad.machine.text import quantity
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.pages.render import Table, decimals, render

SHOWN = {
    "volume_mm3": ("volume, ml", 0.001, 2),
    "alike": ("findings like it in the scan", 1.0, 1),
    "elongation": ("longest by shortest axis", 1.0, 1),
    "compactness": ("compactness", 1.0, 2),
    "depth_mm": ("depth, mm", 1.0, 0),
    "ventricle_mm": ("from the ventricles, mm", 1.0, 0),
    "lateral_mm": ("from the mid-plane, mm", 1.0, 0),
    "cortex": ("cortical share", 1.0, 2),
    "contrast": ("contrast, SD", 1.0, 1),
    "spread": ("spread, SD", 1.0, 1),
}
"""Columns of the table: title, factor and decimals."""


@dataclass(frozen=True)
class ClassSection:
    """A class on the page.

    Attributes:
        title: its name.
        anchor: its identifier on the page.
        summary: its size in words.
        picture: examples; None for none.
        alt: the picture in words.
    """

    title: str
    anchor: str
    summary: str
    picture: Picture | None
    alt: str


def write_classes_page(
    path: Path,
    table: pd.DataFrame,
    silhouettes: Mapping[int, float],
    given: bool,
    pictures: Mapping[int, tuple[Picture, str]],
) -> None:
    """Write the page.

    Args:
        path: file to write.
        table: findings with `class`, `scan_class`, `weight` and features.
        silhouettes: number of classes to mean silhouette, of each that was tried.
        given: whether the user gave the number of classes.
        pictures: class to its examples and their names.
    """
    numbers = sorted(table["class"].unique())
    scans = table.drop_duplicates("scan_id")
    sections = []
    for number in numbers:
        own = table[table["class"] == number]
        count = int((scans["scan_class"] == number).sum())
        summary = f"{quantity(len(own), 'finding')} in {quantity(own.scan_id.nunique(), 'scan')}; "
        summary += f"most of the weight in {quantity(count, 'scan')}."
        picture, alt = pictures.get(number, (None, ""))
        sections.append(ClassSection(f"Class {number}", f"class-{number}", summary, picture, alt))
    how = "given" if given else "chosen by the largest mean silhouette"
    page = render(
        "classes.html",
        title=f"{quantity(len(table), 'finding')} of {quantity(len(scans), 'scan')} in classes",
        subtitle=f"{quantity(len(numbers), 'class').replace('classs', 'classes')}, {how}",
        sections=sections,
        features=_features(table),
        tried=Table(
            ["number of classes", "mean silhouette"],
            [[str(count), decimals(value)] for count, value in sorted(silhouettes.items())],
            "How clearly the classes are apart, from -1 to 1",
            own=str(len(numbers)),
        ),
    )
    write_text(path, page)


def _features(table: pd.DataFrame) -> Table:
    rows = []
    for number, own in table.groupby("class"):
        middle = _weighted_median(own)
        cells = [
            decimals(middle[name] * factor, digits) for name, (_, factor, digits) in SHOWN.items()
        ]
        rows.append([f"Class {number}", str(len(own)), *cells])
    header = ["", "findings", *(title for title, *_ in SHOWN.values())]
    return Table(header, rows, "Medians, each finding by its weight in its scan", sortable=True)


def _weighted_median(table: pd.DataFrame) -> dict[str, float]:
    found = {}
    for name in SHOWN:
        values = table[[name, "weight"]].dropna().sort_values(name)
        half = values["weight"].cumsum() >= values["weight"].sum() / 2
        found[name] = float(values.loc[half, name].iloc[0]) if half.any() else float("nan")
    return found
