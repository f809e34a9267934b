"""Pack a trained model for others: a bundle of brainuad, an ONNX file, or a MONAI bundle.

brainuad-export RUN OUT
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainuad.cli.error_line import run_cli
from brainuad.errors import InputError
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say

if TYPE_CHECKING:
    from brainuad.model.card import Card

FORMATS = ("bundle", "onnx", "monai")

DESCRIPTION = """Pack a trained model for others.

--format bundle (default): one folder or .zip with the weights (safetensors), its configuration,
preparation, threshold, training statistics and licence, a model card to read, and SHA-256 of each.
brainuad-predict, brainuad-inpaint and brainuad.load read it; nothing in it is ever executed.

--format onnx: a folder with model.onnx, which any ONNX runtime computes, and model.json, which says
what comes before and after it, with the measured agreement.

--format monai: a MONAI bundle, which `python -m monai.bundle run` runs without brainuad.

ONNX and MONAI hold methods that score in one pass. The card holds the names of the training
subjects, so that nobody scores a model on them; look at it before you publish it.
"""

EXAMPLES = """examples:
  brainuad-export runs/strega/NAME model.zip --licence "CC BY 4.0"
  brainuad-export runs/strega/NAME/model.ckpt bundles/strega     # a folder
  brainuad-export runs/strega/NAME small.zip --half --licence CC0  # half the size
  brainuad-export universal exported/ --format onnx --sequence T2w
  brainuad-export runs/fpi/NAME exported/ --format monai
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-export`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainuad-export",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    named = "run folder, its model.ckpt, a bundle, or the name of a model that comes with brainuad"
    add("run", metavar="RUN", help=named)
    add("out", metavar="OUT", type=Path, help="folder to make; a bundle may be a .zip")
    add("--format", choices=FORMATS, default="bundle", help="format (default: %(default)s)")
    add("--licence", help="licence of the weights (default: the model's, or not stated)")
    add("--sequence", help="sequence, to choose among the models that come with brainuad")
    add("--half", action="store_true", help="bundle: weights as float16, half the size")
    return run_cli(_main, parser, argv)


def _main(arguments: argparse.Namespace) -> int:
    from brainuad.shipped import resolved

    if arguments.half and arguments.format != "bundle":
        raise InputError("--half is for --format bundle; leave it out")
    have_temporary(arguments.out.absolute().parent)
    run = resolved(arguments.run, arguments.sequence)
    write = {"bundle": _bundle, "onnx": _onnx, "monai": _monai}[arguments.format]
    card = write(run, arguments)
    atlas = card.recipe.atlas_image
    if atlas:
        say(
            f"note: its scans were registered to {atlas}, which is not in the bundle; give it "
            "along, for preparation.steps.atlas_image=FILE"
        )
    from brainuad.model.export import UNSTATED

    if card.licence == UNSTATED:
        say("note: without --licence nobody may use it; state one")
    return 0


def _bundle(run: Path, arguments: argparse.Namespace) -> "Card":
    from brainuad.model.export import export_model

    card = export_model(run, arguments.out, arguments.licence, arguments.half)
    say(f"{arguments.out}: look at MODEL_CARD.md in it before you share it")
    return card


def _onnx(run: Path, arguments: argparse.Namespace) -> "Card":
    from brainuad.formats.onnx import write_onnx

    card, measured = write_onnx(run, arguments.out, arguments.licence)
    say(f"{arguments.out}: look at MODEL_CARD.md and model.json in it before you share it")
    _say_agreement(measured)
    return card


def _monai(run: Path, arguments: argparse.Namespace) -> "Card":
    from brainuad.formats.monai_bundle import write_monai

    card, measured = write_monai(run, arguments.out, arguments.licence)
    say(f"{arguments.out}: look at docs/README.md in it before you share it")
    _say_agreement(measured)
    return card


def _say_agreement(measured: dict[str, Any]) -> None:
    from brainuad.formats.agreement import agrees

    dice = measured["smallest_dice"]
    masks = "no voxel marked" if dice is None else f"smallest Dice of the masks {dice:.5f}"
    say(
        f"agreement with brainuad by {measured['runner']} on {len(measured['scans'])} painted "
        f"brains: largest difference of the maps {measured['largest_difference']:.2g}, {masks}"
    )
    if not agrees(measured):
        say(
            "warning: that is more than 0.001 or less than 0.999; do not share it before you looked"
        )
