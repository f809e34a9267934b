"""The healthy atlas: a voxel's score is its distance to healthy voxels at the same place.

Saase et al., "Simple statistical methods for unsupervised brain anomaly detection on MRI are
competitive to deep learning methods" 2020 (arXiv 2011.12735): mean m and standard deviation s of
the registered training scans at every voxel v, and the map

    z(v) = (x(v) - m(v)) / max(s(v), floor),     |z| where the sign does not matter.

Each scan counts where its own brain is, w = 1 there and 0 elsewhere, and with smoothing by a
Gaussian G the sums of the neighbours count too:

    n = G * sum w,   m = G * sum w x / n,   s^2 = G * sum w x^2 / n - m^2   (n / (n - 1) without G)

so that s includes the effect of slightly displaced folds.

Differs from the paper: the floor, without which a few voxels that are equal in all training scans
would score higher than every lesion; the share of brain; and the smoothing of the statistics.
"""

from collections.abc import Iterable

from torch import Tensor

from brainuad.methods.base import ReconstructionDetector, Traits
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.methods.parts.residuals import Residual
from brainuad.types import Batch, Detection


class ZScore(ReconstructionDetector):
    """Distance to the healthy mean in healthy standard deviations; whole volumes on one grid.

    The reconstruction is the mean.

    Args:
        residual: residual of image and mean, both divided by the standard deviation; its `average`
            is in voxels.
        atlas: statistics of the training scans.
    """

    traits = Traits(places="required", detection_options=("residual",), one_pass=True)

    def __init__(self, residual: Residual, atlas: HealthyAtlas) -> None:
        super().__init__(residual)
        self.atlas = atlas

    def measure(self, batches: Iterable[Batch]) -> None:
        """See `HealthyAtlas.measure`."""
        self.atlas.measure(batches)

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the mean of the healthy scans."""
        return self.atlas.at(image)[0]

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual in standard deviations."""
        mean, std = self.atlas.at(image)
        found = self.residual(image.float() / std, mean / std, brain_mask)
        return Detection(found, mean)
