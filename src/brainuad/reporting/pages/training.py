"""Parts of the report on what ran: the training with its checks, and the facts of the run."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TypeVar

from brainuad.machine.text import without_home
from brainuad.reporting.drawing import curves as figures
from brainuad.reporting.pages.render import Plot, Table
from brainuad.reporting.run_folder import RunFolder

MAX_PLOTS = 6
"""Number of logged quantities that are drawn; the others are named."""

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class FirstStage:
    """Reconstruction of held-out healthy subjects by the autoencoder.

    Attributes:
        subjects: number of subjects.
        psnr_db: mean peak signal-to-noise ratio.
        ssim: mean structural similarity.
        min_psnr_db: smallest ratio that suffices.
        min_ssim: smallest similarity that suffices.
    """

    subjects: float
    psnr_db: float
    ssim: float
    min_psnr_db: float
    min_ssim: float

    @property
    def is_poor(self) -> bool:
        """Whether it blurs so much that its blur looks like lesions."""
        return self.psnr_db < self.min_psnr_db or self.ssim < self.min_ssim


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
    first_stage: FirstStage | None
    repainting: Repainting | None
    checks: Table | None


@dataclass(frozen=True)
class Ran:
    """Facts of a run.

    Attributes:
        facts: name to value.
        versions: packages.
        config: resolved configuration as text; may be empty.
    """

    facts: dict[str, str]
    versions: Table
    config: str


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
        picked(FirstStage, own),
        picked(Repainting, own),
        Table(["check", "value"], rows, caption) if rows else None,
    )


def picked(kind: type[Kind], values: Mapping[str, float]) -> Kind | None:
    """Return the dataclass whose fields these values hold; None where one is missing."""
    known = fields(kind)  # type: ignore[arg-type]
    if not {field.name for field in known if field.default is MISSING} <= values.keys():
        return None
    return kind(**{field.name: values[field.name] for field in known if field.name in values})


def ran(run: RunFolder) -> Ran:
    """Return command, code, data, machine and configuration."""
    record = run.record
    commit = record.commit or "not known (installed without a checkout)"
    if record.dirty:
        commit = f"{commit}, with changes that are not committed"
    seconds, volume_s, parameters = (
        record.duration_s,
        record.wall_time_per_volume_s,
        record.parameters,
    )
    facts = {
        "command": record.command,
        "commit": commit,
        "started": record.time_started,
        "duration": None if seconds is None else f"{seconds:.0f} s",
        "time per volume": None if volume_s is None else f"{volume_s:.2f} s",
        "device": record.device,
        "Python": record.python,
        "seed": record.seed,
        "trainable parameters": None if parameters is None else f"{parameters:,}",
        "cohort": record.cohort.name or run.summary.cohort,
        "cohort folder": record.cohort.path,
        "split (SHA-256)": record.cohort.split_hash or run.summary.split_hash,
        "checkpoint": record.checkpoint.path,
        "checkpoint (SHA-256)": record.checkpoint.sha256,
        "healthy thresholds": ", ".join(
            f"{name} –" if value is None else f"{name} {value:.4g}"
            for name, value in run.summary.thresholds.items()
        ),
    }
    known = {k: without_home(value) for k, value in facts.items() if value not in (None, "")}
    versions = Table(["package", "version"], list(record.versions.items()), "Versions")
    return Ran(known, versions, without_home(run.config))
