"""Augmentation of healthy slices and volumes: ours, MAD-AD's, and lists of MONAI's transforms."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from brainuad.errors import InputError
from brainuad.settings.instantiate import MONAI_TRANSFORMS, instantiate
from brainuad.synthetic.grids import between, pixel_grid, sampled

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""(image `(C, *S)` in [0, 1], brain mask `(1, *S)`, generator) -> both, changed at random."""


# Kept beside MONAI's transforms because it is 4 to 8 times as fast for slices (0.9 ms in place of
# 7.1 ms per slice of 96 x 112) and 11 times for warped volumes, one thread, see
# experiments/benchmarks/augmentation.json. Warps by 0 are exact; MONAI's Rand2DElasticd moves by up
# to 1.4 pixels then. Tile by tile and not batched on the device, because MONAI draws once per call,
# and a tile must depend on seed, epoch and index only, in any batch, on any rank, after any resume.
# It takes 0.8 ms of the 10 ms per tile that training `vae` takes, and of 70 and 46 ms for `dae` and
# `anoddpm` (one thread).
@dataclass(frozen=True)
class Augment:
    """Random rigid motion, brightness, contrast, flip and warp, each applied with `probability`.

    Each change is drawn from a range: ±5°, ±1/32 of the size along each axis, ±10 %. The numbers
    are MAD-AD's, whose code uses them as in `FixedAugment`. Volumes get all changes except the
    rigid motion.

    Args:
        rotation_deg: largest rotation in degrees, for slices; 0 for volumes.
        translation: largest shift as a share of the slice's size; 0 for volumes.
        brightness: largest factor on the intensities is 1 ± this.
        contrast: largest factor on the distance to the brain's mean, of each channel, is 1 ± this.
        probability: probability of each change.
        flip_axis: spatial axis to mirror with `probability`; None for never.
        warp: standard deviation of a smooth displacement, in pixels along every axis, at the nodes
            of a coarse grid: other brains' folds lie a little elsewhere. 0 for none.
        warp_cells: cells of that grid, along every axis.
    """

    rotation_deg: float = 5.0
    translation: float = 1 / 32
    brightness: float = 0.1
    contrast: float = 0.1
    probability: float = 0.5
    flip_axis: int | None = None
    warp: float = 0.0
    warp_cells: int = 7

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw parameters and apply them."""
        return self.apply(image, brain_mask, self.draw(generator))

    def draw(self, generator: torch.Generator) -> dict[str, float]:
        """Draw one set of parameters; neutral values for changes that are not applied."""
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
            # A seed, because the displacement has thousands of numbers; 0 for none.
            "warp": float(int(warped[1] * 2**31) + 1) if warped[0] < self.probability else 0.0,
        }

    def apply(
        self, image: Tensor, brain_mask: Tensor, parameters: dict[str, float]
    ) -> tuple[Tensor, Tensor]:
        """Apply drawn parameters.

        Args:
            image: `(C, *S)`, zero outside the brain.
            brain_mask: `(1, *S)` bool.
            parameters: from `draw`.

        Returns:
            Both, moved; the image in [0, 1], or up to its own largest value where that is above 1,
            and zero outside the moved brain.

        Raises:
            ValueError: a volume would be turned or shifted.
        """
        most = _most(image)
        if parameters["flip"] and self.flip_axis is not None:
            image, brain_mask = (x.flip(self.flip_axis + 1) for x in (image, brain_mask))
        if parameters["warp"]:
            image, brain_mask = self._warped(image, brain_mask, int(parameters["warp"]))
        cos, sin = math.cos(parameters["angle"]), math.sin(parameters["angle"])
        aspect = image.shape[-2] / image.shape[-1]
        # grid_sample's axes run from -1 to 1 for any size, hence the aspect.
        theta = torch.tensor(
            [
                [cos, -sin * aspect, parameters["shift_x"]],
                [sin / aspect, cos, parameters["shift_y"]],
            ]
        )
        if not torch.equal(theta, torch.eye(2, 3)):
            if image.ndim != 3:
                raise ValueError("only slices are turned and shifted; set both to 0 for volumes")
            image, brain_mask = _moved(image, brain_mask, theta)
        total = torch.stack([channel.sum() for channel in image])
        mean = (total / brain_mask.sum().clamp_min(1)).reshape(-1, *[1] * (image.ndim - 1))
        image = (image - mean) * parameters["contrast"] + mean
        image = (image * parameters["brightness"]).clamp(0, most)
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


@dataclass(frozen=True)
class FixedAugment:
    """MAD-AD's augmentation as released: one angle, one shift, one draw of intensities.

    `MedicalDataLoader.py:44-50` and `:72-76` under the pinned albumentations 1.4.21, where a single
    number is the value and not the end of a range. The turn, the shift and the change of
    intensities are each applied with `probability`, in this order. Intensities become `a x + b`:
    contrast `a` is about zero, brightness `b` is added. Then the background is zero again.

    Differs: intensities are not rounded to 8 bits, and the mask is interpolated linearly.

    Args:
        rotation_deg: angle of every turn, about the slice's middle, from the second axis towards
            the start of the first: anticlockwise where rows run downwards.
        translation: length of every shift, towards the end of both axes, as a share of the slice's
            side; cut to whole pixels, 8 of 256.
        brightness: `b` is uniform within ± this share of the full range, 1.
        contrast: `a` is uniform within 1 ± this.
        probability: probability of each of the three.
    """

    rotation_deg: float = 5.0
    translation: float = 1 / 32
    brightness: float = 0.1
    contrast: float = 0.1
    probability: float = 0.5

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change a slice at random.

        Args:
            image: `(C, H, W)` in [0, 1], zero outside the brain.
            brain_mask: `(1, H, W)` bool.
            generator: source of the draws.

        Returns:
            Both, moved; the image in [0, 1] and zero outside the moved brain.

        Raises:
            ValueError: a volume.
        """
        if image.ndim != 3:
            raise ValueError("FixedAugment takes slices; use datamodule/augment=warp for volumes")
        turned, shifted, changed = (torch.rand(3, generator=generator) < self.probability).tolist()
        a, b = (torch.rand(2, generator=generator) * 2 - 1).tolist()
        if turned or shifted:
            angle = self.rotation_deg * turned
            height, width = image.shape[1:]
            by = [int(self.translation * side) * shifted for side in (height, width)]
            image, brain_mask = _moved(
                image, brain_mask, _turn_then_shift(angle, by, height, width)
            )
        if changed:
            image = (image * (1 + self.contrast * a) + self.brightness * b).clamp(0, 1)
        return torch.where(brain_mask, image, torch.zeros(())), brain_mask


