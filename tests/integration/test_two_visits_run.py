"""`brainuad-predict SECOND OUT --baseline FIRST`, from raw scans to masks, tables and page."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tiny import SHAPE, brain, write_tiny_model

from brainuad.changes.compare import Compare
from brainuad.changes.halfway import RegisterHalfway
from brainuad.changes.visit import Visit
from brainuad.cli.predict import main
from brainuad.preparation.register.linear import Register
from brainuad.volumes.itk import matrix_of
from brainuad.volumes.nifti import read_volume

pytestmark = pytest.mark.counted

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
BOX = (slice(14, 18), slice(12, 16), slice(8, 12))
"""A lesion that is there at the second visit alone: 1.7 ml."""
STABLE = (slice(6, 9), slice(12, 15), slice(8, 11))
"""A lesion of both visits."""


def moved() -> np.ndarray:
    """The motion between the visits, world of the first to that of the second."""
    middle = apply_affine(AFFINE, (np.array(SHAPE) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [2, -3, 4], degrees=True).as_matrix()
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + (1.5, -1.0, 0.5)
    return matrix


def write_visit(path, number: int, subject: int = 0):
    image, inside = brain(subject)
    image[STABLE] = 1.0
    if number == 2:
        image[BOX] = 1.0
    # As sharp as a scanner's voxels, so that a motion does not show.
    image = ndimage.gaussian_filter(image, 0.6) * inside
    if number == 2:
        back = np.linalg.inv(AFFINE) @ np.linalg.inv(moved()) @ AFFINE
        image = np.maximum(ndimage.affine_transform(image, back, order=3), 0)
        image[image < 0.05] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.rint(900 * image).astype(np.int16), AFFINE), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two_visits")


@pytest.fixture(scope="module")
def model(folder):
    return write_tiny_model(folder / "model.ckpt")


@pytest.fixture(scope="module")
def run(folder, model):
    first = write_visit(folder / "first" / "p_T2w.nii.gz", 1)
    second = write_visit(folder / "second" / "p_T2w.nii.gz", 2)
    out = folder / "out"
    status = main([str(model), str(second), str(out), "--baseline", str(first)])
    return status, second, out


def test_new_tissue_has_its_volume_place_and_mask(run):
    status, second, out = run
    assert status == 0
    table = pd.read_csv(out / "changes.csv")
    changed = table[table["state"] != "stable"]
    assert list(changed["state"]) == ["new"]
    (row,) = changed.itertuples()
    assert row.gained_mm3 == pytest.approx(27 * 64, rel=0.15)
    middle = [(part.start + part.stop - 1) / 2 for part in BOX]
    place = apply_affine(moved() @ AFFINE, middle)
    assert np.linalg.norm(np.array([row.x_mm, row.y_mm, row.z_mm]) - place) < 3
    (pair,) = pd.read_csv(out / "pairs.csv").itertuples()
    # Read by SimpleITK, which knows nothing of this package.
    mask = sitk.ReadImage(str(out / pair.new_mask))
    scan = sitk.ReadImage(str(second))
    assert mask.GetSize() == scan.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    voxels = sitk.GetArrayFromImage(mask)
    assert 27 * voxels.sum() == pytest.approx(27 * 64, rel=0.2)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(out / pair.grown_mask))).any()
    page = (out / "changes.html").read_text()
    assert "1 new" in page
    assert "data:image/jpeg" in page


def test_a_second_run_has_nothing_to_do(run, folder, model, capsys):
    _, second, out = run
    record = out / "changes" / "p_T2w.json"
    before = record.stat().st_mtime_ns
    capsys.readouterr()
    first = folder / "first" / "p_T2w.nii.gz"
    assert main([str(model), str(second), str(out), "--baseline", str(first)]) == 0
    assert capsys.readouterr().out.count("to do: 0 scans, 1 are done already") == 2
    assert record.stat().st_mtime_ns == before


def test_folders_are_paired_by_person_and_the_rest_is_listed(folder, model, capsys):
    for visit in (1, 2):
        for subject in (0, visit):
            write_visit(folder / f"visits{visit}" / f"p{subject}_T2w.nii.gz", visit, subject)
    places = [str(folder / name) for name in ("visits2", "dry", "visits1")]
    words = [str(model), *places[:2], "--baseline", places[2], "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "to compare: 1 pair" in said
    assert "p2_T2w: not compared: scans of T2w are 0 at the first visit, 1 at the second" in said
    assert not (folder / "dry").exists()


def errors(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_errors_are_one_line(folder, model, capsys, tmp_path):
    scan = write_visit(tmp_path / "p_T2w.nii.gz", 1)
    other = write_visit(tmp_path / "p_T1w.nii.gz", 1)
    out = tmp_path / "out"
    missing = tmp_path / "none.nii.gz"
    assert f"{missing}: no such file" in errors(capsys, model, scan, out, "--baseline", missing)
    assert "given as both visits" in errors(capsys, model, scan, out, "--baseline", scan)
    line = errors(capsys, model, scan, out, "--baseline", other)
    assert str(other) in line
    assert "T2w" in line
    # The shipped model is chosen by the sequence.
    line = errors(capsys, scan, out, "--baseline", other)
    assert f"{other}: has T1w scans, {scan} T2w" in line
    assert not out.exists()


@pytest.mark.parametrize("name", ["patient01", "patient03"])
def test_a_real_pair_is_registered_as_published_and_changes_where_experts_saw_it(real_data, name):
    """Brightness in place of a model; the published transforms are read by SimpleITK."""
    folder = real_data / "openms_longitudinal_raw" / name
    common = read_volume(folder / "brainmask_common_space.nii.gz")
    ways = [
        matrix_of(sitk.ReadTransform(str(folder / f"study{n}_FLAIR_to_common_space.txt")))
        for n in (1, 2)
    ]
    visits = []
    for number, way in zip((1, 2), ways, strict=True):
        scan = read_volume(folder / f"study{number}_FLAIR.nii.gz")
        to_common = np.linalg.inv(common.affine) @ np.linalg.inv(way) @ scan.affine
        shape = scan.array.shape
        inside = ndimage.affine_transform(common.array, to_common, output_shape=shape, order=0) > 0
        level = np.median(scan.array[inside])
        score = np.where(inside, scan.array / level, 0).astype(np.float32)
        visits.append(Visit(scan, inside, score, score > 1.5, 1.5))
    register = RegisterHalfway(Register("rigid", spacing_mm=2.0), spacing_mm=1.5)
    found = Compare(register)(*visits)
    half = found.halfway
    points = apply_affine(half.grid.affine, np.argwhere(found.scans.first > 0)[::500])
    there = apply_affine(half.to_second @ np.linalg.inv(half.to_first), points)
    published = apply_affine(ways[1] @ np.linalg.inv(ways[0]), points)
    assert np.linalg.norm(there - published, axis=1).max() < 2.0
    truth = read_volume(folder / "gt.nii.gz")
    to_truth = np.linalg.inv(truth.affine) @ np.linalg.inv(ways[1]) @ half.to_second
    marked = ndimage.affine_transform(
        truth.array, to_truth @ half.grid.affine, output_shape=tuple(half.grid.shape), order=0
    )
    changed = found.tissue.gained | found.tissue.lost
    # Far more than by chance: the truth is a thousandth of the brain.
    assert (changed & (marked > 0)).sum() > 0.05 * changed.sum()
