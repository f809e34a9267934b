"""Lobe of a point in MNI152 space, by planes along the landmarks between the lobes.

Four fissures bound the lobes: the central sulcus, the lateral (Sylvian) fissure, the
parieto-occipital sulcus with the preoccipital notch, and the tentorium above the cerebellum. Each
is taken for a plane on either side of the head. The planes were set on the automatic parcellations
of three people of IXI; of three others 88 % of the voxels get their lobe. Gyri differ from person
to person by more than a centimetre, so a finding across a border gets both lobes.
"""

import numpy as np

LOBES = (
    *("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe"),
    *("cerebellum", "brain stem"),
)

LEAST_SHARE = 0.3
"""Smallest share of a finding's voxels in a lobe that is named."""


def lobe_of(points: np.ndarray) -> np.ndarray:
    """Return the index in `LOBES` of points `(N, 3)` in MNI152, mm."""
    x, y, z = points.T
    x = np.abs(x)
    central = y > -7 - 0.42 * (z - 15)
    lateral = (x > 11) & (z < np.minimum(-3 - 0.82 * y, 24))
    occipital = y < -65 - 0.33 * z
    below_tentorium = (y < -27) & (z < -14 - 0.25 * x)
    stem = (x < 16) & (y > -48) & (y < -2) & (z < -2)
    found = np.where(central, 0, 1)
    found[lateral] = 2
    found[occipital] = 3
    found[below_tentorium] = 4
    found[stem] = 5
    return found


def lobes_of(points: np.ndarray, of: np.ndarray) -> list[str]:
    """Return the lobes of each finding, those with more of its voxels first.

    Args:
        points: voxels of all findings, `(N, 3)` in MNI152, mm.
        of: number of the finding of each voxel, from 1.

    Returns:
        Names joined by ` and `.
    """
    own = lobe_of(points)
    counts = np.stack([np.bincount(of, own == i) for i in range(len(LOBES))], axis=-1)[1:]
    found = []
    for shares in counts / counts.sum(axis=1, keepdims=True):
        order = np.argsort(-shares, kind="stable")
        named = [i for i in order if shares[i] >= LEAST_SHARE] or [order[0]]
        found.append(" and ".join(LOBES[i] for i in named))
    return found
