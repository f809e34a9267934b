"""The report's section on a latent space: is it one of healthy brains?"""

import numpy as np

from brainuad.reporting.drawing.curves import INK, OWN, new_figure, to_svg
from brainuad.reporting.pages import html
from brainuad.reporting.run_folder import RunFolder

COLUMNS = 3
_NAMES = {
    "reconstruction": "reconstruction",
    "mean_image": "mean training image of that level",
    "identity": "identity (what it was given)",
}
_ERRORS = [f"{given}/{name}" for given in ("clean", "painted") for name in _NAMES]


def latent(run: RunFolder) -> str:
    """The section; empty for a method without such a latent space."""
    record, arrays = run.checks, run.check_arrays
    if "latent_dim" not in record:
        return ""
    error = {name: record[f"error/{name}"] for name in _ERRORS}
    rows = [
        [name, f"{error[f'clean/{key}']:.4f}", f"{error[f'painted/{key}']:.4f}"]
        for key, name in _NAMES.items()
    ]
    better = error["clean/reconstruction"] < error["clean/mean_image"]
    repairs = error["painted/reconstruction"] < error["painted/identity"]
    words = (
        f"On {record['subjects']:.0f} held-out healthy subjects the reconstruction is "
        f"{'closer to the image than' if better else 'no better than'} the mean training image, "
        f"and {'repairs' if repairs else 'does not repair'} squares painted over it. "
        f"{record['in_use']:.0f} of {record['latent_dim']:.0f} latent dimensions are in use (mean "
        f"KL over 0.01 nat), {record['kl_nats']:.1f} nats in all."
    )
    body: str = html.paragraph(words, "" if better and repairs else "note")
    body += html.table(
        ["predictor", "given the clean image", "given one with squares painted over"],
        rows,
        caption="Mean absolute error in the brain to the clean image, held-out healthy subjects.",
    )
    drawn = [html.plot(_kl(arrays["kl"]), "KL of each latent dimension, largest first")]
    if "path" in arrays:
        # A collapsed posterior decodes every vector to one image, which makes no step.
        step = record.get("largest_step")
        evenness = "nothing changes" if step is None else f"largest step {step:.1f} times the mean"
        caption = (
            "In reading order, from one held-out healthy subject to another on the straight line "
            f"between their latent vectors: {evenness}."
        )
        drawn.append(html.plot(_path(arrays["ends"], arrays["path"]), caption))
    body += str(html.grid(drawn, "plots"))
    return html.section("Is the latent space one of healthy brains?", body, anchor="latent")


def _kl(kl: np.ndarray) -> str:
    figure, axes = new_figure()
    axes.plot(np.arange(1, len(kl) + 1), np.maximum(kl, 1e-6), color=OWN)
    axes.axhline(0.01, color=INK, alpha=0.5, linewidth=0.8)
    axes.set_yscale("log")
    axes.set(xlabel="latent dimension, by KL", ylabel="mean KL, nat")
    return to_svg(figure, f"KL a latent dimension, from {kl.max():.3g} to {kl.min():.3g} nat")


def _path(ends: np.ndarray, path: np.ndarray) -> str:
    """Inputs at both ends and what is decoded between them, in reading order."""
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
