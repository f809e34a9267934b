"""Classes of the findings of a folder: two tables and a page of examples.

brainuad-report classes results/
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.progress import track

from brainuad.classes.features import FEATURES, describe
from brainuad.classes.groups import Classes, grouped
from brainuad.classes.results import Marked, marked_scans
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.reporting.drawing.classes import draw_examples, example
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.pages.classes import write_classes_page

TABLE, PAGE = "classes.csv", "classes.html"

COLUMNS = (
    *("scan_id", "subject", "finding", "class", "scan_class", "typical", "weight", "alike"),
    *FEATURES,
)


def write_classes(
    results: Path, out: Path, count: int | None = None, examples: int = 6
) -> tuple[Classes, Failures]:
    """Group the findings of a folder; write `OUT/classes.csv` and `OUT/classes.html`.

    Args:
        results: folder of `brainuad-predict`, or run folder.
        out: folder of the table and the page.
        count: number of classes; None to choose it.
        examples: pictures per class.

    Returns:
        The classes, and (scan, reason) of scans that could not be read.

    Raises:
        InputError: not such a folder, or too few findings.
    """
    scans = marked_scans(results)
    table, failures = described(scans)
    classes = grouped(table, count)
    rows = classes.table.sort_values(["scan_id", "finding"])
    write_text(out / TABLE, csv_text(rows[list(COLUMNS)], float_format="%.6g"))
    pictures = draw_classes(classes.table, scans, examples)
    write_classes_page(out / PAGE, classes.table, classes.silhouettes, classes.given, pictures)
    return classes, failures


def described(scans: Sequence[Marked]) -> tuple[pd.DataFrame, Failures]:
    """Return the features of all findings, and the failures.

    Raises:
        InputError: no scan could be read, or there is no finding.
    """
    parts, failures = [], Failures()
    for scan in track(scans, description="describing findings"):
        with failures.catching(scan.scan_id):
            marked = scan.read()
            affine = marked.image.affine
            found = describe(marked.labels, marked.image.array, marked.brain_mask, affine)
            if len(found):
                parts.append(found.assign(scan_id=scan.scan_id, subject=scan.subject))
    if not parts:
        reason = f": {failures[0][1]}" if failures else ""
        raise InputError(f"no finding in {len(scans)} scans{reason}")
    return pd.concat(parts, ignore_index=True), failures


def draw_classes(
    table: pd.DataFrame, scans: Sequence[Marked], count: int
) -> dict[int, tuple[Picture, str]]:
    """Return a picture of typical findings per class, with their names in words.

    One finding per scan is shown: that of most weight, of the scans in which the class has most.
    """
    by_name = {scan.scan_id: scan for scan in scans}
    pictures = {}
    for number, own in table.groupby("class"):
        top = own.sort_values("weight", ascending=False).drop_duplicates("scan_id")
        chosen = top.sort_values("typical", ascending=False, kind="stable").head(count)
        examples, names = [], []
        for row in chosen.to_dict("records"):
            marked = by_name[row["scan_id"]].read()
            names.append(f"{row['scan_id']}, finding {row['finding']}")
            found = marked.labels
            masks = found == row["finding"], found > 0, marked.brain_mask
            examples.append(example(names[-1], marked.image, *masks))
        if examples:
            pictures[int(str(number))] = draw_examples(examples), "; ".join(names)
    return pictures
