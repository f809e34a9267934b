"""Replace a marked lesion by plausible healthy tissue, in the scan's own space.

brainuad-inpaint SCAN MASK OUT --model MODEL
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.error_line import run_cli
from brainuad.errors import InputError
from brainuad.machine.limits import require_folder
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say
from brainuad.preparation.recipes import changed, check
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build

# numpy, torch and the like are imported where the work starts: --help answers at once.
if TYPE_CHECKING:
    import numpy as np

    from brainuad.model.card import Card
    from brainuad.model.model import Model
    from brainuad.preparation.normalise.intensity import Normalise
    from brainuad.preparation.pipeline import Preparation
    from brainuad.types import Volume

DESCRIPTION = """Replace a marked lesion by plausible healthy tissue.

The scan is prepared as brainuad-prepare does it, the model fills the marked region, and the filling
is resampled to the scan's own grid, at the brightness of its surroundings. OUT is a copy of SCAN in
which only voxels of MASK inside the brain differ. All others, and the header, stay the same to the
bit. Intensities under MASK are never read. The filling suits registration and segmentation; it is
not the tissue before the lesion. Not for diagnosis.
"""

EXAMPLES = """examples:
  brainuad-inpaint T1.nii.gz lesion.nii.gz T1_filled.nii.gz --model runs/NAME/model.ckpt
  brainuad-inpaint t1n-voided.nii.gz mask.nii.gz filled.nii.gz --model model.ckpt \\
      preparation=extracted        # a brain without skull, on the model's grid: no registration
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-inpaint`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainuad-inpaint",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scan", metavar="SCAN", type=Path, help="NIfTI file of a head or a brain")
    parser.add_argument(
        "mask", metavar="MASK", type=Path, help="mask on its grid, replaced where > 0"
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="NIfTI file to write")
    parser.add_argument(
        "--model", metavar="MODEL", type=Path, required=True, help="model.ckpt of a run folder"
    )
    parser.add_argument(
        "--brain-mask", metavar="PATH", type=Path, help="mask on the scan's grid (default: found)"
    )
    parser.add_argument(
        "--picture", metavar="PATH", type=Path, help="PNG of before and after (default: beside OUT)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument(
        "--detail-mm",
        metavar="MM",
        type=float,
        default=6.0,
        help="finer detail is copied from the other half of the brain, if that is not marked; 0 "
        "keeps the smooth filling of the model (default: %(default)s)",
    )
    seeds = "random seed; each seed gives another filling (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=seeds)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change of the model's preparation: preparation=NAME, preparation.steps.KEY=VALUE",
    )
    return run_cli(_main, parser, argv)


def _main(arguments: argparse.Namespace) -> int:
    import torch

    from brainuad.inpainting.scan import inpaint_scan
    from brainuad.model.device import device
    from brainuad.model.model import Model
    from brainuad.model.runtime import Runtime
    from brainuad.reporting.drawing.inpainted import write_picture
    from brainuad.volumes.nifti import write_changed

    scan, out = arguments.scan, arguments.out
    if not out.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{out}: a NIfTI file is written; let its name end in .nii.gz or .nii")
    if out.exists() and any(p.exists() and out.samefile(p) for p in (scan, arguments.mask)):
        raise InputError(f"{out}: would overwrite its own input; give OUT another name")
    if arguments.detail_mm < 0:
        raise InputError(f"--detail-mm {arguments.detail_mm}: use 0 or more")
    place = device(arguments.device)
    for file in (out, arguments.picture or out):
        if file.is_dir():
            raise InputError(f"{file}: is a folder; give the name of a file")
        require_folder(file.absolute().parent)
    have_temporary(out.absolute().parent)
    volume, hole = read_inputs(scan, arguments.mask)
    model = Model.load(arguments.model, Runtime(place))
    _check_model(model, arguments.model)
    steps, normalise = _preparation(model.card, arguments.overrides)
    model.on_device()
    torch.manual_seed(arguments.seed)
    try:
        found = inpaint_scan(
            model.method,
            model.tiling,
            volume,
            hole,
            steps,
            normalise,
            model.card.sequence,
            arguments.brain_mask,
            detail_mm=arguments.detail_mm,
        )
    except ValueError as error:
        raise InputError(f"{scan}: {error}") from None
    write_changed(out, scan, found.where, found.values)
    name = out.name.removesuffix(".gz").removesuffix(".nii")
    picture = arguments.picture or out.with_name(f"{name}.png")
    write_picture(picture, volume, hole, found.where, found.values)
    kept = int(hole.sum() - found.where.sum())
    beside = f"; {kept} marked voxels outside the brain are as they were" if kept else ""
    say(f"{out}: {found.where.sum()} voxels replaced{beside}; look at {picture}")
    return 0


def read_inputs(scan: Path, mask: Path) -> tuple["Volume", "np.ndarray"]:
    """Return the scan and the voxels to replace, `(D, H, W)` bool on its grid.

    Raises:
        InputError: unreadable, not one grey 3D scan, grids differ, an empty mask or one that
            covers all of the scan, NaN or infinite voxels.
    """
    from brainuad.volumes.nifti import read_label
    from brainuad.volumes.read import is_label_map, read_scan

    if scan.is_dir():
        raise InputError(f"{scan}: is a folder; give a NIfTI file")
    volume, _ = read_scan(scan)
    if is_label_map(volume.array):
        raise InputError(f"{scan}: looks like a label map; the scan comes first, then its mask")
    hole = read_label(mask, like=volume)
    if not hole.any():
        raise InputError(f"{mask}: is empty; mark what to replace by values above 0")
    if not volume.array[~hole].any():
        raise InputError(f"{mask}: covers all that the scan shows; mark the lesion alone")
    return volume, hole


def _check_model(model: "Model", path: Path) -> None:
    from brainuad.methods.base import InpaintingDetector
    from brainuad.preparation.model_input import NormalisedInput

    if not isinstance(model.method, InpaintingDetector):
        raise InputError(
            f"{path}: {type(model.method).__name__} cannot inpaint; give a model of "
            "experiment=autopaint"
        )
    if len(model.card.channels) > 1:
        raise InputError(
            f"{path}: takes {model.card.sequence} at once, and one scan is filled here; give "
            "a model that was trained on one sequence"
        )
    if model.view is not None:
        own = isinstance(model.view, NormalisedInput)
        kind = "intensities of its own (input.normalise)" if own else "tissue maps"
        raise InputError(
            f"{path}: sees {kind}, from which no scan can be made; train with input=intensity"
        )


def _preparation(card: "Card", overrides: Sequence[str]) -> tuple["Preparation", "Normalise"]:
    """Return the model's preparation steps and normalisation, with the changes of the command line.

    Raises:
        InputError: an unknown change, see `brainuad.preparation.recipes.changed`.
    """
    recipe = changed(card.recipe, overrides)
    check(recipe)
    return (
        build(recipe.steps, RECIPE),
        build(recipe.normalise, RECIPE),
    )
