"""Mixtures of corruptions, drawn sample by sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.errors import InputError
from brainuad.synthetic.grids import drawn
from brainuad.synthetic.lesions.contract import Corruption, Painted, severity_of


@dataclass(frozen=True)
class OneOf:
    """Each sample meets one of several corruptions, or none.

    The samples of a corruption are handed to it together, so their donors are among them; a
    single one comes with the sample before it in the batch.

    Args:
        corruptions: corruptions to draw from.
        probabilities: their probabilities, not necessarily of sum one; None for equal ones.
        probability: that a sample is painted at all.

    Raises:
        InputError: not a probability for each corruption, or a negative one.
    """

    corruptions: Sequence[Corruption]
    probabilities: Sequence[float] | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        odds = self._odds()
        if len(odds) != len(self.corruptions) or min(odds, default=-1) < 0 or sum(odds) <= 0:
            raise InputError(
                f"{len(self.corruptions)} corruptions with the probabilities {odds}; give each one"
            )
        if not 0 <= self.probability <= 1:
            raise InputError(f"probability is {self.probability}; use a value in [0, 1]")

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`."""
        odds = torch.tensor(self._odds(), device=image.device)
        edges = odds.cumsum(0) / odds.sum()
        edges[-1] = 1
        draw = drawn(torch.rand, (len(image),), image, generator)
        which = torch.bucketize(draw, edges * self.probability, right=True)
        painted, share = image.clone(), torch.zeros_like(image[:, :1])
        severity = image.new_zeros(len(image))
        for number, corruption in enumerate(self.corruptions):
            index = (which == number).nonzero().flatten()
            if not len(index):
                continue
            met = index
            if len(index) == 1 and len(image) > 1:
                met = torch.cat([index, (index - 1) % len(image)])
            found = corruption(image[met], brain_mask[met], generator)
            painted[index] = found.image[: len(index)]
            share[index] = found.share[: len(index)].to(share.dtype)
            severity[index] = severity_of(found, image[met])[: len(index)].to(severity.dtype)
        kind = torch.where(which < len(self.corruptions), which, -1)
        return Painted(painted, share, severity, kind)

    def _odds(self) -> list[float]:
        if self.probabilities is None:
            return [1.0] * len(self.corruptions)
        return [float(value) for value in self.probabilities]


def kinds_of(corruption: Corruption) -> list[str]:
    """Return the names of the kinds that `Painted.kind` numbers: filling and shape."""
    if not isinstance(corruption, OneOf):
        return [_name(corruption)]
    return [f"{i}, {_name(part)}" for i, part in enumerate(corruption.corruptions, start=1)]


def _name(corruption: Corruption) -> str:
    shape = getattr(corruption, "shape", None)
    shape = getattr(shape, "shape", shape)
    filling = getattr(corruption, "__name__", type(corruption).__name__)
    return filling if shape is None else f"{filling} in {type(shape).__name__}"
