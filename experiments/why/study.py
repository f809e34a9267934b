"""Find the step of a method that loses a stroke: input, autoencoder, reconstruction or map.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.why.study

paints strokes of known contrast, in outlines of real ones, into the quiet validation slices of
`soop`, and shows them to the models of `python -m experiments.real soop`. Beside each painted slice
stands the slice without the stroke, so that what a step does to the stroke is a difference of two.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brainuad.benchmark.tables import write_results
from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.methods.autopaint import AutoPaint
from brainuad.metrics.voxel import average_precision
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.tables import to_markdown
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.shapes import Soft
from brainuad.synthetic.masks.from_lesions import LesionHoles
from brainuad.volumes.nifti import read_volume, write_volume

HERE = Path(__file__).parent
CONTRASTS = (0.2, 0.4)
"""Brightness that a stroke adds, as a share of the brain's median."""

SMALLEST_PX = 12
METHODS = {
    "intensity": ("intensity", {}),
    "dae": ("dae", {}),
    "ae": ("ae", {}),
    "vae": ("vae", {}),
    "strega": ("strega", {}),
    "autopaint": ("autopaint", {}),
    "autopaint, hidden": ("autopaint", {}),
    "madad": ("madad", {}),
    "madad_clean": ("madad", {"scores_by": "clean"}),
    "madad, mask head": ("madad", {"scores_by": "mask"}),
    "fpi_shapes": ("fpi_shapes", {}),
}
"""Name in the table: run folder and options of the method."""

HIDDEN = "autopaint, hidden"
"""AutoPaint before it decides what to replace: each pixel filled while it is hidden."""

INTRODUCTION = """# Results

Written by `python -m experiments.why.study`; do not edit. Means over {count} strokes painted into \
{people} quiet validation slices of `soop`, in outlines of real strokes, at each contrast.

- **contrast to noise**: what the stroke adds to the input of the method, over the standard \
deviation of the healthy brain in that input.
- **kept by the autoencoder**: share of that difference which is left after encoding and decoding \
alone. A method on latents sees nothing else: 1 is best.
- **kept by the reconstruction**: share of it in the pseudo-healthy image. 0 is best: what is kept \
is not in the residual.
- **healthy error**: mean error of the reconstruction in the slice without a stroke, over the mean \
difference that the stroke makes. Above 1 healthy tissue is rebuilt worse than a stroke stands out.
- **AP, map**: average precision of the map, before post-processing; **ideal**: of the difference \
of the two inputs, the map of a perfect reconstruction.

"""


