"""Curves of a run as inline SVG: precision and recall, training, scores by subject.

Drawn by matplotlib's object interface, so that no global state is left behind. Text and axes
take the page's own colour, which serves light and dark pages with one picture.
"""

import html
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brainuad.machine.text import figure_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's text colour, see `to_svg`
OWN = "#e0701a"
_OTHERS = ("#3b8bd0", "#8a8f98", "#2a9d8f", "#b565c0", "#a08020")
_STYLES = ("--", ":", "-.")
_MAX_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """The precision-recall curve of one method, pooled over the test subjects.

    Attributes:
        method: its name.
        precision: precision of the voxels at or above each threshold.
        recall: same length and order.
        operating: (recall, precision) at the method's healthy threshold, or None.
        average_precision: printed beside the name, or None.
    """

    method: str
    precision: np.ndarray
    recall: np.ndarray
    operating: tuple[float, float] | None = None
    average_precision: float | None = None


def precision_recall(curves: Sequence[Curve], chance: float | None = None) -> str:
    """Return the SVG of the methods' curves; the first is the run's own.

    Args:
        curves: curves of all methods.
        chance: precision of a score without information, drawn as a line.
    """
    figure, axes = new_figure()
    for index, curve in enumerate(curves):
        style = method_style(index)
        label = figure_text(curve.method)
        if curve.average_precision is not None:
            label += f"  (AP {curve.average_precision:.3f})"
        step = max(1, len(curve.recall) // _MAX_POINTS)
        keep = np.r_[np.arange(0, len(curve.recall), step), len(curve.recall) - 1]
        axes.plot(curve.recall[keep], curve.precision[keep], label=label, **style._asdict())
        if curve.operating is not None:
            axes.plot(*curve.operating, marker="o", markersize=7, color=style.color, clip_on=False)
    if chance is not None:
        label = f"lesion share {chance:.3f}"
        axes.axhline(chance, color=INK, alpha=0.5, linewidth=0.8, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    if curves:
        axes.legend(loc="best", frameon=False, fontsize=9, labelcolor=INK)
    names = ", ".join(curve.method for curve in curves)
    return to_svg(
        figure, f"Precision against recall over the voxels of all lesion subjects, for {names}"
    )


def training_curve(name: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Return the SVG of one logged quantity.

    Args:
        name: e.g. `loss`.
        series: `train`, `val`, … to epochs and values.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure()
    for index, (stage, (epochs, values)) in enumerate(series.items()):
        marker = "o" if len(epochs) == 1 else None
        style = method_style(index)
        axes.plot(
            epochs,
            values,
            label=figure_text(stage or name),
            marker=marker,
            markersize=4,
            **style._asdict(),
        )
    positive = all(value > 0 for _, values in series.values() for value in values)
    spread = [value for _, values in series.values() for value in values]
    if positive and max(spread) > 20 * min(spread):
        axes.set_yscale("log")
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Above the axis, not beside it: losses have tick labels of any width.
    title: dict[str, Any] = {"ha": "center", "fontsize": 10.5, "color": INK}
    axes.text(0.5, 1.03, figure_text(name), transform=axes.transAxes, **title)
    axes.legend(loc="best", frameon=False, fontsize=9.5, labelcolor=INK)
    ends = "; ".join(f"{stage} ends at {values[-1]:.4g}" for stage, (_, values) in series.items())
    return to_svg(figure, f"{name} over epochs: {ends}")


def strips(
    title: str, values: Mapping[str, Mapping[str, Sequence[float]]], limits: tuple[float, float]
) -> str:
    """Return the SVG of a score with one dot per subject, by group and method.

    Args:
        title: name of the score, which labels the axis.
        values: method, then group (a pathology), to the subjects' values; the run's own first.
        limits: limits of the axis.
    """
    figure, axes = new_figure()
    groups = list(dict.fromkeys(group for by_group in values.values() for group in by_group))
    medians = []
    for index, (method, by_group) in enumerate(values.items()):
        style = method_style(index)
        offset = 0.26 * (index - (len(values) - 1) / 2)
        for position, group in enumerate(groups):
            dots = np.sort(np.asarray(by_group.get(group, ()), float))
            if not dots.size:
                continue
            # A fixed pattern instead of random jitter: the same run gives the same page.
            x = position + offset + 0.035 * (np.arange(dots.size) * 2 % 5 - 2)
            face = style.color if index == 0 else "none"
            axes.scatter(x, dots, s=22, facecolor=face, edgecolor=style.color, linewidth=1)
            median = float(np.median(dots))
            ends = [position + offset - 0.11, position + offset + 0.11]
            axes.plot(ends, [median] * 2, color=INK, linewidth=1.6, zorder=1)
            medians.append(f"{method}, {group}: median {median:.3f} of {dots.size}")
        axes.scatter(
            [],
            [],
            s=22,
            facecolor=face if groups else "none",
            edgecolor=style.color,
            label=figure_text(method),
        )
    counts = [len(next(iter(values.values())).get(group, ())) for group in groups]
    labels = [f"{figure_text(group)}\nn = {n}" for group, n in zip(groups, counts, strict=True)]
    axes.set_xticks(range(len(groups)), labels)
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylim=limits, ylabel=figure_text(title))
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper center", ncols=3, frameon=False, fontsize=9.5, labelcolor=INK
    )
    return to_svg(figure, f"{title} by subject. " + "; ".join(medians))


class Style(NamedTuple):
    """Line of a method: options of matplotlib's `plot`."""

    color: str
    linewidth: float
    linestyle: str


def method_style(index: int) -> Style:
    """Return the line of the nth method; the first is the run's own."""
    if index == 0:
        return Style(OWN, 2.2, "-")
    other = index - 1
    return Style(_OTHERS[other % len(_OTHERS)], 1.5, _STYLES[other % len(_STYLES)])


def new_figure() -> tuple["Figure", "Axes"]:
    """Return a figure of the page's style, with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.5))
    axes = figure.add_axes((0.15, 0.175, 0.83, 0.735))
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(which="both", colors=INK, labelsize=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=10.5)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
    return figure, axes


def to_svg(figure: "Figure", description: str) -> str:
    """Return the figure as an `<svg>` element without outside names, with ids of its own."""
    import matplotlib

    buffer = io.StringIO()
    # Text stays text: it can be searched and takes the page's font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    prefix = f"f{zlib.crc32(description.encode()):x}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = text.replace("url(#", f"url(#{prefix}").replace('href="#', f'href="#{prefix}')
    text = text.replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(description)}" ', 1)
