"""Real healthy scans as further anatomies: a prepared cohort's, each made once and kept.

The people of the training split are for training, those of the validation split for validation.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, read_cohort
from brainuad.cohorts.words import canonical
from brainuad.errors import InputError
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.limits import require_file
from brainuad.synthetic.anatomies.bank import Bank, read_arrays, write_arrays
from brainuad.synthetic.anatomies.partial_volumes import PartialVolumes
from brainuad.synthetic.anatomies.real_classes import (
    CLASSIFIED,
    ClassPriors,
    class_priors,
    classify,
)
from brainuad.synthetic.anatomies.warp import RealImage
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.resample import resample_like, smoothed

VERSION = 1
"""Number of the way that backgrounds are made; count it up where it changes."""

REMAPPED = "T1w"
"""Sequence from which others are made, because its tissues are separated best."""

LEAST_DICE = 0.8
"""Overlap with the bank's mean brain of a scan in the atlas space; registered ones have 0.9."""


@dataclass(frozen=True)
class Backgrounds:
    """Real scans on the brain's grid of a bank.

    Args:
        files: one per scan, see `make_backgrounds`.
        subjects: subjects of the scans.
        sequence: sequence of the scans.
    """

    files: tuple[Path, ...]
    subjects: tuple[str, ...]
    sequence: str

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> tuple[PartialVolumes, RealImage]:
        """Read the shares and the image of a scan.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.files[index]
        arrays = read_arrays(path)
        try:
            volumes = PartialVolumes(*(arrays[name] for name in PartialVolumes._fields))
            image, means, spreads = (arrays[name] for name in ("image", "means", "spreads"))
            white, grey = (float(spread) for spread in spreads)
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}: is no background; delete it, it is made again") from None
        real = RealImage(
            torch.from_numpy(image), self.sequence, torch.from_numpy(means), (white, grey)
        )
        return volumes, real


def make_backgrounds(
    folder: Path, bank: Bank, names: Sequence[str], sequence: str, split: str, cache_dir: Path
) -> Backgrounds:
    """Return the healthy scans of one split of a cohort; those not in the cache are made.

    Args:
        folder: folder of a cohort in the atlas space.
        bank: gives the grid.
        names: anatomies of the bank whose mean gives each place its likely classes.
        sequence: sequence to synthesise. The cohort's scans of it are used, or those of
            `REMAPPED`.
        split: `train` or `val`.
        cache_dir: folder of the files.

    Raises:
        InputError: no cohort, none of both sequences, no healthy scans in the split, or a scan
            that does not lie in the atlas space.
    """
    cohort = read_cohort(Path(folder))
    source, scans = _chosen(cohort, sequence, split)
    key = fingerprint(VERSION, bank.spacing_mm, bank.info, sorted(names))
    kept = Path(cache_dir) / "backgrounds" / key
    files = [kept / f"{scan.subject}_{source}-{_content(scan)}.npz" for scan in scans]
    missing = [(scan, path) for scan, path in zip(scans, files, strict=True) if not path.is_file()]
    if missing:
        from rich.progress import track

        priors = class_priors([bank.anatomy(name) for name in names], bank.spacing_mm)
        for scan, path in track(missing, description=f"backgrounds ({split})"):
            write_arrays(path, _background(scan, source, bank, priors))
    return Backgrounds(tuple(files), tuple(scan.subject for scan in scans), source)


def _chosen(cohort: Cohort, sequence: str, split: str) -> tuple[str, list[Scan]]:
    """The sequence that is used, and its healthy scans of the split."""
    manifest = cohort.root / MANIFEST
    found = sorted({canonical(scan.sequence) for scan in cohort.scans})
    wanted = [sequence] if sequence in CLASSIFIED else []
    usable = [one for one in (*wanted, REMAPPED) if one in found]
    if not usable:
        raise InputError(
            f"{manifest}: has {', '.join(found) or 'no scans'}; backgrounds for {sequence} are "
            f"made from {' or '.join(dict.fromkeys((*wanted, REMAPPED)))} scans, so set "
            "datamodule.backgrounds to a cohort of these, or to null"
        )
    source = usable[0]
    scans = [
        scan
        for scan in cohort.scans
        if scan.healthy and scan.split == split and canonical(scan.sequence) == source
    ]
    if not scans:
        raise InputError(
            f"{manifest}: no healthy {source} scan in split '{split}' for datamodule.backgrounds; "
            "give some healthy subjects this split, or set datamodule.backgrounds=null"
        )
    return source, scans


def _background(
    scan: Scan, sequence: str, bank: Bank, priors: ClassPriors
) -> dict[str, np.ndarray]:
    image, mask = (one[0].numpy() for one in load_scan(scan))
    affine = read_volume(scan.image).affine
    like = Volume(np.zeros(priors.brain.shape, np.uint8), bank.affine())
    spacing = bank.spacing_mm

    def on_grid(array: np.ndarray) -> np.ndarray:
        fine = smoothed(Volume(array.astype(np.float32), affine), spacing)
        return resample_like(fine, affine, like)

    brain = on_grid(mask)
    inside = brain > 0.5
    overlap = 2 * (inside & priors.brain).sum() / max(1, inside.sum() + priors.brain.sum())
    if overlap < LEAST_DICE:
        raise InputError(
            f"{scan.image}: its brain does not lie where the atlas's does (Dice {overlap:.2f}); "
            "prepare the cohort with brainuad-prepare, which registers it, or set "
            "datamodule.backgrounds=null"
        )
    # Divided by the brain's share, the border does not darken towards the empty outside.
    found = classify(
        on_grid(image * mask) / np.maximum(brain, 1e-3), brain, priors, sequence, spacing
    )
    return {
        **found.volumes._asdict(),
        "image": found.image,
        "means": found.means,
        "spreads": found.spreads,
    }


def _content(scan: Scan) -> str:
    for path in (scan.image, scan.brain_mask):
        require_file(path)
    digest = hashlib.sha256(scan.image.read_bytes())
    digest.update(scan.brain_mask.read_bytes())
    return digest.hexdigest()[:12]
