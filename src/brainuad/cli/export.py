"""Pack a trained model for others: weights, card, model card and hashes in one bundle.

brainuad-export RUN OUT
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from brainuad.cli.error_line import run_cli
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say

UNSTATED = "not stated"

EXAMPLES = """examples:
  brainuad-export runs/strega/NAME model.zip --licence "CC BY 4.0"
  brainuad-export runs/strega/NAME/model.ckpt bundles/strega     # a folder
  brainuad-export runs/strega/NAME small.zip --half --licence CC0  # half the size
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-export`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainuad-export",
        description="Pack a trained model for others: one folder or .zip with the weights "
        "(safetensors), its configuration, preparation, threshold, training statistics and "
        "licence, a model card to read, and SHA-256 of each. brainuad-predict, brainuad-inpaint "
        "and brainuad.load read it; nothing in it is ever executed. The card holds the names of "
        "the training subjects, so that nobody scores a model on them; look at it before you "
        "publish it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder, or its model.ckpt")
    parser.add_argument("out", metavar="OUT", type=Path, help="a .zip, or a folder to make")
    parser.add_argument(
        "--licence", default=UNSTATED, help="licence of weights (default: %(default)s)"
    )
    parser.add_argument("--half", action="store_true", help="weights as float16, half the size")
    return run_cli(_main, parser, argv)


def _main(arguments: argparse.Namespace) -> int:
    have_temporary(arguments.out.absolute().parent)
    from brainuad.model.export import export_model

    card = export_model(arguments.run, arguments.out, arguments.licence, arguments.half)
    say(f"{arguments.out}: look at MODEL_CARD.md in it before you share it")
    atlas = card.recipe.atlas_image
    if atlas:
        say(
            f"note: its scans were registered to {atlas}, which is not in the bundle; give it "
            "along, for preparation.steps.atlas_image=FILE"
        )
    if arguments.licence == UNSTATED:
        say("note: without --licence nobody may use it; state one")
    return 0
