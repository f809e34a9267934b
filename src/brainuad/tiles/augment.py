"""Augmentation of healthy slices and volumes: random draws apart from the arithmetic."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.synthetic.grids import between, pixel_grid, sampled


@dataclass(frozen=True)
class Augment:
    """Small rigid motion, brightness, contrast, flip and warp, each applied with `probability`.

    The defaults are MAD-AD's (arXiv 2502.16943): ±5°, ±1/32 of the size, ±10 %. Volumes take all
    but the rigid motion.

    Args:
        rotation_deg: largest rotation in degrees; of slices alone, 0 for volumes.
        translation: largest shift as a share of the slice's size; 0 for volumes.
        brightness: largest factor on the intensities is 1 ± this.
        contrast: largest factor on the distance to the brain's mean, of each channel, is 1 ± this.
        probability: of each of them.
        flip_axis: spatial axis to mirror with `probability`; None for never.
        warp: standard deviation of a smooth displacement, in pixels along every axis, at the nodes
            of a coarse grid: other brains' folds lie a little elsewhere. 0 for none.
        warp_cells: of that grid, along every axis.
    """

    rotation_deg: float = 5.0
    translation: float = 1 / 32
    brightness: float = 0.1
    contrast: float = 0.1
    probability: float = 0.5
    flip_axis: int | None = None
    warp: float = 0.0
    warp_cells: int = 7

    def draw(self, generator: torch.Generator) -> dict[str, float]:
        """Draws one set of parameters; neutral values where a change is not applied."""
        value = (torch.rand(5, generator=generator) * 2 - 1).tolist()
        chance = torch.rand(6, generator=generator).tolist()
        warped = torch.rand(2, generator=generator).tolist() if self.warp else (1.0, 0.0)
        used = [v if c < self.probability else 0.0 for v, c in zip(value, chance[:5], strict=True)]
        return {
            "angle": math.radians(self.rotation_deg) * used[0],
            "shift_y": 2 * self.translation * used[1],
            "shift_x": 2 * self.translation * used[2],
            "brightness": 1 + self.brightness * used[3],
            "contrast": 1 + self.contrast * used[4],
            "flip": float(self.flip_axis is not None and chance[5] < self.probability),
            # A seed: the displacement has thousands of numbers. 0 for none.
            "warp": float(int(warped[1] * 2**31) + 1) if warped[0] < self.probability else 0.0,
        }

    def apply(
        self, image: Tensor, brain_mask: Tensor, parameters: dict[str, float]
    ) -> tuple[Tensor, Tensor]:
        """Applies drawn parameters.

        Args:
            image: `(C, *S)` in [0, 1], zero outside the brain.
            brain_mask: `(1, *S)` bool.
            parameters: from `draw`.

        Returns:
            Both, moved; the image in [0, 1] and zero outside the moved brain.

        Raises:
            ValueError: a volume would be turned or shifted.
        """
        if parameters["flip"] and self.flip_axis is not None:
            image, brain_mask = (x.flip(self.flip_axis + 1) for x in (image, brain_mask))
        if parameters["warp"]:
            image, brain_mask = self._warped(image, brain_mask, int(parameters["warp"]))
        cos, sin = math.cos(parameters["angle"]), math.sin(parameters["angle"])
        aspect = image.shape[-2] / image.shape[-1]
        # grid_sample's axes run from -1 to 1 whatever the size, hence the aspect.
        theta = torch.tensor(
            [
                [cos, -sin * aspect, parameters["shift_x"]],
                [sin / aspect, cos, parameters["shift_y"]],
            ]
        )
        if not torch.equal(theta, torch.eye(2, 3)):
            if image.ndim != 3:
                raise ValueError("only slices are turned and shifted; set both to 0 for volumes")
            both = torch.cat([image, brain_mask.to(image.dtype)])[None]
            grid = functional.affine_grid(theta[None], list(both.shape), align_corners=False)
            moved = functional.grid_sample(both, grid, align_corners=False)[0]
            image, brain_mask = moved[:-1], moved[-1:] > 0.5
        total = torch.stack([channel.sum() for channel in image])
        mean = (total / brain_mask.sum().clamp_min(1)).reshape(-1, *[1] * (image.ndim - 1))
        image = (image - mean) * parameters["contrast"] + mean
        image = (image * parameters["brightness"]).clamp(0, 1)
        return torch.where(brain_mask, image, torch.zeros(())), brain_mask

    def _warped(self, image: Tensor, brain_mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        dims = image.ndim - 1
        grid = [self.warp_cells] * dims
        generator = torch.Generator().manual_seed(seed)
        nodes = self.warp * torch.randn(1, dims, *grid, generator=generator)
        field = between(nodes, image.shape[1:])
        both = torch.cat([image, brain_mask.to(image.dtype)])[None]
        moved = sampled(both, pixel_grid(both) + field.movedim(1, -1))[0]
        return moved[:-1], moved[-1:] > 0.5
