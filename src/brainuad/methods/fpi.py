"""Foreign patch interpolation and its relatives: a network that says how foreign each pixel is.

Tan et al., "Detecting Outliers with Foreign Patch Interpolation", MELBA 2022 (arXiv 2011.04197):
healthy images get a synthetic anomaly (`corruption`), and the network predicts, pixel by pixel,
the factor alpha by which it was mixed in (equation 1; its loss is the cross-entropy with that soft
label, equation 3). The prediction is the score; nothing is reconstructed. What is mixed in makes
the method: a patch of another brain is FPI, one blended by its gradients is PII (Tan et al., MICCAI
2021, arXiv 2107.02622) or, from another place, NSA (Schlueter et al., ECCV 2022, arXiv 2109.15222);
`model/corruption` names them.

With a healthy atlas (`experiment=fpi_3d`, ours) the network works on registered volumes and sees,
beside the image, how many healthy standard deviations each voxel is from the healthy mean at its
place: what a synthetic lesion of the training looks like there is then told from a fold that lies
a little beside its place.

Differs from the papers: the other brain's slice is one of the batch, not the one at the same
height; a UNet in place of the wide residual encoder and decoder; the loss is over the brain.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.types import Batch, Detection


class FPI(AnomalyDetector):
    """Predicts the share of a synthetic anomaly in every pixel.

    Args:
        network: from images `(B, C, *S)`, 2 C channels with an atlas, to logits `(B, K, *S)`; the
            mean over the K channels counts.
        corruption: paints synthetic anomalies into healthy images.
        optimizer: factory; the paper's is Adam with 1e-3.
        scheduler: factory or None.
        atlas: of the training scans, for volumes on one grid; None for the image alone.
    """

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        atlas: HealthyAtlas | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.network = network
        self.corruption = corruption
        self.atlas = atlas

    @property
    def measures(self) -> bool:
        """Whether there is an atlas."""
        return self.atlas is not None

    def measure(self, batches: Iterable[Batch]) -> None:
        """The atlas, where there is one."""
        if self.atlas is not None:
            self.atlas.measure(batches)

    def logits(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """`(B, C, *S)` to `(B, 1, *S)`."""
        if self.atlas is not None:
            image = self.atlas.beside(image, brain_mask)
        return self.network(image).mean(1, keepdim=True)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean cross-entropy in the brain between the predicted share and the painted one."""
        painted = self.corruption(batch.image, batch.brain_mask, self.generator())
        logits = self.logits(painted.image, batch.brain_mask)
        terms = functional.binary_cross_entropy_with_logits(logits, painted.share, reduction="none")
        inside = batch.brain_mask.to(terms.dtype)
        return {"loss": (terms * inside).sum() / inside.sum().clamp_min(1)}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The predicted share, in [0, 1]."""
        return Detection(self.logits(image, brain_mask).float().sigmoid(), None)
