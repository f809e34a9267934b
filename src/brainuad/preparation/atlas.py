"""The atlas that scans are registered to: the MNI152 brain that nilearn ships, or the user's."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brainuad.machine.cache import kept_arrays
from brainuad.preparation.skullstrip.extracted import extracted_brain_mask
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.orient import to_ras

VERSION = 1
"""Number of the way that the atlas is made; count it up where it changes."""


class BrainAtlas(NamedTuple):
    """A brain-extracted template.

    Attributes:
        name: name in records.
        image: RAS axes.
        brain_mask: `(D, H, W)` bool on its grid.
    """

    name: str
    image: Volume
    brain_mask: np.ndarray


@lru_cache(maxsize=2)
def load_brain_atlas(image: Path | None = None, brain_mask: Path | None = None) -> BrainAtlas:
    """Read the atlas.

    Args:
        image: a brain-extracted template; None for the MNI152 T1w (Fonov et al. 2011) at 1 mm, as
            shipped by nilearn, without a network.
        brain_mask: brain mask of the template, on its grid; None for all that is not background.

    Raises:
        InputError: unreadable files, or masks on another grid.
    """
    if image is not None:
        volume = read_volume(Path(image))
        inside = (
            extracted_brain_mask(volume.array)
            if brain_mask is None
            else read_mask(Path(brain_mask), like=volume)
        )
        mask = to_ras(Volume(inside.astype(np.float32), volume.affine)).array > 0.5
        return BrainAtlas(Path(image).name, to_ras(volume), mask)
    kept = kept_arrays(f"atlas-{VERSION}", "nilearn", _mni152)
    return BrainAtlas("MNI152", Volume(kept["image"], kept["affine"]), kept["brain_mask"])


def _mni152() -> dict[str, np.ndarray]:
    from nilearn import datasets

    template = datasets.load_mni152_template(resolution=1)
    mask = datasets.load_mni152_brain_mask(resolution=1)
    inside = to_ras(Volume(mask.get_fdata(dtype=np.float32), mask.affine)).array > 0.5
    head = to_ras(Volume(template.get_fdata(dtype=np.float32), template.affine))
    image = np.where(inside, head.array, 0)
    return {"image": image, "affine": head.affine, "brain_mask": inside}
