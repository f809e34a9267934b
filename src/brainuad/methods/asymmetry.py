"""Left-right asymmetry: the difference between the brain and its mirror image.

Healthy brains are nearly symmetric, and most lesions are on one side (Liu, Collins & Rothfus,
"Robust midsagittal plane extraction from normal and pathological 3-D neuroradiology images", IEEE
TMI 2001, who have to find the plane first). On a registered scan the midsagittal plane is the
atlas's, a known index:

    map(v) = |x(v) - x(mirror of v)|

A lesion appears at its own place and, with the opposite sign, at the mirrored place;
`residual.sign` keeps one of them if the sign is known. Lesions on both sides, or in the middle, are
not found.
"""

import torch
from torch import Tensor

from brainuad.methods.base import ReconstructionDetector, Traits
from brainuad.methods.parts.residuals import Residual


class Asymmetry(ReconstructionDetector):
    """Difference to the mirror image, without learning, on volumes or axial slices.

    A brain voxel whose mirror voxel lies outside the brain scores 0. Otherwise the rim would score
    highest wherever one half is a little larger.

    Args:
        residual: from image, mirror image and brain mask to the map; `average` helps, because no
            two folds are mirrored to the voxel.
        plane: index of the midsagittal plane along the left-right axis, a multiple of a half; None
            for the middle of the grid, where it is in the embedded cohort and, within 0.5 mm, on
            prepared scans.

    Raises:
        ValueError: `plane` is no such index.
    """

    traits = Traits(left_right=True, detection_options=("residual", "plane"), one_pass=True)

    def __init__(self, residual: Residual, plane: float | None = None) -> None:
        super().__init__(residual)
        if plane is not None and (plane < 0 or 2 * plane != int(2 * plane)):
            raise ValueError(f"plane is {plane}; use an index or one between two, as 47.5")
        self.plane = plane

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the mirror image; where that has no brain, the image itself."""
        return torch.where(self._mirrored(brain_mask), self._mirrored(image), image)

    def _mirrored(self, values: Tensor) -> Tensor:
        """`(B, C, *S)` with the first spatial axis reversed about the plane; 0 from outside."""
        if self.plane is None:
            return values.flip(2)
        length = values.shape[2]
        source = int(2 * self.plane) - torch.arange(length, device=values.device)
        inside = ((source >= 0) & (source < length)).reshape(-1, *[1] * (values.ndim - 3))
        return values.index_select(2, source.clamp(0, length - 1)) * inside