def _turn_then_shift(angle_deg: float, by: Sequence[int], height: int, width: int) -> Tensor:
    """Return the affine that gives each pixel's source, `(2, 3)` in grid_sample's units.

    Args:
        angle_deg: as `FixedAugment.rotation_deg`.
        by: pixels along rows' and columns' numbers.
        height: H of the slice.
        width: W.
    """
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    # The shift is undone first, then the rotation.
    row = -(sin * by[1] + cos * by[0])
    column = -(cos * by[1] - sin * by[0])
    return torch.tensor(
        [
            [cos, -sin * height / width, 2 * column / width],
            [sin * width / height, cos, 2 * row / height],
        ]
    )


def _moved(image: Tensor, brain_mask: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return both, sampled at the places of `theta (2, 3)`, 0 outside the frame."""
    both = torch.cat([image, brain_mask.to(image.dtype)])[None]
    grid = functional.affine_grid(theta[None], list(both.shape), align_corners=False)
    moved = functional.grid_sample(both, grid, align_corners=False)[0]
    return moved[:-1], moved[-1:] > 0.5


class MonaiAugment:
    """Random dictionary transforms of MONAI, one after another.

    Args:
        transforms: configuration per transform, under a name of your choice. Its `_target_` is in
            `monai.transforms`, its `keys` are `image`, `brain_mask` or both. None leaves it out.

    Raises:
        InputError: a `_target_` is not allowed, or is no dictionary transform.
    """

    def __init__(self, transforms: Mapping[str, Mapping[str, Any] | None]) -> None:
        from monai.transforms.compose import Compose
        from monai.transforms.transform import MapTransform

        # The configurations are kept because MONAI's transforms do not print their parameters.
        self.transforms = {name: dict(each) for name, each in transforms.items() if each}
        made = {
            name: instantiate(each, packages=MONAI_TRANSFORMS)
            for name, each in self.transforms.items()
        }
        for name, transform in made.items():
            if not isinstance(transform, MapTransform):
                raise InputError(
                    f"augment.transforms.{name} takes no dictionary; use MONAI's class with a d at "
                    "the end of its name, such as RandAffined"
                )
        self._pipeline = Compose(list(made.values()))

    def __repr__(self) -> str:
        """Return all parameters, because the caches of encodings are found by this text."""
        return f"MonaiAugment({self.transforms})"

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Apply the transforms, with all random states drawn from `generator`.

        Args:
            image: `(C, *S)`, zero outside the brain.
            brain_mask: `(1, *S)` bool.
            generator: source of the seed.

        Returns:
            Both, changed; the image in [0, 1], or up to its own largest value where that is above
            1, and zero outside the moved brain.

        Raises:
            InputError: a transform changed the size.
        """
        from monai.transforms.transform import Randomizable
        from monai.utils.type_conversion import convert_to_tensor

        # One state for all, because a state for each of 20 generators takes 6 ms per slice.
        state = np.random.RandomState(int(torch.randint(2**32, (), generator=generator)))
        for transform in self._pipeline.transforms:
            if isinstance(transform, Randomizable):
                transform.set_random_state(state=state)
        tile = self._pipeline({"image": image, "brain_mask": brain_mask.float()})
        moved = convert_to_tensor(tile["image"], dtype=torch.float32, track_meta=False)
        mask = convert_to_tensor(tile["brain_mask"], track_meta=False) > 0.5
        if (moved.shape, mask.shape) != (image.shape, brain_mask.shape):
            raise InputError(
                f"augment changed a tile from {list(image.shape)} to {list(moved.shape)}; remove "
                "the transform that does, or give it the tile's size"
            )
        return torch.where(mask, moved.clamp(0, _most(image)), torch.zeros(())), mask


def _most(image: Tensor) -> float:
    """Return the largest value of an augmented image: 1, or its own maximum if that is above 1."""
    return max(1.0, float(image.max()))
