import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.errors import InputError
from brainuad.volumes.tiling import PLANES, PlanesTiling, SliceTiling, VolumeTiling

lengths = st.integers(1, 13)


@given(
    shape=st.tuples(st.integers(1, 2), lengths, lengths, lengths),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
    seed=st.integers(0, 9),
)
def test_join_undoes_split_exactly(shape, size, plane, seed):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    tiling = SliceTiling(plane, size)
    tiles, locations = tiling.split(volume)
    assert tiles.shape[1:] == (shape[0], *size)
    assert torch.equal(tiling.join(tiles, locations, shape[1:]), volume)


@given(
    shape=st.tuples(st.integers(1, 2), lengths, lengths, lengths),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16), st.integers(1, 16)),
    seed=st.integers(0, 9),
)
def test_join_undoes_split_of_volumes_exactly(shape, size, seed):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    tiles, locations = VolumeTiling(size).split(volume)
    assert tiles.shape[1:] == (shape[0], *size)
    assert torch.equal(VolumeTiling(size).join(tiles, locations, shape[1:]), volume)


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 2), lengths, lengths, lengths),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    planes=st.lists(st.sampled_from(list(PLANES)), min_size=1, unique=True),
    seed=st.integers(0, 9),
)
def test_join_undoes_split_of_several_planes_exactly(shape, size, planes, seed):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    tiling = PlanesTiling(tuple(planes), size)
    tiles, locations = tiling.split(volume)
    assert tiles.shape[1:] == (shape[0], *size)
    assert torch.equal(tiling.join(tiles, locations, shape[1:]), volume)


def test_planes_are_averaged():
    tiling = PlanesTiling(("axial", "sagittal"), (4, 4))
    tiles, locations = tiling.split(torch.zeros(1, 2, 3, 4))
    assert len(tiles) == 4 + 2
    # What was seen in axial slices says 3, what was seen in sagittal ones 6.
    values = torch.where(locations[:, 0] == 0, 3.0, 6.0).view(-1, 1, 1, 1).expand_as(tiles)
    assert (tiling.join(values, locations, (2, 3, 4)) == 4.5).all()


@pytest.mark.parametrize("planes", [(), ("axial", "axial"), ("oblique",)])
def test_impossible_planes_are_refused(planes):
    with pytest.raises(ValueError, match="plane"):
        PlanesTiling(planes)


def test_a_volume_lies_in_the_middle_of_its_frame():
    tiles, locations = VolumeTiling((4, 4, 5)).split(torch.ones(1, 2, 3, 5))
    assert tiles.shape == (1, 1, 4, 4, 5)
    assert tiles.sum() == tiles[0, 0, 1:3, 0:3].sum() == 30
    assert locations.tolist() == [[-1, 0, 0]]


def test_axial_slices_fix_the_last_axis_and_are_centred():
    volume = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    tiles, locations = SliceTiling("axial", (4, 5)).split(volume)
    assert tiles.shape == (4, 1, 4, 5)
    assert torch.equal(tiles[2, 0, 1:3, 1:4], volume[0, :, :, 2])
    assert tiles[2].count_nonzero() == volume[0, :, :, 2].count_nonzero()
    assert locations[2].tolist() == [2, -1, -1]


@pytest.mark.parametrize(("plane", "count"), [("sagittal", 2), ("coronal", 3), ("axial", 4)])
def test_plane_sets_the_number_of_slices(plane, count):
    tiles, _ = SliceTiling(plane, (8, 8)).split(torch.zeros(1, 2, 3, 4))
    assert len(tiles) == count


def test_overlaps_are_averaged():
    tiling = SliceTiling("axial", (1, 2))
    tiles, locations = tiling.split(torch.zeros(1, 1, 3, 1))
    tiles[0], tiles[1] = 1.0, 3.0
    assert tiling.join(tiles, locations, (1, 3, 1)).flatten().tolist() == [1.0, 2.0, 3.0]


def test_volume_tiling_is_the_identity():
    volume = torch.randn(1, 3, 4, 5)
    tiles, locations = VolumeTiling().split(volume)
    assert tiles.shape == (1, 1, 3, 4, 5)
    assert torch.equal(VolumeTiling().join(tiles, locations, (3, 4, 5)), volume)


@pytest.mark.parametrize(("plane", "size"), [("oblique", (4, 4)), ("axial", (0, 4))])
def test_bad_arguments_are_refused(plane, size):
    with pytest.raises(ValueError, match="plane|size"):
        SliceTiling(plane, size)


def test_a_volume_frame_needs_three_lengths():
    with pytest.raises(ValueError, match="depth, height and width"):
        VolumeTiling((4, 4))


def test_a_volume_that_has_to_be_whole_is_not_cut():
    tiling = VolumeTiling((6, 8, 5), whole=True)
    tiles, _ = tiling.split(torch.rand(1, 6, 7, 5))
    assert tiles.shape == (1, 1, 6, 8, 5)
    with pytest.raises(InputError, match="6 x 9 x 5 voxels does not fit into the frame of 6 x 8"):
        tiling.split(torch.rand(1, 6, 9, 5))


def test_a_cropped_slice_is_one_frame_at_the_centre():
    volume = torch.rand(2, 7, 4, 3)
    tiling = SliceTiling("axial", (4, 6), crop=True)
    tiles, locations = tiling.split(volume)
    assert tiles.shape == (3, 2, 4, 6)
    assert torch.equal(tiles[..., 1:5], volume[:, 1:5].movedim(3, 0))
    assert not tiles[..., [0, 5]].any()
    back = tiling.join(tiles, locations, (7, 4, 3))
    assert torch.equal(back[:, 1:5], volume[:, 1:5])
    assert not back[:, [0, 5, 6]].any()
