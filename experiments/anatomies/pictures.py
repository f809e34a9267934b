"""Synthetic scans beside real ones: do they look like scans?

    python -m experiments.anatomies.pictures BANK

writes `scans.jpg`: a row a sequence, six synthetic people and, where BRAINUAD_REAL_DATA names the
folder of real scans, two real ones. Below each synthetic scan is its lesion mask's outline. Only
real scans that are in the public domain are drawn; `--own` adds the others, in a file that must
stay here (`scans_own.jpg`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.scan import ScanGenerator, SyntheticScan
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.resample import resample_spacing

HERE = Path(__file__).parent
SEQUENCES = ("FLAIR", "T2w", "T1w")
DISEASES = ("none", "ms", "wmh", "stroke", "tumour", "mixed")
SEED = 40
PUBLIC = {
    "FLAIR": ("soop/sub-1001", "soop/sub-1009"),
    "T2w": ("arc_t2_stroke",),
    "T1w": (),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("bank", type=Path)
    parser.add_argument("--own", action="store_true", help="add real scans that may not be shown")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    generator = ScanGenerator(read_bank(arguments.bank))
    rows = []
    for number, sequence in enumerate(SEQUENCES):
        synthetic = [
            generator.draw(arguments.seed, number, i, sequence=sequence, disease=disease)
            for i, disease in enumerate(DISEASES)
        ]
        rows.append((sequence, synthetic, real_slices(sequence, arguments.own)))
    name = "scans_own.jpg" if arguments.own else "scans.jpg"
    draw_sheet(rows, arguments.out or HERE / name)
    return 0


def draw_sheet(
    rows: Sequence[tuple[str, list[SyntheticScan], list[tuple[str, np.ndarray]]]], out: Path
) -> None:
    """Draw a row a sequence and write a JPEG; left of the picture is left of the head."""
    panels = [
        [
            *(slice_of(scan, f"{sequence} synthetic, {scan.disease}") for scan in synthetic),
            *(Panel(image, title) for title, image in real),
        ]
        for sequence, synthetic, real in rows
    ]
    out.write_bytes(draw_grid(panels).jpeg().jpeg)


def slice_of(scan: SyntheticScan, title: str) -> Panel:
    """Return the slice of `best_slice`, with the lesion outlined."""
    height = best_slice(scan)
    image = (scan.image * scan.brain_mask)[..., height].numpy()
    return Panel(image, title, outlines=[(scan.lesion[..., height].numpy(), "red")])


def best_slice(scan: SyntheticScan) -> int:
    """Return the height with the most lesion, or one through the ventricles."""
    amount = scan.lesion.sum((0, 1))
    if int(amount.sum()):
        return int(amount.argmax())
    return int(scan.anatomy.share("ventricles").sum((0, 1)).argmax())


def real_slices(sequence: str, own: bool) -> list[tuple[str, np.ndarray]]:
    """Return titles and axial slices of real scans; none where the folder is not at hand."""
    where = os.environ.get("BRAINUAD_REAL_DATA")
    if not where:
        return []
    real = Path(where)
    found = []
    for name in PUBLIC[sequence]:
        if name.startswith("soop"):
            image = np.asarray(Image.open(next((real / "soop").rglob(f"{name[5:]}*.png"))))
            found.append((f"{sequence} real ({name})", image[::-1].T.astype(float)))
        else:
            path = next(p for p in (real / name).rglob("*.nii.gz") if "lesion" not in p.name)
            found += [(f"{sequence} real ({name})", image) for image in _slices(path, (0.5, 0.62))]
    if own:
        case = sorted((real / "openms_mni_1mm").iterdir())[0]
        file = {"FLAIR": "FLAIR", "T2w": "T2", "T1w": "T1"}[sequence]
        found += [(f"{sequence} real (ms)", i) for i in _slices(case / f"{file}.nii.gz", (0.55,))]
        case = next((real / "tumour_brats_space").iterdir())
        file = {"FLAIR": "fla", "T2w": "t2", "T1w": "t1"}[sequence]
        found += [
            (f"{sequence} real (glioma)", i) for i in _slices(case / f"{file}.nii.gz", (0.6,))
        ]
    return found


def _slices(path: Path, heights: Sequence[float]) -> list[np.ndarray]:
    volume = resample_spacing(to_ras(read_volume(path)), 2.0).array.clip(0)
    where = np.argwhere(volume > 0.05 * volume.max())
    low, high = where.min(0), where.max(0)
    box = volume[tuple(slice(max(0, a - 2), b + 3) for a, b in zip(low, high, strict=True))]
    return [box[..., int(height * box.shape[2])] for height in heights]


if __name__ == "__main__":
    sys.exit(main())
