"""DAE: a denoising autoencoder that removes coarse noise from healthy brains.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain
MRI", MIDL 2022 (PMLR 172:653-664, openreview.net/forum?id=Bm8-t_ggzPD), and its released code.
With healthy images x, brain masks m and noise n drawn on a coarse grid (`coarse_noise`):

    L = mean over all pixels of m (f(x + m n) - x)^2

At test time no noise is added, and the map is |x - f(x)|. A lesion resembles the noise and is
removed; healthy tissue passes through the skip connections. The post-processing is
`postprocess=dae`.

With a healthy atlas (`experiment=dae_3d`, ours) the network works on registered volumes, sees
beside the image how many healthy standard deviations each voxel is from the healthy mean at its
place, and predicts a correction of the image: f(y) = y + g(y, (y - mean) / std). The atlas reveals
a slow change of brightness that a single slice could explain by anatomy, and an iso-intense lesion.
The noise has one of several grids, so that small lesions resemble it too.

`experiment=dae_paper` lists its differences from the released code. In every preset the mask is the
brain's, where the code uses the pixels whose intensities sum to more than 0.01, and the noise in
validation is the same in every epoch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from brainuad.methods.base import (
    OptimizerFactory,
    ReconstructionDetector,
    Residual,
    SchedulerFactory,
)
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.synthetic.noise.coarse import coarse_noise
from brainuad.types import Batch

Cells = int | Sequence[int]


class DAE(ReconstructionDetector):
    """Denoising autoencoder, on slices or on volumes.

    Args:
        network: from `(B, C, *S)` to the same shape; from `(B, 2 C, *S)` with an atlas.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam (AMSGrad) with 1e-4 and a weight decay of 1e-5.
        scheduler: factory or None.
        cells: cells of the noise's grid, one number or one per axis.
        sigma: standard deviation of the noise at the grid's nodes, for intensities in [0, 1].
        atlas: atlas of the training scans, for volumes on one grid; None for the image only.
        other_cells: cells of more grids; each batch draws one of all grids.
    """

    def __init__(
        self,
        network: nn.Module,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        cells: Cells = 16,
        sigma: float = 0.2,
        atlas: HealthyAtlas | None = None,
        other_cells: Sequence[Cells] = (),
    ) -> None:
        super().__init__(residual, optimizer, scheduler)
        self.network = network
        self.grids = [cells, *other_cells]
        self.sigma = sigma
        self.atlas = atlas
        if atlas is not None:
            self.traits = replace(self.traits, places="required")

    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the atlas, if there is one."""
        if self.atlas is not None:
            self.atlas.measure(batches)

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the denoised image."""
        if self.atlas is None:
            return self.network(image)
        return image + self.network(self.atlas.beside(image, brain_mask))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the squared error in the brain over all pixels; in validation with fixed noise."""
        image, brain_mask = batch
        generator = self.generator()
        noise = coarse_noise(image, brain_mask, self._grid(generator), self.sigma, generator)
        error = (self.reconstruct(image + noise, brain_mask) - image) * brain_mask
        return {"loss": error.float().square().mean()}

    def _grid(self, generator: torch.Generator | None) -> Cells:
        """Return one of the grids, at random if there are several."""
        if len(self.grids) == 1:
            return self.grids[0]
        # On the CPU, because every generator of a loss is there.
        return self.grids[int(torch.randint(len(self.grids), (), generator=generator))]
