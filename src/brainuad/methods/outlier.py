"""Robust tissue outliers: voxels that no healthy tissue of the scan explains. No training.

Van Leemput et al., "Automated segmentation of multiple sclerosis lesions by model outlier
detection", IEEE TMI 20(8), 2001. Fluid, grey and white matter are Gaussians (mu_k, sigma_k) of the
scan's intensities y_j, and an atlas gives the prior pi_jk of each tissue at each voxel. Expectation
maximisation alternates

    p_jk = pi_jk N(y_j; mu_k, sigma_k) / sum_l pi_jl N(y_j; mu_l, sigma_l)
    t_jk = 1 / (1 + exp((d_jk^2 - kappa^2) / 2)),     d_jk = |y_j - mu_k| / sigma_k
    mu_k, sigma_k = mean and standard deviation of y_j, weighted by p_jk t_jk

so that lesions, which are typical of no tissue, do not influence the classes. `robust=trimmed` is
the trimmed likelihood (Garcia-Lorenzo et al., IEEE TMI 30(8), 2011): every pass leaves out the
share of voxels with the lowest sum_k pi_jk N(y_j; mu_k, sigma_k), and t_jk = 1 for the others.

The score is the distance z to white matter, with the sign of lesions in this sequence, times the
atlas's prior of a lesion at this place:

    brighter (FLAIR, T2w, PDw):  z_j = (y_j - max(mu_grey, mu_white)) / sigma_white
                                 min(z_j, limit) (pi_white + pi_deep grey)
    darker (T1w):                z_j = (mu_white - y_j) / sigma_white
                                 min(z_j, limit) pi_white

The brighter of grey and white is used, because grey is the darker one on the FLAIR of many old
people. On T1w lesions are not darker than grey. Beyond the limit a voxel is certainly an outlier,
and only its place orders the scores: fluid where the atlas has half white matter is further from
white than any lesion. A score above 3 is a finding, without a fitted threshold. Because of the
prior, the method does not find lesions of the cortex.

Differs from the papers: a Gaussian of 1 mm first, and no Markov field; intensities, not their
logarithm, and no bias field (N4 of `brainuad-prepare` removes it before); each sequence by itself,
averaged; the signed distance in place of the posterior sum_k p_jk (1 - t_jk), which is 1 for every
clear outlier. The atlas is the MNI152 2009 of nilearn, placed by the scan's affine.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from brainuad.errors import InputError
from brainuad.machine.text import say
from brainuad.methods.base import AnomalyDetector, Traits
from brainuad.methods.parts.tissue_atlas import TISSUES, Atlas, atlas_at, on_atlas, priors
from brainuad.postprocess.smooth import Gaussian
from brainuad.preparation.tissue.hmrf import (
    TYPICAL,
    Classes,
    expectation,
    log_likelihood,
    maximisation,
    typicality,
)
from brainuad.types import Detection, Volume

Robust = Literal["weights", "trimmed"]
Side = Literal["positive", "negative"]

FLOOR = 0.01
"""Smallest standard deviation of a class, as a share of the brain's mean, so that no class shrinks
to one value.
"""


class Outlier(AnomalyDetector):
    """Distance to the scan's own white matter in standard deviations, times a lesion prior.

    It learns nothing and takes whole volumes; one plane is a volume too. A scan that does not lie
    on the atlas according to its affine is scored by its distance to the brain's median, with a
    message.

    Args:
        sign: sign of lesions, `positive` (brighter) or `negative` (darker), or one per channel.
        robust: protection of the classes against lesions: `weights`, the typicality; `trimmed`, the
            trimmed likelihood.
        place: whether to multiply by the prior of the place; False scores the distance only,
            without limit.
        kappa: standard deviations at which a voxel counts half, with `weights`.
        trim: share of voxels that is left out, with `trimmed`.
        limit: standard deviations above which only the place orders the scores: 2 kappa, where
            `weights` are 1e-6 and less.
        sigma_mm: width of the Gaussian over the scan; 0 for none.
        iterations: passes of expectation maximisation.
        spacing_mm: edge length of a voxel without an affine.

    Raises:
        ValueError: an argument is out of range.
    """

    traits = Traits(own_threshold=3.0)

    def __init__(
        self,
        sign: Side | Sequence[Side] = "positive",
        robust: Robust = "weights",
        place: bool = True,
        kappa: float = TYPICAL,
        trim: float = 0.05,
        limit: float = 2 * TYPICAL,
        sigma_mm: float = 1.0,
        iterations: int = 30,
        spacing_mm: float = 2.0,
    ) -> None:
        super().__init__()
        signs = [sign] if isinstance(sign, str) else list(sign)
        if not signs or not set(signs) <= {"positive", "negative"}:
            raise ValueError(f"sign is {sign}; use positive or negative, or one for each channel")
        if min(limit, spacing_mm) <= 0 or sigma_mm < 0:
            raise ValueError(
                f"limit is {limit}, spacing_mm {spacing_mm}, sigma_mm {sigma_mm}; use above 0, "
                "above 0, and 0 or more"
            )
        check_fit(robust, kappa, trim, iterations)
        self.sign, self.place, self.limit, self.spacing_mm = sign, place, limit, spacing_mm
        self._smooth = Gaussian(sigma_mm)
        self._fit = partial(
            fit_classes, robust=robust, kappa=kappa, trim=trim, iterations=iterations
        )

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the mean over channels; see the head of this module.

        Raises:
            InputError: slices in place of volumes, or another number of channels than of signs.
        """
        if image.ndim != 5:
            raise InputError("tissue outliers take whole volumes; set tiling=volume")
        signs = [self.sign] * image.shape[1] if isinstance(self.sign, str) else self.sign
        if len(signs) != image.shape[1]:
            raise InputError(f"a scan of {image.shape[1]} channels, and {len(signs)} signs")
        pairs = zip(image.float().cpu().numpy(), brain_mask.cpu().numpy(), strict=True)
        found = [self._score_scan(scan, mask[0], signs) for scan, mask in pairs]
        return Detection(torch.from_numpy(np.stack(found)).to(image.device), None)

    def _score_scan(self, scan: np.ndarray, brain: np.ndarray, signs: Sequence[str]) -> np.ndarray:
        """Return the scores `(1, D, H, W)` float32 of `(C, D, H, W)` in a mask `(D, H, W)` bool."""
        found = np.zeros((1, *brain.shape), np.float32)
        if not brain.any():
            return found
        spacing = (self.spacing_mm,) * 3
        if self.affine is not None:
            spacing = Volume(brain, self.affine).spacing_mm
        lines = [self._smooth(channel, brain, spacing)[brain] for channel in scan]
        atlas = self._atlas(np.argwhere(brain), lines)
        parts = [self._distance(*pair, atlas) for pair in zip(lines, signs, strict=True)]
        found[0, brain] = np.mean(parts, 0)
        return found

    def _atlas(self, places: np.ndarray, lines: Sequence[np.ndarray]) -> Atlas | None:
        """Return the atlas at `(N, 3)` voxels; None if the `(N,)` intensities do not lie on it."""
        if self.affine is not None and on_atlas(self.affine, places, lines):
            return atlas_at(self.affine, places)
        say(
            "warning: a scan does not lie on the MNI152 atlas; scored by its distance to the "
            "brain's median, without tissues and places; prepare it with brainuad-prepare"
        )
        return None

    def _distance(self, values: np.ndarray, sign: str, atlas: Atlas | None) -> np.ndarray:
        side = 1 if sign == "positive" else -1
        if atlas is None:
            middle = float(np.median(values))
            # 1.4826 makes it the standard deviation of a Gaussian.
            spread = 1.4826 * float(np.median(np.abs(values - middle)))
            return side * (values - middle) / max(spread, _least_spread(values))
        fitted = self._fit(values, priors(atlas))
        _, grey, white = fitted.means
        level = max(grey, white) if side > 0 else white
        distance = side * (values - level) / fitted.deviations[TISSUES.index("white")]
        if not self.place:
            return distance
        place = atlas["white"] + atlas["deep_grey"] if side > 0 else atlas["white"]
        return np.minimum(distance, self.limit) * place


