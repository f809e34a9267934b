import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad.metrics.surface import surface_distances

MM1 = (1.0, 1.0, 1.0)
masks = arrays(bool, (7, 6, 8), elements=st.sampled_from([False, False, True]))


def _box(start, stop, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def test_two_voxels_by_hand():
    a, b = _box((2, 2, 2), (3, 3, 3)), _box((2, 5, 6), (3, 6, 7))
    assert surface_distances(a, b, MM1) == (5.0, 5.0)
    assert surface_distances(a, b, (1.0, 2.0, 0.5)) == pytest.approx((np.hypot(6, 2),) * 2)


def test_equal_masks_and_empty_ones():
    a = _box((2, 2, 2), (9, 9, 9))
    assert surface_distances(a, a, MM1) == (0.0, 0.0)
    assert np.isnan(surface_distances(a, np.zeros_like(a), MM1)).all()
    assert np.isnan(surface_distances(np.zeros_like(a), a, MM1)).all()


@settings(max_examples=40, deadline=None)
@given(a=masks, b=masks, spacing=st.sampled_from([MM1, (0.7, 1.0, 4.0)]))
def test_equals_monai(a, b, spacing):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    assume(a.any() and b.any())
    # MONAI leaves the array's edge out of a surface; a margin makes both agree.
    x, y = (torch.from_numpy(np.pad(m, 2))[None, None] for m in (a, b))
    hd95 = compute_hausdorff_distance(x, y, include_background=True, percentile=95, spacing=spacing)
    there, back = (
        compute_average_surface_distance(p, q, include_background=True, spacing=spacing)
        for p, q in ((x, y), (y, x))
    )
    found = surface_distances(a, b, spacing)
    assert found[0] == pytest.approx(hd95.item(), abs=1e-4)
    # MONAI's symmetric mean weighs both surfaces by their voxels; so does ours.
    assert min(there, back) - 1e-4 <= found[1] <= max(there, back) + 1e-4


@given(a=masks, b=masks)
def test_symmetric_and_blind_to_what_lies_around(a, b):
    found = surface_distances(a, b, MM1)
    assert surface_distances(b, a, MM1) == pytest.approx(found, nan_ok=True)
    padded = surface_distances(np.pad(a, 3), np.pad(b, 3), MM1)
    assert padded == pytest.approx(found, nan_ok=True)
