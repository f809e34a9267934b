"""Healthy tail and lesion contrast of synthetic scans, beside those of real ones.

    python -m experiments.anatomies.measure BANK

writes `contrast.csv`, a row per scan, and `results.md`, their medians and ranges.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.benchmark.tables import write_results
from brainuad.machine.files import write_text
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.classes import CLASSES
from brainuad.synthetic.anatomies.scan import ScanGenerator, SyntheticScan

HERE = Path(__file__).parent
SEQUENCES, DISEASES = ("FLAIR", "T2w", "T1w"), ("ms", "wmh", "stroke", "tumour")
SEED = 41
REAL = {
    ("FLAIR", "tail"): "1.3 to 1.55",
    ("T2w", "tail"): "3.0 to 4.5",
    ("T1w", "tail"): "1.10 to 1.27",
    ("FLAIR", "ms"): "1.35",
    ("FLAIR", "wmh"): "1.38 to 1.94",
    ("FLAIR", "stroke"): "1.39 (0.88 to 1.75)",
    ("FLAIR", "tumour"): "1.50 to 1.82",
    ("T2w", "ms"): "1.5 to 1.6",
    ("T2w", "wmh"): "1.83 to 2.25",
    ("T2w", "stroke"): "1.73",
    ("T2w", "tumour"): "1.97",
    ("T1w", "ms"): "0.80 to 0.82",
    ("T1w", "wmh"): "0.69 to 0.85",
    ("T1w", "tumour"): "0.58",
}
"""Measured on the real scans that `data/README.md` lists: medians over white matter."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("bank", type=Path)
    parser.add_argument("--scans", type=int, default=5, help="of each disease and sequence")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args(argv)
    generator = ScanGenerator(read_bank(arguments.bank))
    rows = []
    for number in range(arguments.scans):
        anatomy = generator.anatomy(SEED, number)
        for index, disease in enumerate(DISEASES):
            for sequence in SEQUENCES:
                seeds = (SEED, number, index)
                scan = generator.scan(anatomy, *seeds, sequence=sequence, disease=disease)
                rows.append({"sequence": sequence, "disease": disease, **measured(scan)})
    table = pd.DataFrame(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_results(arguments.out / "contrast.csv", table)
    write_text(arguments.out / "results.md", summary(table))
    return 0


def measured(scan: SyntheticScan) -> dict[str, float]:
    """Return values of a scan relative to the median of its lesion-free white matter.

    Returns:
        `tail`, the 99.5th percentile of the lesion-free brain; `spread` of white matter (robust
        standard deviation); `cortex`; `lesion`, the median; `lesion_ml`; `ventricles_ml`.
    """
    image, inside = scan.image.numpy(), scan.brain_mask.numpy()
    healthy = inside & (scan.share.numpy() < 0.05)
    shares = scan.anatomy.tissues.numpy()
    white = image[healthy & (shares[0] > 0.95)]
    middle = float(np.median(white))
    lesion = image[scan.lesion.numpy()]
    cortex = image[healthy & (shares[1] > 0.8)]
    voxel = scan.anatomy.spacing_mm**3 / 1000
    return {
        "tail": float(np.percentile(image[healthy], 99.5)) / middle,
        "spread": 1.4826 * float(np.median(np.abs(white - middle))) / middle,
        "cortex": float(np.median(cortex)) / middle,
        "lesion": float(np.median(lesion)) / middle if lesion.size else float("nan"),
        "lesion_ml": lesion.size * voxel,
        "ventricles_ml": float(shares[CLASSES.index("ventricles")].sum()) * voxel,
    }


def summary(table: pd.DataFrame) -> str:
    """Return a Markdown table: median, and the range of most of the scans."""
    lines = [
        f"Median (10th to 90th percentile) of {len(table)} synthetic scans, white matter = 1. "
        "Tail: 99.5th percentile of the brain without lesions.",
        "",
        "| sequence | value | synthetic | real |",
        "| --- | --- | --- | --- |",
    ]
    for sequence in SEQUENCES:
        of = table[table.sequence == sequence]
        lines.append(_line(sequence, "tail", of["tail"], REAL[sequence, "tail"]))
        lines += [
            _line(
                sequence, f"lesion, {d}", of[of.disease == d].lesion, REAL.get((sequence, d), "–")
            )
            for d in DISEASES
        ]
        lines.append(_line(sequence, "spread of white", of.spread, "–"))
        lines.append(_line(sequence, "cortex", of.cortex, "–"))
    return "\n".join(lines) + "\n"


def _line(sequence: str, name: str, values: pd.Series, real: str) -> str:
    low, middle, high = values.dropna().quantile([0.1, 0.5, 0.9])
    return f"| {sequence} | {name} | {middle:.2f} ({low:.2f} to {high:.2f}) | {real} |"


if __name__ == "__main__":
    sys.exit(main())