def fit_classes(
    values: np.ndarray,
    priors: np.ndarray,
    robust: Robust = "weights",
    kappa: float = TYPICAL,
    trim: float = 0.05,
    iterations: int = 30,
) -> Classes:
    """Fit one Gaussian per tissue by expectation maximisation; lesions count little or not at all.

    It starts from the priors.

    Args:
        values: `(N,)` intensities of the brain.
        priors: `(K, N)` of each tissue, above 0, summing to 1.
        robust: see `Outlier`, as for the others.
        kappa: as in `Outlier`, for `weights`.
        trim: as in `Outlier`, for `trimmed`.
        iterations: passes of posterior and moments.

    Returns:
        The classes in the order of the priors; their weights are shares of the counted voxels.

    Raises:
        ValueError: an argument is out of range.
    """
    check_fit(robust, kappa, trim, iterations)
    floor, left_out = _least_spread(values), int(trim * len(values))
    log_priors = np.log(priors).astype(np.float32)
    fitted = maximisation(values, priors, floor)
    for _ in range(iterations):
        joint = log_likelihood(values, fitted, drawn_in=False) + log_priors
        weights = expectation(joint.copy())
        if robust == "weights":
            weights *= typicality(values, fitted, kappa)
        else:
            likelihood = np.logaddexp.reduce(joint, 0)
            weights *= likelihood >= np.partition(likelihood, left_out)[left_out]
        fitted = maximisation(values, weights, floor)
    return fitted


def check_fit(robust: str, kappa: float, trim: float, iterations: int) -> None:
    """Raise ValueError if an argument of `fit_classes` is out of range."""
    if robust not in ("weights", "trimmed"):
        raise ValueError(f"robust is '{robust}'; use weights or trimmed")
    if kappa <= 0 or not 0 <= trim < 1 or iterations < 1:
        raise ValueError(
            f"kappa is {kappa}, trim {trim}, iterations {iterations}; use above 0, a share below "
            "1, and 1 or more"
        )


def _least_spread(values: np.ndarray) -> float:
    return FLOOR * float(np.abs(values).mean()) or 1e-6
