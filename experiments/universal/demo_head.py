"""Makes the head that comes with the package, for a first look.

    python -m experiments.universal.demo_head runs/bank

writes `src/brainuad/shipped/demo_FLAIR.nii.gz`: a FLAIR scan of a whole head with white matter
hyperintensities and a stroke. It is synthetic, of a label map that no shipped model was trained on,
and its lesions have drawn shapes, so its licence is that of the label maps (Apache-2.0).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from brainuad.shipped import DEMO
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.cohort import split_names
from brainuad.synthetic.anatomies.lesions import LesionSettings
from brainuad.synthetic.anatomies.scan import ScanGenerator

SEED = 5
AIR = 14
"""Largest brightness of the noise outside the head, out of 255."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", type=Path, help="folder of the anatomies")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="another head (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=DEMO, help="file (default: in the package)")
    parser.add_argument("--lesions", type=Path, help="file of the lesions' mask (default: none)")
    arguments = parser.parse_args(argv)
    bank = read_bank(arguments.bank)
    generator = ScanGenerator(
        bank, split_names(bank.names)[2], "head", lesions=LesionSettings(real=0)
    )
    scan = generator.draw(arguments.seed, sequence="FLAIR", disease="mixed")
    affine = bank.affine("head")
    # 8 bits, and no noise in the air, to be small.
    values = np.clip(scan.image.numpy() / np.percentile(scan.image.numpy(), 99.9), 0, 1)
    values = np.rint(255 * values).astype(np.uint8)
    values[values < AIR] = 0
    _save(values, affine, arguments.out)
    if arguments.lesions is not None:
        _save(scan.lesion.numpy().astype(np.uint8), affine, arguments.lesions)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, slices {scan.slice_mm}")
    return 0


def _save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


if __name__ == "__main__":
    sys.exit(main())
