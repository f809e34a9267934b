import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tiny import brain

from brainuad.errors import InputError
from brainuad.preparation.normalise.intensity import Percentile
from brainuad.preparation.skullstrip.extracted import extracted_brain_mask
from brainuad.types import Volume
from brainuad.volumes.native_space import read_way, to_native
from brainuad.volumes.orient import to_ras
from brainuad.volumes.regions import box_of
from brainuad.volumes.resample import resample_like, resample_spacing

ORIENTATIONS = ["RAS", "LPS", "LAS", "PSR", "LIA", "ASL"]


def _oriented(volume: Volume, axes: str) -> Volume:
    image = nib.Nifti1Image(volume.array, volume.affine)
    target = nib.orientations.axcodes2ornt(axes)
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    )
    return Volume(image.get_fdata(dtype=np.float32), image.affine)


def _blob(spacing=(1.0, 1.0, 1.0)) -> Volume:
    """A smooth blob, off centre, in an anisotropic field of view of 48 x 60 x 40 mm."""
    shape = tuple(round(n / s) for n, s in zip((48, 60, 40), spacing, strict=True))
    grid = np.stack(
        np.meshgrid(
            *[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
        ),
        -1,
    )
    distance = np.linalg.norm((grid - (20, 34, 18)) / (1, 1.3, 0.9), axis=-1)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -10, -20, 5
    return Volume(np.clip(1.5 - distance / 8, 0, 1).astype(np.float32), affine)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_to_ras_undoes_every_orientation(axes):
    volume = _blob()
    back = to_ras(_oriented(volume, axes))
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(back.affine, volume.affine)


@settings(max_examples=15, deadline=None)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 2.0, 4.0])] * 3),
)
def test_a_label_survives_preparation_and_the_way_back(axes, spacing):
    native = _oriented(_blob(spacing), axes)
    label = Volume((native.array > 0.5).astype(np.float32), native.affine)
    prepared = resample_spacing(to_ras(label), 1.0)
    box = box_of(prepared.array > 0, (2, 2, 2))
    affine = prepared.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [edge.start for edge in box]
    back = to_native(prepared.array[box], affine, native) > 0.5
    truth = label.array > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) >= 0.97


def test_the_native_way_back_applies_the_transform(tmp_path):
    volume = _blob()
    matrix = np.eye(4)
    matrix[:3, 3] = 3, 0, 0
    np.savetxt(tmp_path / "t.txt", matrix)
    back = to_native(volume.array, volume.affine, volume, read_way(tmp_path / "t.txt"), order=0)
    assert np.allclose(back[3:], volume.array[:-3], atol=1e-6)
    (tmp_path / "bad.txt").write_text("1 2\n3 4\n")
    with pytest.raises(InputError, match=r"bad\.txt: found shape \(2, 2\)"):
        read_way(tmp_path / "bad.txt")


def test_resampling_keeps_the_place_and_the_amount():
    fine = _blob()
    coarse = resample_spacing(fine, 3.0)
    assert coarse.spacing_mm == pytest.approx((3, 3, 3))
    assert coarse.array.sum() * 27 == pytest.approx(fine.array.sum(), rel=0.03)
    for volume in (fine, coarse):
        centre = volume.affine @ [*ndimage.center_of_mass(volume.array), 1]
        assert centre[:3] == pytest.approx([10, 14, 23], abs=0.3)
    assert resample_spacing(fine, 1.0) is fine


def test_coarsening_does_not_alias():
    """A checkerboard averages out; taking every third voxel of it would not."""
    board = np.indices((30, 30, 30)).sum(0) % 2
    coarse = resample_spacing(Volume(board.astype(np.float32), np.eye(4)), 3.0)
    assert coarse.array[2:-2, 2:-2, 2:-2] == pytest.approx(0.5, abs=0.1)


def test_resampling_like_the_same_grid_changes_nothing():
    volume = _blob()
    assert np.array_equal(resample_like(volume.array, volume.affine, volume), volume.array)


def test_a_box_is_around_the_mask_and_within_the_array():
    mask = np.zeros((9, 8, 7), bool)
    mask[2:5, 6, 3] = mask[4, 1, 3] = True
    assert box_of(mask) == (slice(2, 5), slice(1, 7), slice(3, 4))
    assert box_of(mask, (1, 2, 9)) == (slice(1, 6), slice(0, 8), slice(0, 7))
    with pytest.raises(ValueError, match="empty"):
        box_of(np.zeros((3, 3, 3), bool))


def test_percentiles_by_hand():
    array = np.arange(-50, 151, dtype=np.float32).reshape(1, 1, -1)
    mask = (array >= 0) & (array <= 100)
    found = Percentile(10, 90)(array, mask)
    assert found[array == 10] == 0
    assert found[array == 50] == 0.5
    assert found[array == 90] == 1
    assert (found[~mask] == 0).all()
    with pytest.raises(ValueError, match="constant"):
        Percentile()(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool))
    with pytest.raises(ValueError, match="empty"):
        Percentile()(np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool))


def test_brain_mask_of_an_extracted_scan():
    image, mask = brain(0)
    hole = np.zeros_like(mask)
    hole[12, 14, 10] = True
    noisy = np.where(mask & ~hole, image + 0.2, 0) - 1e-4
    noisy[0, 0, 0] = 0.5
    assert np.array_equal(extracted_brain_mask(noisy), mask)
    assert not extracted_brain_mask(np.zeros((3, 3, 3))).any()
