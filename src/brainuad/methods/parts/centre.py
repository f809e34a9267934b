"""Enlarge a slice's centre to the slice's size, and reduce it again."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def enlarged(image: Tensor, crop: Sequence[int]) -> Tensor:
    """Return the central `crop` pixels of `image (B, C, H, W)`, linearly enlarged to `(H, W)`.

    Raises:
        ValueError: the slice is smaller than the crop.
    """
    rows, columns = _centre(image.shape[2:], crop)
    return _resized(image[..., rows, columns], image.shape[2:])


def reduced(image: Tensor, crop: Sequence[int]) -> Tensor:
    """Return an `enlarged` centre in its place; zero around it."""
    rows, columns = _centre(image.shape[2:], crop)
    found = torch.zeros_like(image)
    found[..., rows, columns] = _resized(image, crop)
    return found


def _centre(size: Sequence[int], crop: Sequence[int]) -> list[slice]:
    if any(part > whole for whole, part in zip(size, crop, strict=True)):
        raise ValueError(f"a slice of {list(size)} pixels is smaller than the crop {list(crop)}")
    starts = [(whole - part) // 2 for whole, part in zip(size, crop, strict=True)]
    return [slice(start, start + part) for start, part in zip(starts, crop, strict=True)]


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(image, list(size), mode="bilinear", align_corners=False)
