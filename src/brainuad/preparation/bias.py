"""Bias field correction: N4 (Tustison et al. 2010, IEEE TMI 29(6)), by SimpleITK."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from brainuad.types import Volume
from brainuad.volumes.itk import from_sitk, to_sitk


@dataclass(frozen=True)
class N4:
    """Divides by a smooth field; no inverse, because maps and masks have no intensities.

    Args:
        shrink: the field is estimated on every nth voxel (along thin axes on all of them).
        iterations: at most, a level each; more levels allow a less smooth field.
        min_spacing_mm: an axis with voxels this long or longer is not shrunk.
    """

    shrink: int = 4
    iterations: tuple[int, ...] = (50, 50, 30)
    min_spacing_mm: float = 3.0

    def __call__(self, volume: Volume, mask: np.ndarray | None = None) -> tuple[Volume, Volume]:
        """The corrected volume and the field it was divided by (mean 1 inside), both on its grid.

        Args:
            volume: any positive unit; values below 0 count as 0.
            mask: `(D, H, W)` bool where the field is estimated; Otsu's foreground when None.

        Raises:
            ValueError: the image or the mask is empty, or the affine is sheared.
        """
        positive = Volume(np.maximum(volume.array, 0), volume.affine)
        if not positive.array.any() or (mask is not None and not mask.any()):
            raise ValueError("nothing above 0 to estimate a bias field on")
        image = to_sitk(positive)
        if mask is None:
            inside = sitk.OtsuThreshold(image, 0, 1, 200)
        else:
            inside = to_sitk(Volume(mask, volume.affine))
        factors = [
            self.shrink if edge < self.min_spacing_mm and size >= 4 * self.shrink else 1
            for edge, size in zip(volume.spacing_mm, volume.array.shape, strict=True)
        ]
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetMaximumNumberOfIterations(list(self.iterations))
        corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
        log_field = from_sitk(corrector.GetLogBiasFieldAsImage(image)).array
        where = sitk.GetArrayViewFromImage(inside).transpose() > 0
        field = np.exp(log_field - log_field[where].mean()).astype(np.float32)
        # Far from the mask a spline runs wild; what is there is cleared later anyway.
        field = np.clip(field, 0.2, 5.0)
        corrected = Volume(positive.array / field, volume.affine)
        return corrected, Volume(field, volume.affine)
