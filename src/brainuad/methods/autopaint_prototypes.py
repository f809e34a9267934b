"""AutoPaint with a healthy prototype beside the slice, and a discriminator; ours.

A convolutional network has no information about its place in the brain. A few dozen subjects are
too few to learn the content of a hidden region; the nearest mean of healthy slices provides it.
Gains on the embedded cohort: `experiments/autopaint_prototypes/README.md`. A patch discriminator
with hinge loss sharpens the filling after many steps; one optimiser trains both networks (see
`adversarial`).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from brainuad.methods.autopaint import AutoPaint
from brainuad.methods.parts.adversarial import hinge, judge
from brainuad.methods.parts.prototypes import HealthyPrototypes
from brainuad.methods.parts.residuals import Residual
from brainuad.networks.partial_unet import PartialUNet
from brainuad.synthetic.masks.random import Holes
from brainuad.types import Batch


class AutoPaintPrototypes(AutoPaint):
    """AutoPaint with a healthy prototype as second input, and an optional discriminator.

    Args:
        network: fills hidden regions; with prototypes it has as many `hints` as the image has
            channels.
        holes: draws the hidden regions of the training.
        residual: from image, filled image and brain mask to the anomaly map.
        prototypes: prototypes of healthy images; the network sees the nearest one. None for the
            image only.
        discriminator: factory; not called without a weight.
        adversarial_weight: weight of the hinge loss on the composite; 0 builds no discriminator.
        published: the other arguments of `AutoPaint`.

    Raises:
        ValueError: an option is out of range or unknown.
    """

    def __init__(
        self,
        network: PartialUNet,
        holes: Holes,
        residual: Residual,
        *,
        prototypes: HealthyPrototypes | None = None,
        discriminator: Callable[[], nn.Module] | None = None,
        adversarial_weight: float = 0.0,
        **published: Any,
    ) -> None:
        super().__init__(network, holes, residual, **published)
        if adversarial_weight > 0 and discriminator is None:
            raise ValueError("adversarial_weight is above 0; give a discriminator")
        self.discriminator = None
        if adversarial_weight > 0 and discriminator is not None:
            self.discriminator = discriminator()
        self.adversarial_weight = adversarial_weight
        self.prototypes = prototypes
        if prototypes is not None:
            self.traits = replace(self.traits, places="used")

    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the prototypes, if there are any."""
        if self.prototypes is not None:
            self.prototypes.measure(batch.image for batch in batches)

    def fill(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return the network's whole output `(B, C, *S)`; shapes as in `PartialUNet`."""
        if self.prototypes is None:
            return super().fill(image, valid)
        return self.network(image, valid, self.prototypes.nearest(image, valid))

    def objective(self, image: Tensor, filled: Tensor, hole: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss of a filled image, with those of the discriminator."""
        terms = super().objective(image, filled, hole)
        if self.training and self.discriminator is not None:
            composite = torch.where(hole, filled, image)
            generated, own = hinge(*judge(self.discriminator, composite, image))
            terms["loss"] = terms["loss"] + self.adversarial_weight * (generated + own)
            terms |= {"generator": generated, "discriminator": own}
        return terms
