"""Recipe of a preparation: how the scans of a model or a cohort are prepared, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from brainuad.settings.build import TARGET


@dataclass(frozen=True)
class Recipe:
    """Configurations of the parts of a preparation; somebody else may have written them.

    Attributes:
        steps: geometric steps, a `Preparation` or a `SlicePreparation`.
        normalise: intensity normalisation, or one per sequence.
        limits: limits of the quality measures.
    """

    steps: Any
    normalise: Any
    limits: Any

    @property
    def normalisers(self) -> dict[str, Any]:
        """The normalisation of each sequence; under an empty name where all share one."""
        return {"": self.normalise} if TARGET in self.normalise else dict(self.normalise)

    @property
    def of_slices(self) -> bool:
        """True if the recipe prepares 2D images."""
        return str(self.steps.get(TARGET, "")).endswith(".SlicePreparation")

    @property
    def spacing_mm(self) -> float | None:
        """Edge length of the prepared voxels in mm; None where the scans keep their own."""
        found: float | None = self.steps.get("spacing_mm")
        return found

    @property
    def pixel_mm(self) -> float:
        """Edge length in mm of a slice's pixel whose file does not state it."""
        return float(self.steps.get("pixel_mm", 1.0))

    @property
    def registered(self) -> bool:
        """True if scans are registered to an atlas."""
        return self.steps.get("atlas") is not None

    @property
    def atlas_image(self) -> str | None:
        """The user's own atlas; None for MNI152, or without an atlas."""
        found: str | None = self.steps.get("atlas_image")
        return found

    @property
    def in_mni(self) -> bool:
        """True if prepared scans lie in the world of MNI152."""
        return self.registered and self.atlas_image is None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe of plain values; a part that is not there is empty."""
        return cls(*(values.get(name, {}) for name in ("steps", "normalise", "limits")))
