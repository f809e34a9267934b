"""Interpolation by products of matrices, against PyTorch's own."""

import pytest
import torch
from torch.nn import functional

from brainuad.synthetic.grids import between


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("size", [(9, 14, 11), (5, 7, 6), (3, 20, 4)])
def test_volumes_are_interpolated_as_by_pytorch(size, ends):
    nodes = torch.randn(2, 3, 5, 7, 6, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(nodes, size, mode="trilinear", align_corners=ends)
    found = between(nodes, size, ends)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_slices_are_interpolated_as_by_pytorch():
    nodes = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(nodes, (9, 8), mode="bilinear", align_corners=True)
    assert torch.equal(between(nodes, (9, 8)), expected)
