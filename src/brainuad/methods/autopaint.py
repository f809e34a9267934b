"""AutoPaint: finds and removes lesions by inpainting with healthy tissue.

Astaraki et al., "AutoPaint: A Self-Inpainting Method for Unsupervised Anomaly Detection", 2023
(arXiv 2305.12358), ported from tumours in PET and CT to brain MRI, with the partial-convolution
network and losses of Liu et al., ECCV 2018 (arXiv 1804.07723):

    L = 6 hole + valid + 0.05 perceptual + 120 style + 0.1 tv   (see `inpainting_losses`)

The paper's own code is not public. Closest are its first author's auto-inpainting for PET and CT of
the year before (PriorNet, github.com/SimoneBendazzoli93/PriorNet at 9d251b28, folder
Autoinpainting) and Liu et al., whose values may differ from the paper's. So every preset is *after*
AutoPaint:

- of Liu et al.: partial convolutions, eight halvings, the weights above (`model/weights=liu`), Adam
  with 2e-4, then 5e-5 with the encoder's normalisation frozen, no augmentation, no clipping;
- of PriorNet: only voxels brighter than their filling score (`residual.sign=positive`), the weights
  30 valid, 240 hole, 0.2 perceptual, 0.05 style, 250 tv, 20 pyramid (`model/weights=priornet`);
- of both: the Gram matrix divided by channels x pixels (`gram_by_channels`);
- ours: the hidden regions, the features (of our own autoencoder, not VGG16's), batch size and
  epochs, and the detection. PriorNet starts from the brightest places of the PET, fills each by
  itself, and fills the union of three once; MRI has no PET to start from. PriorNet's gated
  convolutions and its sigmoid are not here.

Our reading of the detection: overlapping patterns hide every pixel several times. All pixels above
the candidate threshold are then hidden at once and repainted until the region does not change (see
`repaint`). A pixel is scored only by images in which it was hidden. The patterns, the threshold (a
quantile of the candidates' map in healthy held-out brains) and the rounds are arguments, because no
public source states them.

Further differences: `autopaint` and `autopaint_prototypes` average the difference over a few pixels
before taking its sign (`residuals.signed`); a repainted part of a region may need a peak to remain
(see `Regions`); the network may see the mirror image. `autopaint_prototypes` has more ideas of
ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from brainuad.methods.base import InpaintingDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.inpainting_losses import WEIGHTS, inpainting_terms
from brainuad.methods.parts.repaint import Regions, Repainted, candidates, repaint
from brainuad.methods.parts.repaint_thresholds import set_thresholds
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.partial_unet import PartialUNet
from brainuad.synthetic.masks.covering import CoveringPatterns
from brainuad.synthetic.masks.random import Holes
from brainuad.types import Batch, Detection


class AutoPaint(InpaintingDetector):
    """Self-inpainting, on slices or volumes.

    Args:
        network: fills hidden regions.
        holes: draws the hidden regions of the training.
        residual: from image, filled image and brain mask to the anomaly map.
        first_stage: an autoencoder whose encoder gives the features of the perceptual and the style
            term; frozen. None leaves both terms out.
        optimizer: factory.
        scheduler: factory or None.
        weights: weights of the loss terms; others are those of Liu et al. The pyramid is computed
            if its weight is above 0.
        feature_layers: number of residual blocks of the encoder that give features, from the first;
            None for all.
        gram_by_channels: the style term's Gram matrix is divided by channels x pixels, not by
            pixels alone.
        freeze_norm_epoch: epoch from which the encoder's batch normalisation keeps its statistics,
            because those of hidden regions differ from those of brains; None for never.
        patterns: patterns that hide every pixel for the candidates. With `times=0` nothing is
            hidden, as a control.
        regions: region that is repainted, its thresholds and rounds.
        chunk: images per forward pass in detection.

    Raises:
        ValueError: an option is out of range or unknown.
    """

    traits = Traits(detection_options=("residual",))
    first_stage: LatentAutoencoder | None
    candidate_threshold: Tensor
    repaint_peak: Tensor

    def __init__(
        self,
        network: PartialUNet,
        holes: Holes,
        residual: Residual,
        first_stage: LatentAutoencoder | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        weights: dict[str, float] | None = None,
        feature_layers: int | None = None,
        gram_by_channels: bool = False,
        freeze_norm_epoch: int | None = None,
        patterns: CoveringPatterns | None = None,
        regions: Regions | None = None,
        chunk: int = 64,
    ) -> None:
        super().__init__(optimizer, scheduler, first_stage)
        if set(weights or {}) - set(WEIGHTS):
            raise ValueError(f"weights names {sorted(set(weights or {}) - set(WEIGHTS))}")
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; use 1 or more")
        self.traits = replace(self.traits, left_right=network.mirror)
        self.network = network
        self.holes = holes
        self.residual = bind(residual, None if first_stage is None else first_stage.features)
        self.weights = WEIGHTS | (weights or {})
        self.feature_layers = feature_layers
        self.gram_by_channels = gram_by_channels
        self.freeze_norm_epoch = freeze_norm_epoch
        self.patterns = patterns or CoveringPatterns()
        self.regions = regions or Regions()
        self.chunk = chunk
        self._norm_frozen = False
        # Until it is measured, no pixel is a candidate.
        self.register_buffer("candidate_threshold", torch.full((), torch.inf))
        self.register_buffer("repaint_peak", torch.full((), torch.inf))

    def fill(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return the network's whole output `(B, C, *S)`; shapes as in `PartialUNet`."""
        return self.network(image, valid)

    def inpaint(self, image: Tensor, hole: Tensor) -> Tensor:
        """Fill hidden regions by the network."""
        return torch.where(hole, self.fill(image, ~hole).to(image.dtype), image)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above; in validation with regions seeded by the batch's number."""
        hole = self.holes(batch.brain_mask, self.generator())
        return self.objective(batch.image, self.fill(batch.image, ~hole), hole)

    def objective(self, image: Tensor, filled: Tensor, hole: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss of a filled image; shapes as in `inpaint`."""
        features = None
        if self.first_stage is not None:
            features = partial(self.first_stage.features, layers=self.feature_layers)
        pyramid = self.weights["pyramid"] > 0
        terms = inpainting_terms(filled, image, hole, features, self.gram_by_channels, pyramid)
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def start_epoch(self, epoch: int) -> None:
        """Start the second phase at its epoch."""
        last = self.freeze_norm_epoch
        self._norm_frozen = last is not None and epoch >= last
        self.train()

    def train(self, mode: bool = True) -> "AutoPaint":
        """As `nn.Module.train`; in the second phase the encoder's normalisation stays frozen."""
        super().train(mode)
        if self._norm_frozen:
            for module in self.network.down_norms:
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the candidates' map, corrected by repainting the candidate region."""
        found = self.auto_inpaint(image, brain_mask)
        return Detection(found.anomaly_map, found.image)

    def auto_inpaint(self, image: Tensor, brain_mask: Tensor) -> Repainted:
        """Detect and remove; in evaluation mode, without gradient. See `Repainted`."""
        if self.patterns.times == 0:
            seen = self.fill(image, torch.ones_like(brain_mask)).to(image.dtype)
            none = torch.zeros_like(brain_mask)
            return Repainted(self.residual(image, seen, brain_mask), seen, none, len(image))
        first, passes = self.find_candidates(image, brain_mask)
        found = self.repaint_region(image, brain_mask, first)
        return found._replace(passes=found.passes + passes)

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, float]:
        """Set the thresholds, see `repaint_thresholds`."""
        if self.patterns.times == 0:
            return {}
        self.eval()
        return set_thresholds(self, held_out)

    def find_candidates(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, int]:
        """Return the candidates' map and its cost, see `candidates`."""
        patterns = self.patterns(image.shape[2:])
        return candidates(self.inpaint, image, brain_mask, patterns, self.residual, self.chunk)

    def repaint_region(
        self, image: Tensor, brain_mask: Tensor, first: Tensor, rounds: int | None = None
    ) -> Repainted:
        """Repaint the candidates of the map `first` in at most `rounds` rounds, see `repaint`."""
        return repaint(
            self.inpaint,
            image,
            brain_mask,
            first,
            self.candidate_threshold,
            self.residual,
            self.regions,
            self.regions.rounds if rounds is None else rounds,
            self.chunk,
            peak=self.repaint_peak,
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Use the candidates' threshold as peak in models of versions without a peak."""
        only = state_dict.get(prefix + "candidate_threshold", self.candidate_threshold)
        state_dict.setdefault(prefix + "repaint_peak", only)
        super()._load_from_state_dict(state_dict, prefix, *rest)
