"""Axis and unit conventions of all packages.

Volumes are `(C, D, H, W)`; the array axes D, H, W are the subject's Right, Anterior and Superior
directions (RAS, as nibabel indexes and as MONAI does), so an axial slice fixes the last axis.
Batches of slices are `(B, C, H, W)`, batches of volumes `(B, C, D, H, W)`; `*S` stands for either
spatial shape. Intensities of prepared volumes are in [0, 1]; lengths are in mm.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# torch takes seconds to import and NumPy a tenth of one; a manifest is read without them.
if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Volume:
    """A 3D image in world space.

    Attributes:
        array: `(D, H, W)` voxels, without a channel axis.
        affine: `(4, 4)` voxel index to RAS world coordinates in mm.
    """

    array: "np.ndarray"
    affine: "np.ndarray"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel along D, H, W in mm."""
        import numpy as np

        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)


@dataclass(frozen=True)
class WorldMatrix:
    """A linear registration.

    Attributes:
        rows: rows of the `(4, 4)` matrix from one world to the other, RAS mm.
    """

    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class WorldWarp:
    """A deformable registration.

    Attributes:
        field: file of the displacements from one world to the other.
        inverse: file of those back.
    """

    field: Path
    inverse: Path


Way = tuple[WorldMatrix | WorldWarp, ...]
"""Steps from one world to another."""


@dataclass(frozen=True)
class Space:
    """The way from the prepared grid back to the scan as it came.

    Attributes:
        native: the scan as it came; None when it is the prepared one.
        way: registrations in order, from the prepared world to the native one; empty when both
            are the same. `brainuad.volumes.native_space` reads and applies it.
    """

    native: Path | None
    way: Way = ()


class Batch(NamedTuple):
    """Input of a detector's training.

    Attributes:
        image: `(B, C, *S)` float32, prepared intensities in [0, 1], zero outside the brain.
        brain_mask: `(B, 1, *S)` bool.
    """

    image: "Tensor"
    brain_mask: "Tensor"


class Detection(NamedTuple):
    """Result of a detector for a batch of images.

    Attributes:
        anomaly_map: `(B, 1, *S)` float32, finite, >= 0, zero outside the brain
            (unless `Traits.keeps_background`), larger = more abnormal.
        reconstruction: `(B, C, *S)` pseudo-healthy image, or None where a method makes none.
        uncertainty: `(B, 1, *S)` standard deviation of the anomaly map over a method's draws, or
            None where it draws nothing.
        draws: `(B, N, *S)` the maps of these draws, where they are asked for
            (`AnomalyDetector.keeps_draws`).
    """

    anomaly_map: "Tensor"
    reconstruction: "Tensor | None"
    uncertainty: "Tensor | None" = None
    draws: "Tensor | None" = None
