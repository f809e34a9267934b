"""Part of the report on a latent space: is it one of healthy brains?"""

from dataclasses import dataclass

import numpy as np

from brainuad.records.fields import picked
from brainuad.reporting.drawing.curves import INK, OWN, new_figure, to_svg
from brainuad.reporting.pages.render import Plot, Table
from brainuad.reporting.run_folder import RunFolder

COLUMNS = 3
"""Number of pictures per row of the path through the latent space."""

_TITLES = {
    "reconstruction": "reconstruction",
    "mean_image": "mean training image of that level",
    "identity": "identity (the input itself)",
}


@dataclass(frozen=True)
class LatentChecks:
    """Numbers of a latent space on held-out healthy subjects.

    Attributes:
        subjects: number of subjects.
        latent_dim: number of dimensions.
        in_use: number of dimensions with a mean KL over 0.01 nat.
        kl_nats: KL of all dimensions.
        largest_step: largest step of the path in mean steps; None where nothing changes.
    """

    subjects: float
    latent_dim: float
    in_use: float
    kl_nats: float
    largest_step: float | None = None


@dataclass(frozen=True)
class Latent:
    """Latent space of a method.

    Attributes:
        checks: numbers on held-out healthy subjects.
        is_better: whether the reconstruction is closer to the image than the mean image.
        repairs: whether it is closer to the image than the input with squares painted over.
        errors: mean absolute error of each predictor.
        plots: KL of the dimensions, and a path through the space.
    """

    checks: LatentChecks
    is_better: bool
    repairs: bool
    errors: Table
    plots: list[Plot]


def latent(run: RunFolder) -> Latent | None:
    """Return the part; None for a method without such a latent space."""
    checks = picked(LatentChecks, run.checks)
    if checks is None:
        return None
    clean, painted = (
        [run.checks[f"error/{given}/{name}"] for name in _TITLES] for given in ("clean", "painted")
    )
    rows = zip(_TITLES.values(), clean, painted, strict=True)
    (reconstruction, mean_image, _), (repaired, _, identity) = clean, painted
    arrays = run.check_arrays
    plots = [Plot(_kl(arrays["kl"]), "KL of each latent dimension, largest first")]
    if "path" in arrays:
        # A collapsed posterior decodes every vector to one image, which makes no step.
        step = checks.largest_step
        evenness = "nothing changes" if step is None else f"largest step {step:.1f} times the mean"
        caption = (
            "In reading order, from one held-out healthy subject to another on the straight line "
            f"between their latent vectors: {evenness}."
        )
        plots.append(Plot(_path(arrays["ends"], arrays["path"]), caption))
    return Latent(
        checks,
        reconstruction < mean_image,
        repaired < identity,
        Table(
            ["predictor", "given the clean image", "given one with squares painted over"],
            [[title, f"{first:.4f}", f"{second:.4f}"] for title, first, second in rows],
            "Mean absolute error in the brain to the clean image, held-out healthy subjects",
        ),
        plots,
    )


def _kl(kl: np.ndarray) -> str:
    figure, axes = new_figure()
    axes.plot(np.arange(1, len(kl) + 1), np.maximum(kl, 1e-6), color=OWN)
    axes.axhline(0.01, color=INK, alpha=0.5, linewidth=0.8)
    axes.set_yscale("log")
    axes.set(xlabel="latent dimension, by KL", ylabel="mean KL, nat")
    return to_svg(figure, f"KL per latent dimension, from {kl.max():.3g} to {kl.min():.3g} nat")


def _path(ends: np.ndarray, path: np.ndarray) -> str:
    """Draw the inputs at both ends and the decoded images between them, in reading order."""
    figure, axes = new_figure()
    axes.set_position((0.01, 0.01, 0.98, 0.98))
    axes.axis("off")
    # The first axis runs to the subject's right, the second forward: turned, the face is up.
    images = [np.rot90(image) for image in (ends[0], *path, ends[1])]
    height, width = images[0].shape
    rows = [np.concatenate(images[i : i + COLUMNS], axis=1) for i in range(0, len(images), COLUMNS)]
    axes.imshow(np.clip(np.concatenate(rows), 0, 1), cmap="gray", vmin=0, vmax=1)
    names = ["input", *(f"{i / (len(path) - 1):.2f}" for i in range(len(path))), "input"]
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        place = (column + 0.04) * width, (row + 0.12) * height
        axes.text(*place, name, color="white", fontsize=8)
    return to_svg(figure, "Interpolation between two healthy subjects in latent space")
