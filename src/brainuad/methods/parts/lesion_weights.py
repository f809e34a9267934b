"""Weights of synthetic lesions in a training, by their expected anomaly posterior.

A lesion that looks healthy teaches a network nothing, and one that looks like no tissue teaches it
the wrong thing (Perini et al. 2024, see `brainuad.synthetic.lesions.posterior`). The first training
steps collect the appearance of lesions and of healthy tissue around random pixels; then the
posterior phi is fitted once, because the features do not change, and each further sample weighs

    w = max(phi ** power / mean(phi ** power), floor),

with the mean over the collected lesions. Samples without a lesion weigh 1, as all do until the fit
and in validation.

Real anomalies are not at hand, so `anomalies` paints stand-ins for them, such as other intensities
in outlines of real lesions. `contamination` should be about their share of the points: then phi is
about that for a lesion that looks healthy. The stand-ins decide what is realistic: kinds of lesions
unlike them get a low phi, for example dark ones if they are bright.
"""

import torch
from torch import Tensor, nn

from brainuad.machine.text import say
from brainuad.synthetic.grids import draw_places
from brainuad.synthetic.lesions.appearance import appearance, number_of_features
from brainuad.synthetic.lesions.contract import Corruption, Painted, outline
from brainuad.synthetic.lesions.posterior import Subsets, expected_posterior, fit_subsets

KIND, SIZE, CHANGE, PHI = range(4)
"""Columns of `LesionWeights.facts`."""


