"""Summary of the files that were found and left aside, which the user checks before the work."""

from collections.abc import Sequence
from pathlib import Path

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.sources import write_list
from brainuad.machine.text import one_line

FEW = 20
"""Number of lines of a long list, unless the user wants all."""


def account(
    found: Found, scans: Sequence[RawScan | Scan], whole: bool, to_predict: bool = False
) -> str:
    """A table of the scans, the files left aside by reason, and notes.

    Args:
        found: scans of a source.
        scans: those of `found.scans` that will be used, with their splits where there are any.
        whole: every scan and file; else the first ones, and how many there are.
        to_predict: leave out split, health and label, which a prediction does not use.
    """
    said = [_table(found, scans, whole, to_predict)] if scans else []
    if aside := _aside(found, whole):
        said.append(aside)
    if assumed := sum(scan.image in found.assumed for scan in scans):
        names = ", ".join(sorted({s.sequence for s in scans if s.image in found.assumed}))
        said.append(f"note: of {assumed} scans nothing tells the sequence; taken for {names}")
    said += [f"note: {one_line(note)}" for note in found.notes]
    return "\n".join(said)


def _table(
    found: Found, scans: Sequence[RawScan | Scan], whole: bool, to_predict: bool = False
) -> str:
    titles = ("subject", "visit", "sequence", "split", "healthy", "image", "label", "brain mask")
    left_out = ("split", "healthy", "label") if to_predict else ()
    rows = [tuple(title for title in titles if title not in left_out)]
    for scan in scans if whole else scans[:FEW]:
        sequence = f"{scan.sequence} (assumed)" if scan.image in found.assumed else scan.sequence
        masks = [path.name if path else "-" for path in (scan.lesion_mask, scan.brain_mask)]
        visit = found.visits.get(scan.image, "-")
        yes = "yes" if scan.healthy else "no"
        row = (scan.subject, visit, sequence, scan.split or "-", yes, str(scan.image), *masks)
        cells = zip(titles, map(one_line, row), strict=True)
        rows.append(tuple(cell for title, cell in cells if title not in left_out))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if len(scans) > len(rows) - 1:
        lines.append(f"… and {len(scans) - len(rows) + 1} more")
    return "\n".join(lines)


def _aside(found: Found, whole: bool) -> str:
    """Reason after reason, those that need the owner's eye first."""
    reasons: dict[tuple[bool, str], list[str]] = {}
    for aside in found.aside:
        reasons.setdefault((not aside.wanted, aside.reason), []).append(one_line(aside.path))
    if not reasons:
        return ""
    lines = [f"left aside: {len(found.aside)} files or folders"]
    for (_, reason), paths in sorted(reasons.items()):
        shown = paths if whole else paths[: FEW // 4]
        # Files that are no images are many, and few care.
        if reason == "no image" and not whole:
            shown = []
        more = f"{len(paths) - len(shown)} files" if len(paths) > len(shown) else ""
        lines.append(f"  {one_line(reason)}: {', '.join([*shown, more] if more else shown)}")
    return "\n".join(lines)


def write_aside(found: Found, out: Path, source: Path) -> None:
    """Write `left_aside.csv`: every file and folder that is not used, with the reason.

    Args:
        found: scans of `source`.
        out: folder; files of other sources that were left aside stay in the list.
        source: folder or table that the user gave.
    """
    rows = [(str(aside.path), aside.reason) for aside in found.aside]
    write_list(out, "left_aside", ("path", "reason"), rows, source)
