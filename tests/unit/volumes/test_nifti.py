import gzip
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from brainuad.errors import InputError
from brainuad.volumes.nifti import read_label, read_mask, read_volume, write_volume

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def test_round_trip_and_spacing(tmp_path):
    path = tmp_path / "Gehirn ä" / "a.nii.gz"
    write_volume(path, ARRAY, AFFINE)
    volume = read_volume(path)
    assert np.array_equal(volume.array, ARRAY)
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.spacing_mm == (1.0, 2.0, 3.0)
    assert [p.name for p in path.parent.iterdir()] == ["a.nii.gz"]


def test_same_input_gives_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, ARRAY, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_trailing_axis_of_one_is_dropped(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY[..., None], AFFINE), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").array.shape == ARRAY.shape


def _missing(path):
    pass


def _truncated(path):
    write_volume(path, np.random.default_rng(0).random((9, 9, 9)), AFFINE)
    path.write_bytes(path.read_bytes()[:-500])


def _text(path):
    path.write_text("hello")


def _gzipped_text(path):
    path.write_bytes(gzip.compress(b"hello" * 200))


def _four_d(path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 5), np.float32), AFFINE), path)


def _two_d(path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3), np.float32), AFFINE), path)


def _nan(path):
    array = ARRAY.copy()
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def _flat_voxel(path):
    nib.save(nib.Nifti1Image(ARRAY, np.diag([1.0, 1e-9, 1.0, 1.0])), path)


def _rgb(path):
    rgb = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, AFFINE), path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no such file"),
        (_truncated, "truncated or damaged"),
        (_text, "not a NIfTI|truncated or damaged"),
        (_gzipped_text, "not a NIfTI|truncated or damaged"),
        (_four_d, "found 4D data"),
        (_two_d, "found 2D data"),
        (_nan, "2 NaN or infinite voxels"),
        (_flat_voxel, "degenerate"),
        (_rgb, "truncated or damaged|RGB"),
    ],
)
def test_bad_files_are_named_with_the_remedy_in_one_line(tmp_path, make, words):
    path = tmp_path / "scan.nii.gz"
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_unreadable_permissions_are_said(tmp_path, locked):
    path = tmp_path / "closed" / "a.nii.gz"
    write_volume(path, ARRAY, AFFINE)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (path if locked == "file" else path.parent).chmod(0)
    # Root may read everything, so the reading is done by somebody else.
    code = (
        "import os, sys; from pathlib import Path; from brainuad.volumes.nifti import read_volume\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: read_volume(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", code, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        path.parent.chmod(0o755)
    assert done.stdout == f"InputError {path}: not readable; check its permissions\n"


def test_nifti_2_is_read_too(tmp_path):
    for name in ("a.nii", "b.nii.gz"):
        nib.save(nib.Nifti2Image(ARRAY, AFFINE), tmp_path / name)
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.array, ARRAY)
        assert np.array_equal(volume.affine, AFFINE)


@pytest.mark.parametrize(
    ("array", "affine"), [(np.ones((3, 3, 4)), AFFINE), (np.ones((2, 3, 4)), np.eye(4))]
)
def test_mask_on_another_grid_is_refused(tmp_path, array, affine):
    write_volume(tmp_path / "image.nii.gz", ARRAY, AFFINE)
    write_volume(tmp_path / "mask.nii.gz", array, affine, np.uint8)
    with pytest.raises(InputError, match=r"mask\.nii\.gz.*resample it"):
        read_mask(tmp_path / "mask.nii.gz", like=read_volume(tmp_path / "image.nii.gz"))


def test_mask_is_what_is_above_zero(tmp_path):
    write_volume(tmp_path / "mask.nii.gz", np.array([[[0, 1, 4]]]), AFFINE, np.uint8)
    assert read_mask(tmp_path / "mask.nii.gz").tolist() == [[[False, True, True]]]


def test_a_label_of_several_classes_is_their_union(tmp_path):
    write_volume(tmp_path / "a.nii.gz", ARRAY % 5, AFFINE)
    assert np.array_equal(read_label(tmp_path / "a.nii.gz"), ARRAY % 5 > 0)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (ARRAY / 24, "whole numbers"),
        (ARRAY % 3 - 1, "holds -1"),
        (ARRAY, "23 classes"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, array, words):
    write_volume(tmp_path / "a.nii.gz", array, AFFINE)
    with pytest.raises(InputError, match=words):
        read_label(tmp_path / "a.nii.gz")