class Painted(NamedTuple):
    """A slice with a stroke.

    Attributes:
        sick: with the stroke.
        healthy: without.
        lesion: `(1, D, H, W)` bool.
        contrast: one of `CONTRASTS`.
    """

    sick: Scan
    healthy: Scan
    lesion: Tensor
    contrast: float


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/real/soop"), help="run folders")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/why"), help="painted slices")
    arguments = parser.parse_args()
    real = os.environ.get("BRAINUAD_REAL_DATA")
    if not real:
        sys.exit("set BRAINUAD_REAL_DATA to the folder of real scans")
    torch.set_num_threads(1)
    cohort = read_run(arguments.runs / "intensity" / "FLAIR-0").cohort
    if cohort is None:
        sys.exit(
            f"{arguments.runs}: no run, or its cohort is gone; run experiments.real soop first"
        )
    quiet = cohort.select("val", "FLAIR", healthy=True)
    holes = LesionHoles(Path(real) / "soop_lesion_shapes_mni", radius=(0.02, 0.3), most=4)
    painted = list(paint(quiet, holes, arguments.work))
    rows = []
    for name, (run, options) in METHODS.items():
        path = arguments.runs / run / "FLAIR-0"
        if (path / "model.ckpt").is_file():
            rows += list(measured(name, path, options, painted, arguments.work))
            print(name, flush=True)
    table = pd.DataFrame(rows)
    means = table.groupby(["method", "contrast"], sort=False).mean().reset_index()
    write_results(arguments.out / "results.csv", means)
    cells = [[_cell(value) for value in row] for row in means.to_numpy().tolist()]
    text = INTRODUCTION.format(count=len(painted) // len(CONTRASTS), people=len(quiet))
    (arguments.out / "results.md").write_text(text + to_markdown(list(means), cells) + "\n")


def paint(scans: list[Scan], holes: LesionHoles, work: Path) -> Iterator[Painted]:
    """Yield each slice with the same stroke at each contrast."""
    for number, scan in enumerate(scans):
        image, brain_mask = load_scan(scan)
        affine = read_volume(scan.image).affine
        plane, inside = image[None, ..., 0], brain_mask[None, ..., 0]
        brain = plane[inside]
        # A contrast of the painter is a share of the range of the brain's intensities.
        low, high = np.quantile(brain.numpy(), [0.02, 0.98])
        for contrast in CONTRASTS:
            share = contrast * float(brain.median()) / float(high - low)
            painter = IntensityShift(Soft(holes, 0.01), (share, share), 1.0, (0.2, 1.0))
            found = painter(plane, inside, torch.Generator().manual_seed(number))
            lesion = (found.share > 0.5) & inside
            if int(lesion.sum()) < SMALLEST_PX:
                continue
            subject = f"{scan.subject}_{contrast:g}"
            path = work / "painted" / f"{subject}.nii.gz"
            write_volume(path, found.image[0, 0, ..., None].clamp(0, 1).numpy(), affine)
            sick = replace(scan, subject=subject, image=path)
            yield Painted(sick, scan, lesion[0, ..., None], contrast)


def measured(
    name: str, run: Path, options: dict[str, str], painted: list[Painted], work: Path
) -> Iterator[dict[str, float | str]]:
    """Yield a row per painted stroke."""
    model = Model.load(run, Runtime(batch_size=32, cache=work))
    if options:
        model = model.with_options(options)
    model.on_device()
    failures = Failures()
    sick = model.views([one.sick for one in painted], failures)
    healthy = model.views([one.healthy for one in painted], failures)
    if failures:
        raise InputError(f"{name}: {failures[0][0]}: {failures[0][1]}")
    for one, with_it, without in zip(painted, sick, healthy, strict=True):
        seen, brain = load_scan(with_it)
        before, _ = load_scan(without)
        added = seen - before
        inside, lesion = brain[0], one.lesion[0]
        strength = float(added[0][lesion].abs().mean())
        row: dict[str, float | str] = {"method": name, "contrast": one.contrast}
        row["contrast to noise"] = strength / float(before[0][inside].std())
        stages = [_decoded(model, x, brain) for x in (seen, before)]
        row["kept by the autoencoder"] = _kept(stages, added, lesion)
        found = [model.detect_scan(scan) for scan in (with_it, without)]
        images = [part.reconstruction for part in found]
        if name == HIDDEN:
            images = [_hidden(model, x, brain) for x in (seen, before)]
        row["kept by the reconstruction"] = _kept(images, added, lesion)
        rebuilt = images[1]
        error = np.nan if rebuilt is None else float((rebuilt - before)[0][inside].abs().mean())
        row["healthy error"] = error / max(strength, 1e-6)
        row["AP, ideal"] = _ap(added.abs(), inside, lesion)
        row["AP, map"] = _ap(found[0].anomaly_map, inside, lesion)
        yield row


def _decoded(model: Model, image: Tensor, brain_mask: Tensor) -> Tensor | None:
    """Return what a first stage makes of an image; None for methods without one."""
    autoencoder = model.method.first_stage
    if not isinstance(autoencoder, LatentAutoencoder):
        return None
    tiles, places = model.tiling.split(image)
    with torch.no_grad():
        decoded = autoencoder.decode(autoencoder.encode(tiles)[0])
    joined = model.tiling.join(decoded, places, tuple(image.shape[1:]))
    return torch.where(brain_mask, joined, torch.zeros(()))


@torch.no_grad()
def _hidden(model: Model, image: Tensor, brain_mask: Tensor) -> Tensor:
    """Return what AutoPaint fills each pixel with while it is hidden, its mean over the holes."""
    method = model.method
    assert isinstance(method, AutoPaint)
    tiles, places = model.tiling.split(image)
    masks = model.tiling.split(brain_mask.to(torch.uint8))[0].bool()
    total, count = torch.zeros_like(tiles), torch.zeros_like(tiles)
    for pattern in method.patterns(tiles.shape[2:]):
        hole = masks & pattern
        total += torch.where(hole, method.inpaint(tiles, hole), torch.zeros(()))
        count += hole
    joined = model.tiling.join(total / count.clamp_min(1), places, tuple(image.shape[1:]))
    return torch.where(brain_mask, joined, torch.zeros(()))


def _kept(parts: list[Tensor | None], added: Tensor, lesion: Tensor) -> float:
    """Return the share of a difference of inputs that is left in another pair of images."""
    sick, healthy = parts
    if sick is None or healthy is None:
        return np.nan
    change, wanted = (sick - healthy)[0][lesion], added[0][lesion]
    return float((change * wanted).sum() / (wanted**2).sum().clamp_min(1e-12))


def _ap(score: Tensor, inside: Tensor, lesion: Tensor) -> float:
    return average_precision(score[0][inside].numpy(), lesion[inside].numpy())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    main()
