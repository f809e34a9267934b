"""Measure how well regions of held-out healthy brains are inpainted, on any cohort."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.model.model import Model
from brainuad.reporting.tables import to_markdown
from brainuad.synthetic.masks.random import ShapeHoles

Fill = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image `(N, 1, H, W)`, hole, brain mask) -> filled image."""

OURS = "autopaint"


@torch.no_grad()
def fill_scans(
    inpainter: Path, vae: Path, scans: Sequence[Scan], slices: int = 6, seed: int = 0
) -> pd.DataFrame:
    """Return PSNR (dB) and SSIM inside random holes, one row per subject and method.

    Args:
        inpainter: model file of `experiment=autopaint`.
        vae: of a ceVAE on intensities.
        scans: healthy, held out, or the lesion-free twins of others.
        slices: of each, evenly between the lowest and the highest with a tenth of the frame brain.
        seed: of the holes, which are the same for every method.
    """
    model = Model.load(inpainter)
    tiling = model.tiling
    detector, other = model.method.eval(), Model.load(vae).method.eval()
    methods: dict[str, Fill] = {
        OURS: lambda image, hole, brain: detector.inpaint(image, hole),
        "mean of what is seen": mean_fill,
        "biharmonic": biharmonic,
        "ceVAE, hole filled by the mean": lambda image, hole, brain: other.reconstruct(
            mean_fill(image, hole, brain), brain
        ),
        "ceVAE that sees the truth": lambda image, hole, brain: other.reconstruct(image, brain),
    }
    holes = ShapeHoles((0.05, 0.3), (0.05, 0.25))
    rows = []
    for number, scan in enumerate(scans):
        volume, mask = load_scan(scan)
        tiles, masks = tiling.split(volume)[0], tiling.split(mask.to(torch.uint8))[0].bool()
        usable = (masks.flatten(1).float().mean(1) > 0.1).nonzero()[:, 0]
        chosen = usable[torch.linspace(0, len(usable) - 1, slices).round().long()]
        image, brain = tiles[chosen], masks[chosen]
        hole = holes(brain, torch.Generator().manual_seed(1000 * seed + number))
        for name, fill in methods.items():
            filled = torch.where(hole, fill(image, hole, brain).float(), image).clamp(0, 1)
            psnr, ssim = quality(filled, image, hole)
            rows.append({"subject": scan.subject, "method": name, "PSNR": psnr, "SSIM": ssim})
    return pd.DataFrame(rows)


def quality(filled: Tensor, image: Tensor, hole: Tensor) -> tuple[float, float]:
    """PSNR in dB and SSIM (Gaussian window) over the hole's pixels; data range 1."""
    error = (filled - image)[hole].double().square().mean()
    full = structural_similarity_index_measure(
        filled, image, data_range=1.0, return_full_image=True
    )[1]
    return float(-10 * error.log10()), float(full[hole].double().mean())


def mean_fill(image: Tensor, hole: Tensor, brain: Tensor) -> Tensor:
    """The mean of the brain that is seen in the slice."""
    seen = brain & ~hole
    count = seen.flatten(1).sum(1).clamp_min(1)
    mean = torch.where(seen, image, 0).flatten(1).sum(1) / count
    return torch.where(hole, mean[:, None, None, None], image)


def biharmonic(image: Tensor, hole: Tensor, brain: Tensor) -> Tensor:
    """The smooth surface through the surroundings (scikit-image)."""
    filled = [
        inpaint_biharmonic(one.numpy(), where.numpy())
        for one, where in zip(image[:, 0], hole[:, 0], strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).float()[:, None]


def table(scores: pd.DataFrame) -> str:
    """Means with intervals over subjects, and paired tests of ours against each other method."""
    values = {
        m: scores.pivot(index="subject", columns="method", values=m) for m in ("PSNR", "SSIM")
    }
    others = [name for name in scores.method.unique() if name != OURS]
    ps = {
        metric: dict(
            zip(
                others,
                holm([paired_wilcoxon(v[OURS].to_numpy(), v[o].to_numpy()) for o in others]),
                strict=True,
            )
        )
        for metric, v in values.items()
    }
    rows = []
    for name in scores.method.unique():
        cells = []
        for metric, found in values.items():
            mean = summarise(found[name].to_numpy(float))
            digits = 1 if metric == "PSNR" else 3
            cells.append(
                f"{mean.mean:.{digits}f} ({mean.ci_low:.{digits}f} to {mean.ci_high:.{digits}f})"
            )
            cells.append("" if name == OURS else f"{ps[metric][name]:.2g}")
        rows.append([name, *cells])
    header = ["filled by", "PSNR, dB", "p", "SSIM", "p"]
    count = scores.subject.nunique()
    text = f"{count} subjects; mean with 95 % bootstrap interval over them; p of {OURS} against "
    return text + f"the method, paired Wilcoxon, Holm-corrected.\n\n{to_markdown(header, rows)}"
