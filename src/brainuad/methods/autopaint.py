"""AutoPaint: a network that fills holes in healthy brains finds and removes lesions by itself.

Astaraki et al., "AutoPaint: A Self-Inpainting Method for Unsupervised Anomaly Detection", 2023
(arXiv 2305.12358), ported from tumours in PET and CT to brain MRI, with the partial-convolution
network and losses of Liu et al., ECCV 2018 (arXiv 1804.07723):

    L = 6 hole + valid + 0.05 perceptual + 120 style + 0.1 tv   (see `inpainting_losses`)

The paper's own code is not public as far as could be found. Nearest are its first author's
auto-inpainting for PET and CT of the year before (PriorNet, github.com/SimoneBendazzoli93/PriorNet
at 9d251b28, folder Autoinpainting) and Liu et al.; nobody says that their values are the paper's.
So every preset is *after* AutoPaint:

- of Liu et al.: partial convolutions, eight halvings, the weights above (`model/weights=liu`), Adam
  with 2e-4, then 5e-5 with the encoder's normalisation frozen, no augmentation, no clipping;
- of PriorNet: what is brighter than its filling counts (`residual.sign=positive`), the weights
  30 valid, 240 hole, 0.2 perceptual, 0.05 style, 250 tv, 20 pyramid (`model/weights=priornet`);
- of both: the Gram matrix divided by channels x pixels (`gram_by_channels`);
- ours: the holes, the features, which are of our own autoencoder and not VGG16's, batch and epochs,
  and the detection. PriorNet looks for lesions at the brightest places of the PET, fills each by
  itself, and fills the union of three once; MRI has no PET to say where to look. PriorNet's gated
  convolutions and its sigmoid are not here.

Our reading of the detection: overlapping patterns hide every pixel several times, and what is found
above the candidate threshold is hidden at once and repainted until the region stays (see
`repaint`). A pixel is never judged by an image in which the network saw it. The patterns, the
threshold (a quantile of the candidates' map in healthy held-out brains) and the rounds are
arguments, because nothing public fixes them.

Further from the paper: `autopaint` and `autopaint_prototypes` average the difference over a few
pixels before its sign is taken (`residuals.signed`); `autopaint_adversarial_paper` trains both
networks in one optimiser (see `adversarial`); `autopaint_prototypes` alone shows the network the
mirror image and a healthy prototype beside the slice (see `prototypes`), and lets a repainted part
of a region stay only where it reaches a peak (see `Regions`).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from brainuad.cohorts.manifest import Scan
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory
from brainuad.methods.parts.adversarial import hinge, judge
from brainuad.methods.parts.inpainting_losses import WEIGHTS, inpainting_terms
from brainuad.methods.parts.prototypes import HealthyPrototypes
from brainuad.methods.parts.repaint import Regions, Repainted, candidates, repaint
from brainuad.methods.parts.repaint_thresholds import set_thresholds
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.partial_unet import PartialUNet
from brainuad.synthetic.masks.covering import covering_patterns
from brainuad.synthetic.masks.random import Holes
from brainuad.types import Batch, Detection
from brainuad.volumes.tiling import Tiling


class AutoPaint(AnomalyDetector):
    """Self-inpainting, on slices or volumes.

    Args:
        network: fills holes.
        holes: draws those of training.
        residual: from image, filled image and brain mask to the anomaly map.
        autoencoder: the first stage, whose encoder gives the features of the perceptual and the
            style term; frozen. None leaves the two out.
        optimizer: factory.
        scheduler: factory or None.
        weights: of the terms; those that are not named keep those of Liu et al. The pyramid is
            computed where its weight is above 0.
        feature_layers: of how many residual blocks of the encoder, the first ones; None for all.
        discriminator: factory; not called without a weight.
        adversarial_weight: of the hinge loss on the composite; 0 builds no discriminator.
        freeze_norm_epoch: from this epoch on the encoder's batch normalisation keeps its
            statistics, because those of holes are not those of brains; None for never.
        times: every pixel of a brain is hidden at least so often for the candidates; 0 hides
            nothing, so that a pixel is judged by a network that saw it: a control, not the method.
        hole_sides: sides of the hidden cells, as shares of the slice's shorter side, in turn.
        region_alpha: share of the pixels of healthy held-out brains above the candidate threshold.
        left_alpha: share of these brains that still reaches the peak when the candidates have been
            repainted once; parts of a region that do not are healthy. None for no peak.
        gram_by_channels: the style term's Gram matrix is divided by channels x pixels, not by
            pixels alone.
        regions: from a map to the region that is repainted.
        rounds: of repainting, at most; 0 for the candidates alone.
        chunk: images a forward pass in detection.
        seed: of the patterns' offsets.
        prototypes: of healthy images, which a network with as many `hints` as channels sees beside
            its own; None for the image alone.

    Raises:
        ValueError: an option is out of range or unknown.
    """

    candidate_threshold: Tensor
    repaint_peak: Tensor

    def __init__(
        self,
        network: PartialUNet,
        holes: Holes,
        residual: Residual,
        autoencoder: LatentAutoencoder | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        weights: dict[str, float] | None = None,
        feature_layers: int | None = None,
        discriminator: Callable[[], nn.Module] | None = None,
        adversarial_weight: float = 0.0,
        freeze_norm_epoch: int | None = None,
        times: int = 3,
        hole_sides: Sequence[float] = (0.12, 0.2),
        region_alpha: float = 0.01,
        regions: Regions | None = None,
        rounds: int = 5,
        chunk: int = 64,
        seed: int = 0,
        prototypes: HealthyPrototypes | None = None,
        left_alpha: float | None = None,
        gram_by_channels: bool = False,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if set(weights or {}) - set(WEIGHTS):
            raise ValueError(f"weights names {sorted(set(weights or {}) - set(WEIGHTS))}")
        if times < 0 or rounds < 0 or chunk < 1 or not 0 < region_alpha < 1:
            raise ValueError(
                f"times is {times}, rounds {rounds}, chunk {chunk}, region_alpha {region_alpha}; "
                "use 0 or more, 0 or more, 1 or more, and a share of 1"
            )
        if left_alpha is not None and not 0 < left_alpha < 1:
            raise ValueError(f"left_alpha is {left_alpha}; use a share of 1, or none")
        if adversarial_weight > 0 and discriminator is None:
            raise ValueError("adversarial_weight is above 0; give a discriminator")
        self.network = network
        self.holes = holes
        self.residual = bind(residual, None if autoencoder is None else autoencoder.features)
        self.autoencoder = autoencoder
        if autoencoder is not None:
            autoencoder.freeze()
        self.weights = WEIGHTS | (weights or {})
        self.feature_layers = feature_layers
        self.discriminator = None
        if adversarial_weight > 0 and discriminator is not None:
            self.discriminator = discriminator()
        self.adversarial_weight = adversarial_weight
        self.freeze_norm_epoch = freeze_norm_epoch
        self.times = times
        self.hole_sides = tuple(hole_sides)
        self.region_alpha = region_alpha
        self.regions = Regions() if regions is None else regions
        self.rounds = rounds
        self.chunk = chunk
        self.seed = seed
        self.prototypes = prototypes
        self.left_alpha = left_alpha
        self.gram_by_channels = gram_by_channels
        self._norm_frozen = False
        # Until it is measured nothing is a candidate.
        self.register_buffer("candidate_threshold", torch.full((), torch.inf))
        self.register_buffer("repaint_peak", torch.full((), torch.inf))

    @property
    def measures(self) -> bool:
        """Whether there are prototypes."""
        return self.prototypes is not None

    @property
    def mirrors(self) -> bool:
        """Whether the network sees mirror images."""
        return getattr(self.network, "mirror", False)

    def measure(self, batches: Iterable[Batch]) -> None:
        """The prototypes, where there are any."""
        if self.prototypes is not None:
            self.prototypes.measure(batch.image for batch in batches)

    def fill(self, image: Tensor, valid: Tensor) -> Tensor:
        """The network's whole output `(B, C, *S)`; shapes as in `PartialUNet`."""
        if self.prototypes is None:
            return self.network(image, valid)
        return self.network(image, valid, self.prototypes.nearest(image, valid))

    def inpaint(self, image: Tensor, hole: Tensor) -> Tensor:
        """Fills holes; outside of them the image is as it was.

        Args:
            image: `(B, C, *S)` in [0, 1], zero outside the brain.
            hole: `(B, 1, *S)` bool; the image's values there do not matter.
        """
        return torch.where(hole, self.fill(image, ~hole).to(image.dtype), image)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The objective above; in validation with holes of the batch's number."""
        image, brain_mask = batch
        generator = self.generator()
        hole = self.holes(brain_mask, generator)
        filled = self.fill(image, ~hole)
        features = None
        if self.autoencoder is not None:
            features = partial(self.autoencoder.features, layers=self.feature_layers)
        pyramid = self.weights["pyramid"] > 0
        how = features, self.gram_by_channels, pyramid
        terms = inpainting_terms(filled, image, hole, *how)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        if self.training and self.discriminator is not None:
            composite = torch.where(hole, filled, image)
            generated, own = hinge(*judge(self.discriminator, composite, image))
            loss = loss + self.adversarial_weight * (generated + own)
            terms |= {"generator": generated, "discriminator": own}
        return {"loss": loss, **terms}

    def start_epoch(self, epoch: int) -> None:
        """Enters the second phase when its epoch has come."""
        last = self.freeze_norm_epoch
        self._norm_frozen = last is not None and epoch >= last
        self.train()

    def train(self, mode: bool = True) -> "AutoPaint":
        """As `nn.Module.train`; in the second phase the encoder's normalisation stays as it is."""
        super().train(mode)
        if self._norm_frozen:
            for module in self.network.down_norms:
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The candidates' map, with what repainting says of the candidate region."""
        found = self.auto_inpaint(image, brain_mask)
        return Detection(found.anomaly_map, found.image)

    def auto_inpaint(self, image: Tensor, brain_mask: Tensor) -> Repainted:
        """Detects and removes; in evaluation mode, without gradient. See `Repainted`."""
        if self.times == 0:
            seen = self.fill(image, torch.ones_like(brain_mask)).to(image.dtype)
            none = torch.zeros_like(brain_mask)
            return Repainted(self.residual(image, seen, brain_mask), seen, none, len(image))
        first, passes = self.find_candidates(image, brain_mask)
        found = self.repaint_region(image, brain_mask, first)
        return found._replace(passes=found.passes + passes)

    def patterns(self, image: Tensor) -> Tensor:
        """The patterns `(P, *S)` for images of this size."""
        size = tuple(image.shape[2:])
        sides = tuple(share * min(size) for share in self.hole_sides)
        return covering_patterns(size, self.times, sides, self.seed)

    def examine(
        self, tiling: Tiling, train: Sequence[Scan], held_out: Sequence[Scan], out: Path
    ) -> None:
        """Set the thresholds, see `repaint_thresholds`."""
        if self.times > 0:
            self.eval()
            set_thresholds(self, tiling, held_out, out)

    def find_candidates(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, int]:
        """The candidates' map and its cost, see `candidates`."""
        patterns = self.patterns(image)
        return candidates(self.inpaint, image, brain_mask, patterns, self.residual, self.chunk)

    def repaint_region(
        self, image: Tensor, brain_mask: Tensor, first: Tensor, rounds: int | None = None
    ) -> Repainted:
        """Repaints the candidates of the map `first`, see `repaint`; in so many rounds or fewer."""
        return repaint(
            self.inpaint,
            image,
            brain_mask,
            first,
            self.candidate_threshold,
            self.residual,
            self.regions,
            self.rounds if rounds is None else rounds,
            self.chunk,
            peak=self.repaint_peak,
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """A model of before there was a peak has none of its own."""
        only = state_dict.get(prefix + "candidate_threshold", self.candidate_threshold)
        state_dict.setdefault(prefix + "repaint_peak", only)
        super()._load_from_state_dict(state_dict, prefix, *rest)
