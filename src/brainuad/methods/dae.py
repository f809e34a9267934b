"""DAE: a denoising autoencoder that takes coarse noise off healthy brains.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain
MRI", MIDL 2022 (PMLR 172:653-664, openreview.net/forum?id=Bm8-t_ggzPD), and its released code.
With healthy images x, brain masks m and noise n drawn on a coarse grid (`coarse_noise`):

    L = mean over all pixels of m (f(x + m n) - x)^2

At test time nothing is noised: the map is |x - f(x)|. A lesion looks like noise and goes; what is
healthy comes through the U-Net's skips. Its chain after that is `postprocess=dae`.

With a healthy atlas (`experiment=dae_3d`, ours) the network works on registered volumes, sees
beside the image how many healthy standard deviations each voxel is from the healthy mean at its
place, and says what to add to the image: f(y) = y + g(y, (y - mean) / std). A slow change of
brightness that a slice alone could explain by anatomy is then told by its place, and an
iso-intense lesion by what should be there. The noise is on one of several grids, so that small
lesions are noise as well.

`experiment=dae_paper` says what differs from the released code there. Everywhere, the mask is the
brain's, where the code takes the pixels whose intensities sum to more than 0.01, and in validation
the noise is the same in every epoch.
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
        sigma: the noise's standard deviation at the grid's nodes, of intensities in [0, 1].
        atlas: atlas of the training scans, for volumes on one grid; None for the image alone.
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
        """The atlas, where there is one."""
        if self.atlas is not None:
            self.atlas.measure(batches)

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the image without noise, when none was added."""
        if self.atlas is None:
            return self.network(image)
        return image + self.network(self.atlas.beside(image, brain_mask))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error in the brain over all pixels; in validation with noise of its own."""
        image, brain_mask = batch
        generator = self.generator()
        noise = coarse_noise(image, brain_mask, self._grid(generator), self.sigma, generator)
        error = (self.reconstruct(image + noise, brain_mask) - image) * brain_mask
        return {"loss": error.float().square().mean()}

    def _grid(self, generator: torch.Generator | None) -> Cells:
        """One of the grids; nothing is drawn where there is one alone."""
        if len(self.grids) == 1:
            return self.grids[0]
        # On the CPU, where every generator of a loss is.
        return self.grids[int(torch.randint(len(self.grids), (), generator=generator))]
