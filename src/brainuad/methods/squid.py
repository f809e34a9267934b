"""SQUID: patches in-painted from queues of healthy features at the same place.

Xiang et al., "SQUID: Deep Feature In-Painting for Unsupervised Anomaly Detection", CVPR 2023 (arXiv
2111.13495); released code tiangexiang/SQUID. An image is cut into patches. The feature of each is
replaced by a mean of the most similar of past healthy features at its place, and in-painted from
the memories of its neighbours (`networks/squid.py`, `networks/memory.py`). A lesion has no
counterpart there, so it comes out healthy. Beside this student, a teacher decodes the feature
itself. With student image s, teacher image t and their features at each level, f_s and f_t:

    L = w_s |s - x|^2 + w_t |t - x|^2 + w_d sum_l |f_s - f_t|^2 + w_g CE(D(s), real)

with means over pixels (`main.py:gan_train`). The discriminator D has its own cross-entropy, times
w_D; without one, as in `experiment=squid`, the last term is left out. The weights of the code's
settings for the ZhangLab radiographs are 10, 0.01, 0.001, 0.005 and 0.005. The queue takes the
features of a batch once a step, after the objective; so nothing changes it in validation or
detection.

Differences:

- The paper scores whole radiographs by the discriminator, 1 - sigmoid of its standardised output
  on s. Here each pixel has a score, the difference of scan and s (`against=image`) or of t and s
  (`against=teacher`): what the teacher copies and the student cannot is a matter of the memories
  alone.
- `sharpness` compares features by their cosine. In the code products are compared, so that the
  sharpness grows with the features' length.
- `squares` and few channels, for a CPU. Frames need not be square.
- D is trained in the same step as the rest, on the same student image (`methods/parts/adversarial`;
  in the code in two steps for each step of the rest).

"At the same place" takes for granted that scans are aligned and of one height: a queue holds the
patches of one quarter of a slice at all heights, of which the k - 1 most similar ones count. The
network never scores right at the start: each queue is full after `slots` slices.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainuad.methods.base import (
    OptimizerFactory,
    ReconstructionDetector,
    Residual,
    SchedulerFactory,
    Traits,
)
from brainuad.methods.parts.adversarial import judge
from brainuad.networks.squid import Squid
from brainuad.types import Batch, Detection


class SQUID(ReconstructionDetector):
    """Feature in-painting from space-aware memories, on slices.

    Args:
        network: the autoencoder with its memories.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        discriminator: returns a list whose last is the logit of "real"; None for none.
        student_weight: w_s.
        teacher_weight: w_t.
        distillation_weight: w_d.
        generator_weight: w_g.
        discriminator_weight: w_D.
        against: what the student is compared with in the score, `image` or `teacher`.

    Raises:
        ValueError: an unknown `against`.
    """

    traits = Traits(detection_options=("residual", "against"))

    def __init__(
        self,
        network: Squid,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        discriminator: nn.Module | None = None,
        student_weight: float = 10.0,
        teacher_weight: float = 0.01,
        distillation_weight: float = 0.001,
        generator_weight: float = 0.005,
        discriminator_weight: float = 0.005,
        against: Literal["image", "teacher"] = "image",
    ) -> None:
        super().__init__(residual, optimizer, scheduler)
        if against not in ("image", "teacher"):
            raise ValueError(f"against is '{against}'; use image or teacher")
        self.network = network
        self.discriminator = discriminator
        self.student_weight, self.teacher_weight = student_weight, teacher_weight
        self.distillation_weight = distillation_weight
        self.generator_weight = generator_weight
        self.discriminator_weight = discriminator_weight
        self.against = against

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the student's image."""
        return self.network(image).student

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the student's image, to the scan or to the teacher's image."""
        found = self.network(image)
        given = image if self.against == "image" else found.teacher
        return Detection(self.residual(given, found.student, brain_mask), found.student)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above, and store the features of the batch in training."""
        image = batch.image
        found = self.network(image)
        student = F.mse_loss(found.student, image)
        teacher = F.mse_loss(found.teacher, image)
        loss = (
            self.student_weight * student
            + self.teacher_weight * teacher
            + self.distillation_weight * found.distance
        )
        terms = {"student": student, "teacher": teacher, "distance": found.distance}
        if self.training:
            self.network.store(found.features)
            if self.discriminator is not None:
                judged = judge(self.discriminator, found.student, image)
                generator, fake, real = (
                    F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, target))
                    for logit, target in zip(judged, (1.0, 0.0, 1.0), strict=True)
                )
                loss = loss + self.generator_weight * generator
                loss = loss + self.discriminator_weight * (fake + real)
                terms |= {"generator": generator, "discriminator": fake + real}
        return {"loss": loss, **terms}
