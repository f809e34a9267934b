"""Findings of a scan in words, made of its rows in the two tables alone.

No model writes these sentences. The same rows always give the same text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainuad.machine.text import one_line, quantity
from brainuad.reporting.flags import Flag, flags_of

Row = Mapping[str, Any]
"""A row of `subjects.csv` or `findings.csv`; an unknown value is None, NaN or empty."""

NOT_A_DIAGNOSIS = "This is the output of research software and not a diagnosis."

ALIKE = 0.05
"""Smallest relative difference in brightness that is called brighter or darker."""


def findings_text(scan: Row, findings: Sequence[Row]) -> str:
    """Return the findings of a scan in plain English.

    Args:
        scan: its row of `subjects.csv`.
        findings: its rows of `findings.csv`.
    """
    title = f"Findings in {_words(scan, 'scan_id') or 'a scan'}"
    sequence = _words(scan, "sequence")
    parts = [
        f"{title} ({sequence})" if sequence else title,
        NOT_A_DIAGNOSIS,
        " ".join(_summary(scan, findings)),
        *(_finding(number, row) for number, row in enumerate(findings, start=1)),
        _list("Flagged. Look at this first:", flags_of(_split(scan, "reason"))),
        _list("Oddities of the files:", flags_of(_split(scan, "notes"))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(scan: Row, findings: Sequence[Row]) -> list[str]:
    threshold, score = _number(scan, "threshold"), _number(scan, "score")
    volume, share = _number(scan, "volume_mm3"), _number(scan, "percentile")
    said = ["No findings. This does not mean that the brain is healthy."]
    if findings:
        whole = f" with {_volume(volume)} in all" if volume is not None else ""
        said = [f"{quantity(len(findings), 'finding')}{whole}, the highest score first."]
    if threshold is not None:
        said.append(f"Voxels with a score above {plain(threshold)} are marked.")
    if score is not None:
        said.append(f"The score of the whole scan is {plain(score)}.")
    if share is not None:
        said.append(f"{plain(share)} % of the healthy validation subjects have a lower one.")
    if any(_words(row, "side") for row in findings):
        said.append("Left and right are the patient's own.")
    return said


def _finding(number: int, row: Row) -> str:
    """Return the paragraph of one finding."""
    size = _number(row, "volume_mm3")
    said = [_place(row), _brightness(row), "" if size is None else f"{_size(size)}."]
    said += [_centre(row), *_certainty(row)]
    return f"{number}. {' '.join(filter(None, said))}"


def _place(row: Row) -> str:
    """Return side, lobe and tissue as far as they are known."""
    side, lobe, region = (_words(row, name) for name in ("side", "lobe", "region"))
    beside = {"midline": "On the midline"}.get(side, side.capitalize())
    if lobe and side in ("left", "right"):
        # `Left frontal lobe`; of a finding in two lobes both are on that side.
        found = [f"{beside} {lobe}", region]
    else:
        found = [f"{beside} side" if side in ("left", "right") else beside, lobe, region]
    text = ", ".join(filter(None, found))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _brightness(row: Row) -> str:
    contrast = _number(row, "contrast")
    if contrast is None:
        return ""
    ratio = f"the tissue around it ({plain(contrast)} times its brightness)"
    if abs(contrast - 1) < ALIKE:
        return f"About as bright as {ratio}."
    return f"{'Brighter' if contrast > 1 else 'Darker'} than {ratio}."


def _size(volume_mm3: float) -> str:
    """Return the volume, and the diameter of a ball of that volume."""
    if volume_mm3 <= 0:
        return _volume(volume_mm3)
    diameter = (6 * volume_mm3 / math.pi) ** (1 / 3)
    return f"Volume {_volume(volume_mm3)}, that of a ball {plain(diameter, 2)} mm across"


def _volume(volume_mm3: float) -> str:
    return f"{plain(volume_mm3)} mm³ ({plain(volume_mm3 / 1000, 2)} ml)"


def _centre(row: Row) -> str:
    """Return the centre in the two coordinate systems, as far as it is known."""
    said = []
    for name, space in (("{}_mm", "the scan"), ("mni_{}", "MNI")):
        known = [(axis, _number(row, name.format(axis))) for axis in "xyz"]
        there = [f"{axis} {plain(value)}" for axis, value in known if value is not None]
        if there:
            said.append(f"{', '.join(there)} mm in the coordinates of {space}")
    return f"Centre at {'; '.join(said)}." if said else ""


def _certainty(row: Row) -> list[str]:
    """Return the sentences on scores and on draws that agree."""
    peak, mean = _number(row, "peak"), _number(row, "mean")
    support, spread = _number(row, "support"), _number(row, "uncertainty")
    scores = [("at the most", peak), ("on average", mean)]
    known = [f"{plain(value)} {words}" for words, value in scores if value is not None]
    said = [f"Score {', '.join(known)}."] if known else []
    if spread is not None:
        said.append(f"Standard deviation of the score {plain(spread)}.")
    if support is not None:
        said.append(f"{plain(100 * support)} % of the draws or models show it.")
    if str(row.get("marked")).lower() in ("true", "1", "1.0"):
        said.append("Fewer than half of them do: doubt this finding.")
    return said


def _list(title: str, flags: Sequence[Flag]) -> str:
    lines = [f"- {flag.look}{f' ({flag.numbers})' if flag.numbers else ''}" for flag in flags]
    return "\n".join([title, *lines]) if lines else ""


def _split(row: Row, name: str) -> list[str]:
    return [part for part in _words(row, name).split("; ") if part]


def _words(row: Row, name: str) -> str:
    """Return the text of a cell on one line; empty where it is unknown."""
    value = row.get(name)
    unknown = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if unknown else one_line(value)


def _number(row: Row, name: str) -> float | None:
    """Return the number in a cell; None where it is unknown."""
    value = row.get(name)
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def plain(number: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, and never with an exponent."""
    text = np.format_float_positional(number, precision=digits, fractional=False, trim="-")
    return "0" if text in ("-0", "0") else text
