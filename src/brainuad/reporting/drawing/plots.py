"""Plots that serve both a run's trust checks and the comparison of runs, as inline SVG."""

from collections.abc import Mapping, Sequence

import numpy as np

from brainuad.machine.text import figure_text
from brainuad.metrics.statistics import bootstrap_interval
from brainuad.reporting.drawing.curves import INK, method_style, new_figure, to_svg

RECALL = np.linspace(0.01, 1, 100)


def bands(precision: Mapping[str, np.ndarray]) -> str:
    """Draw the mean precision over subjects against recall, with 95 % bootstrap bands.

    Args:
        precision: method to `(S, 100)` at recall 0.01 to 1, from `curves.npz`.
    """
    figure, axes = new_figure()
    for index, (name, values) in enumerate(precision.items()):
        style = method_style(index)
        ends = np.array([bootstrap_interval(column, 500) for column in values.T])
        axes.fill_between(
            RECALL, ends[:, 0], ends[:, 1], color=style.color, alpha=0.18, linewidth=0
        )
        axes.plot(RECALL, values.mean(axis=0), label=figure_text(name), **style._asdict())
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision, mean over subjects")
    axes.legend(loc="best", frameon=False, fontsize=9.5, labelcolor=INK)
    ends_at = "; ".join(f"{name}: {v.mean():.3f}" for name, v in precision.items())
    words = "Mean precision over subjects against recall with bootstrap bands; mean over recall "
    return to_svg(figure, words + ends_at)


def against_volume(points: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw Dice against lesion volume, one dot per subject, with running medians.

    Args:
        points: method to (volume in ml, Dice).
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_figure()
    for index, (name, pairs) in enumerate(points.items()):
        style = method_style(index)
        volume, dice = np.array(sorted(pairs)).T if pairs else (np.zeros(0), np.zeros(0))
        face = style.color if index == 0 else "none"
        axes.scatter(
            volume,
            dice,
            s=20,
            facecolor=face,
            edgecolor=style.color,
            alpha=0.8,
            label=figure_text(name),
        )
        if len(volume) >= 6:
            window = max(3, len(volume) // 4)
            middle = [np.median(dice[i : i + window]) for i in range(len(dice) - window + 1)]
            at = [np.median(volume[i : i + window]) for i in range(len(dice) - window + 1)]
            axes.plot(at, middle, **style._asdict())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(ylim=(-0.02, 1.02), xlabel="lesion volume, ml", ylabel="Dice, healthy threshold")
    axes.legend(loc="best", frameon=False, fontsize=9.5, labelcolor=INK)
    return to_svg(
        figure, f"Dice against lesion volume, one dot per subject, for {', '.join(points)}"
    )


def paired(names: Sequence[str], first: np.ndarray, second: np.ndarray, title: str) -> str:
    """Draw two methods' values of the same subjects with the line of equality.

    Args:
        names: names of the two.
        first: `(N,)`, drawn across.
        second: `(N,)`, drawn up.
        title: name of the value.
    """
    figure, axes = new_figure()
    kept = ~np.isnan(first) & ~np.isnan(second)
    x, y = first[kept], second[kept]
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=0.8)
    axes.scatter(x, y, s=22, color=method_style(0).color, alpha=0.8)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel=figure_text(f"{title}, {names[0]}"),
        ylabel=figure_text(f"{title}, {names[1]}"),
    )
    axes.set_aspect("equal")
    better = int((y > x).sum())
    words = f"{title} by subject: {names[1]} is higher in {better} of {len(x)}, "
    return to_svg(figure, words + f"{names[0]} in {int((x > y).sum())}")


def calibration(found: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Draw the share of healthy test brains above the threshold against the share asked for.

    Args:
        found: method to `(A,)` alphas and `(H, A)` shares of each healthy test subject.
    """
    figure, axes = new_figure()
    words = []
    floor = 1e-5
    for index, (name, (alphas, shares)) in enumerate(found.items()):
        style = method_style(index)
        if index == 0:
            for row in shares:
                axes.plot(alphas, np.maximum(row, floor), color=style.color, alpha=0.25, lw=0.8)
        axes.plot(
            alphas,
            np.maximum(shares.mean(axis=0), floor),
            label=figure_text(name),
            **style._asdict(),
        )
        at = int(np.abs(alphas - 0.01).argmin())
        words.append(f"{name}: {shares[:, at].mean():.4f} at {alphas[at]:g}")
    ends = [min(a.min() for a, _ in found.values()), max(a.max() for a, _ in found.values())]
    axes.plot(ends, ends, color=INK, alpha=0.5, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="α asked for, on validation", ylabel="found, on healthy test")
    axes.legend(loc="best", frameon=False, fontsize=9.5, labelcolor=INK)
    return to_svg(figure, "Calibration of the healthy threshold. " + "; ".join(words))
