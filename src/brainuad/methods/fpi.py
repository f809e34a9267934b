"""Foreign patch interpolation and its relatives: a network that says how foreign each pixel is.

Tan et al., "Detecting Outliers with Foreign Patch Interpolation", MELBA 2022 (arXiv 2011.04197):
healthy images get a synthetic anomaly (`corruption`), and the network predicts, pixel by pixel,
the factor alpha by which it was mixed in (equation 1; its loss is the cross-entropy with that soft
label, equation 3). The prediction is the score; nothing is reconstructed. What is mixed in makes
the method: a patch of another brain is FPI, one blended by its gradients is PII (Tan et al., MICCAI
2021, arXiv 2107.02622) or, from another place, NSA (Schlueter et al., ECCV 2022, arXiv 2109.15222);
`model/corruption` names them.

Differs from the papers: the other brain's slice is one of the batch, not the one at the same
height; a UNet in place of the wide residual encoder and decoder; the loss is over the brain.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainuad.data.lesions.contract import Corruption, Painted
from brainuad.methods.detector import AnomalyDetector, OptimizerFactory, SchedulerFactory
from brainuad.types import Batch, Detection


class FPI(AnomalyDetector):
    """Predicts the share of a synthetic anomaly in every pixel.

    Args:
        network: from images `(B, C, *S)` to logits `(B, C, *S)`; the mean over channels counts.
        corruption: paints synthetic anomalies into healthy images.
        optimizer: factory; the paper's is Adam with 1e-3.
        scheduler: factory or None.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        corruption: Corruption,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        assert isinstance(network, nn.Module)
        self.network = network
        self.corruption = corruption

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean cross-entropy in the brain between the predicted share and the painted one."""
        painted = paint(self, self.corruption, batch)
        logits = self.network(painted.image).mean(1, keepdim=True)
        terms = functional.binary_cross_entropy_with_logits(logits, painted.share, reduction="none")
        inside = batch.brain_mask.to(terms.dtype)
        return {"loss": (terms * inside).sum() / inside.sum().clamp_min(1)}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The predicted share, in [0, 1]."""
        return Detection(self.network(image).mean(1, keepdim=True).float().sigmoid(), None)


def paint(detector: AnomalyDetector, corruption: Corruption, batch: Batch) -> Painted:
    """Synthetic anomalies: other ones in every training step, the same in every validation."""
    generator = None
    if not detector.training:
        generator = torch.Generator().manual_seed(detector.validation_seed)
    return corruption(batch.image, batch.brain_mask, generator)
