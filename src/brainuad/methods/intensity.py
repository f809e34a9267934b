"""The intensity baseline: no learning, brightness is the score.

Meissen et al., "Challenging Current Semi-Supervised Anomaly Segmentation Methods for Brain MRI",
BrainLes 2021 (arXiv 2109.06023): histogram-equalised brain intensity, thresholded. It is strong on
hyperintense lesions, so every learned method has to be better.

Differs from the released code (github.com/FeliMe/brain_sas_baseline at 1d323478), which equalises
in 256 bins over the volume's nonzero values, cut to whole numbers before (utils/utils.py:110-135):
here it is the exact rank within the brain, so that voxels tie only where the input ties. It works
on slices resized from 240 to 128 pixels by nearest neighbour (utils/data_utils.py:108-132), here
on the prepared volume; scores are in native space.
"""

import torch
from torch import Tensor

from brainuad.methods.base import AnomalyDetector, Traits
from brainuad.types import Detection


class IntensityDetector(AnomalyDetector):
    """Detector that scores every voxel by its brightness.

    Args:
        equalise: map intensities to their rank within the brain, in (0, 1], which is exact
            histogram equalisation; False scores the intensity itself.
    """

    traits = Traits(one_pass=True)

    def __init__(self, equalise: bool = True) -> None:
        super().__init__()
        self.equalise = equalise

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the mean over channels of the (equalised) intensity."""
        if self.equalise:
            rows = [
                torch.stack([_equalise(c, mask[0]) for c in row])
                for row, mask in zip(image, brain_mask, strict=True)
            ]
            image = torch.stack(rows)
        return Detection(image.mean(1, keepdim=True), None)


def _equalise(channel: Tensor, brain_mask: Tensor) -> Tensor:
    """Return the empirical distribution function at each brain voxel; ties share the highest."""
    out = torch.zeros_like(channel)
    inside = channel[brain_mask]
    if inside.numel():
        ordered = inside.sort().values
        out[brain_mask] = torch.searchsorted(ordered, inside, right=True) / inside.numel()
    return out
