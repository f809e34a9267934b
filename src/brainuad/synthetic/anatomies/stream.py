"""Synthetic scans as a dataset for training: new ones in every epoch, the same for a seed."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.synthetic.anatomies.warp import Anatomy

MOST_WEIGHT = 8.0
"""Largest weight of a lesion's voxels."""

LIGHT_MM3 = 2000.0
"""Volume of a lesion whose voxels weigh as much as healthy ones."""


class StreamedScan(NamedTuple):
    """A sample without the batch axis; with it once collated.

    Attributes:
        image: `(1, D, H, W)` float32, 0 or more, 0 outside the brain mask.
        healthy: `(1, D, H, W)` the same scan without lesions.
        brain_mask: `(1, D, H, W)` bool.
        lesion: `(1, D, H, W)` bool.
        weight: `(1, D, H, W)` of each voxel in a loss: 1, and up to `MOST_WEIGHT` in small lesions.
        tissue: `(1, D, H, W)` int64, the largest of white matter 0, grey matter 1, CSF 2, beneath
            lesions too; -1 outside the brain mask.
    """

    image: Tensor
    healthy: Tensor
    brain_mask: Tensor
    lesion: Tensor
    weight: Tensor
    tissue: Tensor


class ScanStream(Dataset[StreamedScan]):
    """Scans drawn on request, indexed by (epoch, index).

    Samples must be asked for in order: neighbours share an anatomy, which takes the longest to
    make. They are as random as shuffled ones.

    Args:
        generator: makes the scans.
        sequences: sequences of the scans, drawn with equal chance.
        count: scans in an epoch.
        per_anatomy: scans of each anatomy.
        seed: random seed of all scans, together with epoch and index.
    """

    def __init__(
        self,
        generator: ScanGenerator,
        sequences: Sequence[str],
        count: int,
        per_anatomy: int = 4,
        seed: int = 0,
    ) -> None:
        if not sequences or count < 1 or per_anatomy < 1:
            raise ValueError("a stream needs a sequence, and one scan of an anatomy or more")
        self.generator = generator
        self.sequences = tuple(sequences)
        self.count = count
        self.per_anatomy = per_anatomy
        self.seed = seed
        self._last: tuple[tuple[int, int], Anatomy] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> StreamedScan:
        """Return a scan; the same key gives the same scan, independent of earlier requests."""
        epoch, index = key
        seeds = (self.seed, epoch, index)
        number = index % self.per_anatomy
        # The sequences take turns, so that each comes as often.
        sequence = self.sequences[(index // self.per_anatomy + number) % len(self.sequences)]
        scan = self.generator.scan(self._anatomy(epoch, index), *seeds, sequence=sequence)
        mask, shares = scan.brain_mask, scan.anatomy.tissue_shares
        zero = torch.zeros((), device=mask.device)
        return StreamedScan(
            image=torch.where(mask, scan.image, zero)[None],
            healthy=torch.where(mask, scan.healthy, zero)[None],
            brain_mask=mask[None],
            lesion=scan.lesion[None],
            weight=lesion_weights(scan.lesion, scan.anatomy.spacing_mm)[None],
            tissue=torch.where(mask, _largest(shares), -1)[None],
        )

    def _anatomy(self, epoch: int, index: int) -> Anatomy:
        key = (epoch, index // self.per_anatomy)
        if self._last is None or self._last[0] != key:
            self._last = (key, self.generator.anatomy(self.seed, *key))
        return self._last[1]


def _largest(shares: Tensor) -> Tensor:
    """Index of the largest of three shares, the first of equal ones; `argmax` takes 30 times it."""
    white, grey, csf = shares
    zero = torch.zeros((), dtype=torch.long, device=shares.device)
    other = torch.where(csf > torch.maximum(white, grey), zero + 2, zero + 1)
    return torch.where((white >= grey) & (white >= csf), zero, other)


def lesion_weights(lesion: Tensor, spacing_mm: float) -> Tensor:
    """Return the weight of each voxel: more in small lesions, so that they count.

    A lesion of volume V has the weight (`LIGHT_MM3` / V) ** (2 / 3), from 1 to `MOST_WEIGHT`.

    Args:
        lesion: `(D, H, W)` bool.
        spacing_mm: edge length of a voxel.
    """
    labels, count = ndimage.label(lesion.cpu().numpy())
    index = torch.from_numpy(labels).to(lesion.device, torch.long)
    volumes = torch.bincount(index.flatten(), minlength=count + 1) * spacing_mm**3
    weights = (LIGHT_MM3 / volumes.clamp_min(1)) ** (2 / 3)
    weights = weights.clamp(1, MOST_WEIGHT)
    weights[0] = 1
    return weights[index]