class LesionWeights(nn.Module):
    """Weight of each sample of a training on synthetic lesions.

    What it has learned is in the checkpoint, so that a resumed training has the same weights.

    Args:
        anomalies: paints stand-ins for known anomalies.
        contamination: c, the probability of an anomaly before anything is known.
        neighbours: the least k.
        subsets: number of random subsets; 100 in the code.
        power: exponent of phi; 0 for equal weights.
        floor: smallest weight, so that no kind of lesion is lost.
        drop: share of the lesions with the lowest phi whose samples weigh 0.
        shuffled: whether the weights of a batch change places, as a control.
        healthy: number of healthy places that are collected.
        lesions: number of lesions.
        stand_ins: number of stand-ins; 5 to 50 known anomalies in the paper.
        channels: number of channels of the images.
        seed: random seed of the subsets.

    Raises:
        ValueError: an argument is out of range.
    """

    healthy: Tensor
    lesions: Tensor
    stand_ins: Tensor
    facts: Tensor
    filled: Tensor
    centre: Tensor
    spread: Tensor
    radii: Tensor
    total: Tensor
    coefficients: Tensor
    mean: Tensor
    cut: Tensor

    def __init__(
        self,
        anomalies: Corruption,
        contamination: float = 0.05,
        neighbours: int = 5,
        subsets: int = 20,
        power: float = 1.0,
        floor: float = 0.2,
        drop: float = 0.0,
        shuffled: bool = False,
        healthy: int = 1000,
        lesions: int = 500,
        stand_ins: int = 50,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < contamination < 1 or not 0 <= drop < 1 or min(power, floor) < 0:
            raise ValueError(
                f"contamination is {contamination}, drop {drop}, power {power}, floor {floor}; use "
                "a probability, a share below 1, and 0 or more"
            )
        if min(neighbours, subsets, lesions, stand_ins) < 1 or healthy < neighbours + 2:
            raise ValueError(
                f"{subsets} subsets of {healthy} healthy places, {lesions} lesions and {stand_ins} "
                f"stand-ins with {neighbours} neighbours; use 1 or more, and more places"
            )
        self.anomalies = anomalies
        self.contamination, self.neighbours, self.subsets = contamination, neighbours, subsets
        self.power, self.floor, self.drop, self.shuffled = power, floor, drop, shuffled
        self.seed = seed
        features = number_of_features(channels)
        sizes = {
            "healthy": (healthy, features),
            "lesions": (lesions, features),
            "stand_ins": (stand_ins, features),
            "facts": (lesions, 4),
            "centre": (features,),
            "spread": (features,),
            "radii": (subsets, healthy),
            "total": (subsets,),
            "coefficients": (subsets, features + 1),
            "mean": (),
            "cut": (),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("filled", torch.zeros(3, dtype=torch.long))

    @property
    def is_fitted(self) -> bool:
        """Return whether enough was collected, so that lesions have weights."""
        return bool(self.mean > 0)

    @torch.no_grad()
    def forward(self, painted: Painted, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the weight of each sample, `(B, 1, ...)` with as many axes as the image.

        Args:
            painted: samples of the training.
            image: the same without lesions, `(B, C, *S)`.
            brain_mask: `(B, 1, *S)` bool.
        """
        weight = torch.ones(len(image), device=image.device)
        region = outline(painted.share) & brain_mask
        with_lesion = region.flatten(1).any(1)
        if self.training and bool(with_lesion.any()):
            place = _drawn(region)
            found = appearance(painted.image, image, brain_mask, place)
            if self.is_fitted:
                weight = torch.where(with_lesion, self.weight(self.value(found)), weight)
            else:
                self._collect(painted, image, brain_mask, found, with_lesion)
        if self.shuffled:
            weight = weight[torch.randperm(len(weight), device=weight.device)]
        return weight.reshape(-1, *[1] * (image.ndim - 1))

    def value(self, found: Tensor) -> Tensor:
        """Return phi `(B,)` of lesions with features `(B, F)`."""
        subsets = Subsets(self.radii, self.total, self.coefficients)
        points, healthy = (self._scaled(part) for part in (found, self.healthy))
        return expected_posterior(points, healthy, subsets, self.contamination)

    def weight(self, phi: Tensor) -> Tensor:
        """Return the weights of lesions by their phi, `(B,)`; see the module."""
        weight = (phi**self.power / self.mean).clamp_min(self.floor)
        return torch.where(phi < self.cut, 0, weight)

    def checks(self, kinds: list[str]) -> dict[str, float]:
        """Return the mean phi by kind, size and change of the collected lesions, and print it.

        Lesions of no use have about `contamination` or less. Sizes are thirds by volume, changes
        are of the mean intensity; small and faint lesions have a low phi too, although they are
        real.

        Args:
            kinds: names of the kinds that `Painted.kind` numbers.
        """
        if not self.is_fitted:
            say(
                "the training was too short to weigh lesions: "
                f"{self.filled[1]} of {len(self.lesions)} were seen"
            )
            return {}
        kind, size, change, phi = self.facts.cpu().T
        groups = {name: kind == i for i, name in enumerate(kinds)}
        groups |= _thirds(size, ("small", "medium", "large"))
        groups |= _thirds(change.abs(), ("faint", "clear", "strong"))
        groups |= {"darker": change < 0, "brighter": change > 0}
        means = {name: float(phi[of].mean()) for name, of in groups.items() if of.any()}
        said = "; ".join(f"{name} {value:.3f}" for name, value in means.items())
        say(f"expected anomaly posterior of lesions (useless: {self.contamination}): {said}")
        return {f"eap/{name}": value for name, value in means.items()}

    def _collect(
        self, painted: Painted, image: Tensor, brain_mask: Tensor, found: Tensor, known: Tensor
    ) -> None:
        """Keep the appearance of lesions, stand-ins and two healthy places of each sample."""
        inside = outline(painted.share) & brain_mask
        voxels = inside.flatten(1).sum(1)
        kind = torch.zeros_like(voxels) if painted.kind is None else painted.kind
        change = ((painted.image - image) * inside).flatten(1).sum(1) / voxels.clamp_min(1)
        size = voxels / brain_mask.flatten(1).sum(1).clamp_min(1)
        facts = torch.stack([kind.float(), size, change, torch.zeros_like(size)], 1)
        start = int(self.filled[1])
        self._append(1, self.lesions, found[known])
        self.facts[start : int(self.filled[1])] = facts[known][: int(self.filled[1]) - start]
        brain = brain_mask.flatten(1).any(1)
        for _ in range(2):
            there = appearance(image, image, brain_mask, _drawn(brain_mask))
            self._append(0, self.healthy, there[brain])
        if self.filled[2] < len(self.stand_ins):
            other = self.anomalies(image, brain_mask)
            region = outline(other.share) & brain_mask
            there = appearance(other.image, image, brain_mask, _drawn(region))
            self._append(2, self.stand_ins, there[region.flatten(1).any(1)])
        if self.filled.tolist() == [len(self.healthy), len(self.lesions), len(self.stand_ins)]:
            self._fit()

    def _append(self, number: int, kept: Tensor, new: Tensor) -> None:
        start = int(self.filled[number])
        stop = min(start + len(new), len(kept))
        kept[start:stop] = new[: stop - start]
        self.filled[number] = stop

    def _fit(self) -> None:
        self.centre.copy_(self.healthy.mean(0))
        self.spread.copy_(self.healthy.std(0).clamp_min(1e-6))
        fitted = fit_subsets(
            self._scaled(self.healthy).cpu(),
            self._scaled(self.stand_ins).cpu(),
            number=self.subsets,
            neighbours=self.neighbours,
            generator=torch.Generator().manual_seed(self.seed),
        )
        for buffer, value in zip((self.radii, self.total, self.coefficients), fitted, strict=True):
            buffer.copy_(value)
        phi = self.value(self.lesions)
        self.facts[:, PHI] = phi
        self.mean.copy_((phi**self.power).mean())
        if self.drop:
            self.cut.copy_(phi.quantile(self.drop))

    def _scaled(self, found: Tensor) -> Tensor:
        return (found - self.centre) / self.spread


def sample_weights(
    weights: LesionWeights | None, painted: Painted, image: Tensor, brain_mask: Tensor
) -> Tensor:
    """Return the weight of each sample in a loss, `(B, 1, ...)`; ones without `LesionWeights`.

    Called after all other draws of a loss, so that lesions are those of a training without weights.
    """
    if weights is None:
        return image.new_ones(len(image), *[1] * (image.ndim - 1))
    found: Tensor = weights(painted, image, brain_mask)
    return found


def _drawn(region: Tensor) -> Tensor:
    """Return a random pixel of each region, `(B, len(S))`."""
    return draw_places(region, torch.rand(len(region), 1, device=region.device))[:, 0]


def _thirds(values: Tensor, names: tuple[str, str, str]) -> dict[str, Tensor]:
    low, high = values.quantile(torch.tensor([1 / 3, 2 / 3]))
    parts = (values <= low, (values > low) & (values <= high), values > high)
    return dict(zip(names, parts, strict=True))
