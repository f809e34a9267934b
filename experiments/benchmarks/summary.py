"""One table of the benchmarks: stage, seconds, memory, limit.

    python experiments/benchmarks/summary.py

Reads the JSON files beside it and writes `SUMMARY.md`. A row whose benchmark has not run is left
out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
HEADER = """# Benchmarks in one table

Written by `summary.py` from the JSON files beside it, which hold the settings. Seconds are of one
CPU thread unless the row says more. The baseline is the released code's way, written plainly and
run in the same process; where there is none, what the stage took before. Limits are those of
`brainuad`'s own issues.

| stage | seconds | baseline, seconds | times faster | peak memory, GiB | limit |
| --- | ---: | ---: | ---: | ---: | --- |
"""


class Row(NamedTuple):
    """One line; None is a dash."""

    stage: str
    seconds: float
    baseline: float | None = None
    peak: float | None = None
    limit: str = ""


def main() -> None:
    """Entry point."""
    lines = []
    for name, rows in SOURCES.items():
        path = HERE / f"{name}.json"
        if path.is_file():
            lines += [line(row) for row in rows(json.loads(path.read_text()))]
    (HERE / "SUMMARY.md").write_text(HEADER + "\n".join(lines) + "\n")
    print(HERE / "SUMMARY.md")


def line(row: Row) -> str:
    """A row in Markdown."""
    ratio = "–" if row.baseline is None else f"{row.baseline / row.seconds:.2f}"
    before = "–" if row.baseline is None else f"{row.baseline:.3g}"
    peak = "–" if row.peak is None else f"{row.peak:.2f}"
    cells = (row.stage, f"{row.seconds:.3g}", before, ratio, peak, row.limit or "–")
    return f"| {' | '.join(cells)} |"


def madad(found: dict[str, Any]) -> list[Row]:
    """MAD-AD's training step and detection."""
    step = found["step"]
    rows = [
        Row(
            f"MAD-AD {found['setting']['size']}, training step: {kind}",
            value["seconds"],
            step["plain"]["seconds"],
            value["peak_gib"],
        )
        for kind, value in step.items()
        if kind.startswith("ours")
    ]
    return rows


def strega(found: dict[str, Any]) -> list[Row]:
    """StRegA's training step as released."""
    variants = found["variants"]
    return [
        Row(
            f"StRegA as released, {found['setting']['size']}², training step: {kind}",
            value["cpu_seconds_per_step"],
            variants["plain"]["cpu_seconds_per_step"],
            value["peak_gib"],
            "fits 22 GB",
        )
        for kind, value in variants.items()
        if kind.startswith("ours")
    ]


def volume(found: dict[str, Any]) -> list[Row]:
    """A prepared volume at 1 mm, method by method."""
    return [
        Row(
            f"volume at 1 mm, `{name}`, 2 threads",
            value["cpu_seconds"],
            None,
            value["peak_gib"],
            "`strega` 9 s" if name.startswith("strega") else "",
        )
        for name, value in found.items()
        if name != "setting" and isinstance(value, dict) and "cpu_seconds" in value
    ]


def scoring(found: dict[str, Any]) -> list[Row]:
    """Exact scores of a cohort."""
    ours, reference = found["brainuad"], found["reference"]
    stage = f"voxel scores of {found['volumes']} volumes"
    return [Row(stage, ours["seconds"], reference["seconds"], ours["peak_gib"])]


def carried(found: dict[str, Any]) -> list[Row]:
    """Thresholds, masks and scores of a run, each map post-processed once."""
    return [
        Row(f"evaluation of the embedded cohort, {name}", value["once_cpu_s"], value["anew_cpu_s"])
        for name, value in found["evaluations"].items()
    ]


def raw_head(found: dict[str, Any]) -> list[Row]:
    """A raw head to its mask, and a dry run."""
    limits = {"raw head": "15 s"}
    return [
        Row(
            f"`brainuad-predict`, {name}, imports included",
            value["cpu_seconds"],
            None,
            value["peak_gib"],
            limits.get(name, "2 s"),
        )
        for name, value in found.items()
        if name != "setting"
    ]


def growth(found: dict[str, Any]) -> list[Row]:
    """Finding 5,000 subjects."""
    rows = []
    for source, commands in found.items():
        for command, value in commands.items():
            seconds = value["cpu_seconds"].get("5000")
            if seconds is not None:
                limit = "5 s" if source == "bids" else ""
                rows.append(Row(f"5,000 subjects found, {source}, {command}", seconds, limit=limit))
    return rows


def contention(found: dict[str, Any]) -> list[Row]:
    """A training step beside busy processes."""
    rows = []
    for name, loads in found["experiments"].items():
        for load, value in loads.items():
            busy = round(float(load) * found["cores"])
            limit = {0: "5 % slower at most", 3: "twice as fast"}.get(busy, "")
            stage = f"`{name}`, step beside {busy} busy processes, {found['cores']} threads"
            rows.append(Row(stage, value["on_s"], value["off_s"], limit=limit))
    return rows


def layout(found: dict[str, Any]) -> list[Row]:
    """A training step, network by network."""
    return [
        Row(
            f"`{name}`, training step, batch {found['setting']['batch']}",
            value["ours_cpu_s"],
            value["contiguous_cpu_s"],
            value["ours_peak_gib"],
            f"{1.1 * value['contiguous_peak_gib']:.2f} GiB",
        )
        for name, value in found["experiments"].items()
    ]


SOURCES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "madad_step": madad,
    "strega_step": strega,
    "memory_layout": layout,
    "contention": contention,
    "raw_head": raw_head,
    "predict_volume": volume,
    "growth": growth,
    "scoring": scoring,
    "carried_once": carried,
}


if __name__ == "__main__":
    main()
