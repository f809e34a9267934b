"""Real backgrounds with painted lesions beside a label map's scan, and the CPU time of each.

    python -m experiments.anatomies.backgrounds BANK COHORT --out docs/images/backgrounds.jpg

COHORT is a prepared healthy cohort whose licence lets its scans be shown. Three T1w scans, one
remapped to FLAIR and one from a label map are drawn; the times are printed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from brainuad.reporting.drawing.grid import draw_grid
from brainuad.synthetic.anatomies.backgrounds import make_backgrounds
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.cohort import split_names
from brainuad.synthetic.anatomies.scan import ScanGenerator
from experiments.anatomies.pictures import slice_of

ROW = (
    ("T1w", "stroke", "real"),
    ("T1w", "ms", "real"),
    ("T1w", "tumour", "real"),
    ("FLAIR", "wmh", "real, remapped"),
    ("FLAIR", "wmh", "label map"),
)
"""Sequence, disease and source of the columns."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("bank", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder for the backgrounds (default: none)")
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args(argv)
    bank = read_bank(arguments.bank)
    train, _, _ = split_names(bank.names)
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder)
        start = time.process_time()
        found = make_backgrounds(arguments.cohort, bank, train, "T1w", "train", cache)
        _say(f"{len(found)} backgrounds ready", start)
        panels = []
        for number, (sequence, disease, source) in enumerate(ROW):
            generator = ScanGenerator(
                bank, train, backgrounds=None if source == "label map" else found,
                backgrounds_share=1.0,
            )  # fmt: skip
            seeds = (arguments.seed, number)
            start = time.process_time()
            anatomy = generator.anatomy(*seeds)
            _say(f"anatomy, {source}", start)
            start = time.process_time()
            scan = generator.scan(anatomy, *seeds, sequence=sequence, disease=disease)
            _say(f"scan, {sequence}, {source}", start)
            panels.append(slice_of(scan, f"{sequence}, {disease}, {source}"))
    arguments.out.write_bytes(draw_grid([panels], width=230).jpeg().jpeg)
    return 0


def _say(what: str, start: float) -> None:
    sys.stdout.write(f"{what}: {time.process_time() - start:.2f} s of CPU time\n")


if __name__ == "__main__":
    sys.exit(main())
