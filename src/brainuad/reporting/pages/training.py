"""Part of the report on the training of a method, with its checks on healthy subjects."""

from dataclasses import dataclass

from brainuad.records.fields import picked
from brainuad.records.stage_quality import StageQuality
from brainuad.reporting.drawing import curves as figures
from brainuad.reporting.pages.render import Plot, Table
from brainuad.reporting.run_folder import RunFolder

MAX_PLOTS = 6
"""Number of logged quantities that are drawn; the others are named."""


@dataclass(frozen=True)
class Repainting:
    """Repainting of held-out healthy subjects.

    Attributes:
        healthy_region_before: share of the brain that is a candidate.
        healthy_region_after: share that is left after repainting.
        images_a_slice: number of images through the network per slice.
    """

    healthy_region_before: float
    healthy_region_after: float
    images_a_slice: float


@dataclass(frozen=True)
class Training:
    """Training of a method.

    Attributes:
        plots: a drawing per logged quantity.
        others: logged quantities that are not drawn.
        first_stage: quality of the autoencoder; None without one.
        repainting: None for a method that does not repaint.
        checks: numbers of all checks; None where there are none.
    """

    plots: list[Plot]
    others: list[str]
    first_stage: StageQuality | None
    repainting: Repainting | None
    checks: Table | None


def training(run: RunFolder) -> Training:
    """Return a plot per logged quantity, and the checks on healthy subjects."""
    names = list(run.history)
    plots = [Plot(figures.training_curve(name, run.history[name])) for name in names[:MAX_PLOTS]]
    own = {name.removeprefix("first_stage/"): value for name, value in run.checks.items()}
    numbers = {n: value for n, value in run.checks.items() if isinstance(value, int | float)}
    rows = [[name, f"{value:.4g}"] for name, value in numbers.items()]
    caption = "Checks of the trained method on healthy scans (checks.json)"
    return Training(
        plots,
        names[MAX_PLOTS:],
        picked(StageQuality, own),
        picked(Repainting, own),
        Table(["check", "value"], rows, caption) if rows else None,
    )
