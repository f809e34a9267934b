"""Part of the report on the shape of healthy data and of their latent vectors."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainuad.errors import InputError
from brainuad.machine.text import quantity
from brainuad.reporting.drawing.curves import INK, OWN, new_figure, to_svg
from brainuad.reporting.pages.render import Plot, Table, decimals
from brainuad.reporting.run_files import read_arrays, read_record
from brainuad.reporting.run_folder import RunFolder

CLOUDS = {
    "data": "healthy data",
    "latent": "latent vectors",
    "reconstruction": "reconstructions",
}

CLEAR = 1.5
"""Length of a loop, in units of the longest that noise has, from which it is no chance."""

MOST_BARS = 12
"""Number of loops per cloud that are drawn, the longest ones."""


@dataclass(frozen=True)
class Topology:
    """Shape of the data and of the latent vectors.

    Attributes:
        points: number of tiles.
        fits: whether the latent vectors have the pieces and loops of the data.
        words: what follows for the detection, one sentence each.
        table: numbers per cloud.
        plots: bars of the loops.
    """

    points: int
    fits: bool
    words: list[str]
    table: Table
    plots: list[Plot]


def topology(run: RunFolder) -> Topology | None:
    """Return the part; None for a run without `topology.json`.

    Raises:
        InputError: a file is damaged.
    """
    path = run.path / "topology.json"
    numbers, arrays = read_record(path), read_arrays(path.with_suffix(".npz"))
    if not numbers:
        return None
    try:
        counts = {name: (numbers[f"pieces/{name}"], numbers[f"loops/{name}"]) for name in CLOUDS}
        rows = [
            [
                title,
                *counts[name],
                numbers[f"outliers/{name}"],
                decimals(numbers[f"strength/{name}"], 2),
                decimals(numbers.get(f"distance/{name}"), 3) if name != "data" else None,
            ]
            for name, title in CLOUDS.items()
        ]
        plots = [Plot(_bars(arrays), "Longest loops: the range of scales at which each exists")]
        found = Topology(
            points=int(numbers["points"]),
            fits=counts["data"] == counts["latent"],
            words=verdict(numbers),
            table=Table(
                ["", "pieces", "loops", "outliers", "longest loop / noise", "distance to the data"],
                rows,
                "Pieces and loops that noise of the same covariance does not have",
            ),
            plots=plots,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not readable ({error}); measure it again") from None
    return found


def verdict(numbers: dict[str, float]) -> list[str]:
    """Return sentences on whether the latent space can hold the shape of the data."""
    pieces, other_pieces = numbers["pieces/data"], numbers["pieces/latent"]
    loops, other_loops = numbers["loops/data"], numbers["loops/latent"]
    words = []
    if loops > other_loops:
        words.append(
            f"The data have {quantity(int(loops), 'loop')}, the latent vectors "
            f"{int(other_loops) or 'none'}. A continuous code cannot hold a loop in a shape "
            "without one, so expect a seam: healthy scans there are reconstructed badly."
        )
        if numbers["strength/data"] < CLEAR:
            words.append(
                f"The longest loop is only {numbers['strength/data']:.1f} times as long as noise "
                "makes them, so it may be chance."
            )
    elif loops < other_loops:
        words.append(
            f"The latent vectors have {quantity(int(other_loops), 'loop')}, the data "
            f"{int(loops) or 'none'}: neighbours in the data were torn apart."
        )
    elif loops:
        words.append(
            f"Both have {quantity(int(loops), 'loop')}. The decoder also fills the inside of a "
            "loop, so expect scans there to be reconstructed well although none was seen."
        )
    if pieces > other_pieces:
        words.append(
            f"The data fall into {int(pieces)} separate pieces (scanners?), the latent vectors "
            f"into {int(other_pieces)}: what lies between the pieces is reconstructed like a "
            "healthy scan."
        )
    elif pieces < other_pieces:
        words.append(
            f"The latent vectors fall into {int(other_pieces)} pieces, the data into "
            f"{int(pieces)}: the code separates scans that are alike."
        )
    if not words:
        words.append(
            "The latent space holds the shape of the data: one piece without a loop. Nothing in "
            "the shape forces large errors on healthy scans."
            if pieces == 1
            else f"The latent space holds the shape of the data: {int(pieces)} pieces without a "
            "loop. Nothing in the shape forces large errors on healthy scans."
        )
    if "torn" in numbers:
        words.append(
            "Where neighbours of the data lie farthest apart in the latent space, the error is "
            f"{numbers['torn']:.2f} times that of the other scans."
        )
    return words


def _bars(arrays: dict[str, np.ndarray]) -> str:
    figure, axes = new_figure()
    row = 0
    ticks: list[float] = []
    said: list[str] = []
    for name, limits in zip(CLOUDS, arrays["limits"], strict=True):
        bars = arrays[f"loops/{name}"].reshape(-1, 2)
        lengths = bars[:, 1] - bars[:, 0]
        order = np.argsort(-lengths)[:MOST_BARS]
        ticks.append(row + max(len(order) - 1, 0) / 2)
        for index in order:
            counts = lengths[index] > limits[1]
            style: dict[str, Any] = (
                {"color": OWN, "linewidth": 3.0} if counts else {"color": INK, "alpha": 0.5}
            )
            axes.plot(bars[index], (row, row), **style)
            row += 1
        longest = f"{lengths.max():.2f}" if len(lengths) else "none"
        said.append(f"{CLOUDS[name]}: longest {longest}, noise {limits[1]:.2f}")
        row += 3
    axes.invert_yaxis()
    axes.set_yticks(ticks, [title.replace(" ", "\n") for title in CLOUDS.values()])
    axes.set(xlabel="scale, mean distance to the centre = 1")
    axes.grid(visible=False)
    return to_svg(figure, "Bars of the loops. " + "; ".join(said))
