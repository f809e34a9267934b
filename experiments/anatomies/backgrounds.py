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

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from brainuad.synthetic.anatomies.backgrounds import make_backgrounds
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.cohort import split_names
from brainuad.synthetic.anatomies.scan import ScanGenerator
from experiments.anatomies.pictures import best_slice, show

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
        figure, axes = plt.subplots(1, len(ROW), figsize=(2 * len(ROW), 2.5), dpi=150)
        figure.patch.set_facecolor("black")
        for number, ((sequence, disease, source), axis) in enumerate(zip(ROW, axes, strict=True)):
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
            height = best_slice(scan)
            title = f"{sequence}, {disease}, {source}"
            show(axis, (scan.image * scan.brain_mask)[..., height].numpy(), title)
            axis.set_axis_off()
            axis.contour(scan.lesion[..., height].numpy().T, [0.5], colors="red", linewidths=0.4)
    figure.subplots_adjust(0, 0, 1, 0.93, 0.01, 0)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
    picture.save(arguments.out, quality=85)
    plt.close(figure)
    return 0


def _say(what: str, start: float) -> None:
    sys.stdout.write(f"{what}: {time.process_time() - start:.2f} s of CPU time\n")


if __name__ == "__main__":
    sys.exit(main())
