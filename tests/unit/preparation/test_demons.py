"""Deformable registration, its inverse, and the way back through both."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from test_steps import atlas_at, turned

from brainuad.cohorts.manifest import Scan, read_cohort, write_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.register.demons import Deform, Warp, invert, write_warp
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.subject import prepare_subject
from brainuad.types import Volume
from brainuad.volumes.itk import FLIP
from brainuad.volumes.native_space import native_points, prepared_points, read_way, to_native
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.resample import resample_like
from brainuad.volumes.warp import displaced, inverse_path, read_field

QUICK = Deform(spacing_mm=4.0, iterations=(30, 15))


def smooth_field(reach_mm=5.0, spacing_mm=2.0):
    """A known smooth displacement around the MNI brain, as ITK keeps it."""
    shape = (90, 108, 90)
    rng = np.random.default_rng(3)
    parts = [ndimage.gaussian_filter(rng.standard_normal(shape), 9, mode="constant") for _ in "xyz"]
    window = np.prod(np.meshgrid(*[np.hanning(n) for n in shape], indexing="ij"), axis=0)
    array = np.stack([part * window for part in parts], axis=-1)
    array *= reach_mm / np.linalg.norm(array, axis=-1).max()
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, 3), True)
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin((FLIP @ [90, 106, -80, 1])[:3].tolist())
    image.SetDirection([1, 0, 0, 0, 1, 0, 0, 0, 1])
    return image


@pytest.fixture(scope="module")
def field():
    """The displacement of `files`."""
    return smooth_field()


@pytest.fixture(scope="module")
def files(field, tmp_path_factory):
    """Paths of a warp and an affine matrix, written as the chain does."""
    folder = tmp_path_factory.mktemp("way")
    write_warp(folder / "a_warp.nii.gz", Warp(field, invert(field)))
    np.savetxt(folder / "a.txt", turned((9, -6, 12), (8, -15, 6), (1.1, 0.93, 1.05)))
    return {"transform": folder / "a.txt", "warp": folder / "a_warp.nii.gz"}


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.slow
def test_points_go_there_and_back_through_matrix_and_warp(files):
    way = read_way(**files)
    points = np.random.default_rng(0).uniform(-65, 65, (2000, 3))
    there = native_points(points, way)
    matrix = np.loadtxt(files["transform"])
    linear = points @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.linalg.norm(there - linear, axis=1).max() > 3
    assert np.linalg.norm(prepared_points(there, way) - points, axis=1).max() < 0.1
    back = prepared_points(points, way)
    assert np.linalg.norm(native_points(back, way) - points, axis=1).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spacing", "degrees", "flip"),
    [
        ((1.0, 1.0, 1.0), (0, 0, 0), 1),
        ((1.0, 1.0, 1.0), (12, -8, 5), -1),
        ((0.9, 0.9, 5.0), (4, 3, 0), 1),
    ],
)
def test_a_label_goes_there_and_back_through_the_warp(field, files, spacing, degrees, flip):
    shape = tuple(int(180 / s) for s in spacing)
    affine = turned(degrees) @ np.diag([flip * spacing[0], *spacing[1:], 1])
    affine[:3, 3] = [8, -15, 6] - affine[:3, :3] @ (np.array(shape) / 2)
    where = (np.indices(shape) - np.reshape(shape, (3, 1, 1, 1)) / 2) * np.reshape(
        spacing, (3, 1, 1, 1)
    )
    label = ((where / np.reshape((38, 30, 34), (3, 1, 1, 1))) ** 2).sum(0) < 1
    prepared = Volume(np.zeros((160, 190, 160), np.float32), np.eye(4))
    prepared.affine[:3, 3] = -80, -95, -80
    inverse = np.linalg.inv(np.loadtxt(files["transform"]))
    there = resample_like(label, inverse @ affine, prepared, field=field) >= 0.5
    linear = resample_like(label, inverse @ affine, prepared) >= 0.5
    assert dice(there, linear) < 0.99
    native = Volume(np.zeros(shape, np.float32), affine)
    back = to_native(there, prepared.affine, native, read_way(**files)) >= 0.5
    assert dice(back, label) >= 0.97


def test_resampling_agrees_with_the_points(field, files):
    """A dot in the scan comes out where its point goes: axes and signs are those of the field."""
    affine = turned((5, 10, -20)) @ np.diag([-1.5, 1.5, 2.0, 1])
    affine[:3, 3] = 70, -80, -70
    dot = np.zeros((100, 100, 80), np.float32)
    dot[40:43, 60:63, 45:48] = 1
    prepared = Volume(np.zeros((120, 140, 120), np.float32), np.diag([1.5, 1.5, 1.5, 1]))
    prepared.affine[:3, 3] = -90, -105, -90
    inverse = np.linalg.inv(np.loadtxt(files["transform"]))
    found = resample_like(dot, inverse @ affine, prepared, field=field)
    centre = prepared.affine @ [*ndimage.center_of_mass(found), 1]
    expected = prepared_points((affine @ [41, 61, 46, 1])[None, :3], read_way(**files))[0]
    assert centre[:3] == pytest.approx(expected, abs=0.3)


@pytest.mark.slow
def test_a_known_warp_is_found_in_another_contrast():
    fixed, mask = atlas_at(3.0)
    known = smooth_field(12.0)
    array = np.where(mask, 1.2 - fixed.array, 0)
    moving = Volume(resample_like(array, fixed.affine, fixed, field=invert(known)), fixed.affine)
    warp, said = Deform(spacing_mm=3.0)(fixed, moving, np.eye(4))
    points = np.argwhere(ndimage.binary_erosion(mask, iterations=2))[::40] @ np.diag([3.0] * 3)
    points = points + fixed.affine[:3, 3]
    truth = displaced(points, known)
    before = np.linalg.norm(truth - points, axis=1).mean()
    after = np.linalg.norm(truth - displaced(points, warp.forward), axis=1).mean()
    assert after < 0.5 * before
    assert 0 < said["smallest_jacobian"] < 1 < said["largest_jacobian"]
    gap = displaced(displaced(points, warp.forward), warp.inverse) - points
    # On this coarse grid; at 2 mm it is a quarter.
    assert 0 < np.linalg.norm(gap, axis=1).max() <= said["inverse_error_mm"] < 0.3


def test_what_cannot_be_warped_is_said(tmp_path):
    fixed, _ = atlas_at(6.0)
    with pytest.raises(ValueError, match="nothing above 0"):
        QUICK(fixed, Volume(np.zeros((9, 9, 9), np.float32), np.eye(4)), np.eye(4))
    with pytest.raises(ValueError, match="does not lie on the atlas"):
        QUICK(fixed, fixed, turned((0, 0, 0), (500, 0, 0)))
    with pytest.raises(InputError, match=r"none\.nii\.gz: not a readable warp"):
        read_field(tmp_path / "none.nii.gz")
    write_volume(tmp_path / "image.nii.gz", np.ones((4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="not a field of 3D vectors"):
        read_field(tmp_path / "image.nii.gz")


@pytest.mark.slow
def test_the_chain_warps_all_sequences_alike_and_finds_back(tmp_path):
    image, mask = atlas_at(3.0)
    # A head that no affine matrix lays on the atlas.
    bent = invert(smooth_field(7.0))
    head, inside = (resample_like(a, image.affine, image, field=bent) for a in (image.array, mask))
    head = np.where(inside > 0.5, head, 0)
    flair = np.where(inside > 0.5, 1.2 - head, 0)
    lesion = np.zeros(mask.shape, bool)
    lesion[24:32, 40:50, 26:36] = True
    lesion &= inside > 0.5
    pose = turned((4, 0, -3), (3, 2, -4)) @ image.affine
    scans = []
    for sequence, array in (("T1w", head), ("FLAIR", flair)):
        write_volume(tmp_path / f"{sequence}.nii.gz", 400 * array, pose)
        write_volume(tmp_path / f"{sequence}_label.nii.gz", lesion, pose, np.uint8)
        path, label = tmp_path / f"{sequence}.nii.gz", tmp_path / f"{sequence}_label.nii.gz"
        scans.append(RawScan("p", sequence, path, healthy=False, lesion_mask=label))
    out = tmp_path / "out"
    registers = Register("rigid", spacing_mm=4.0), Register("affine", spacing_mm=4.0)
    chain = Preparation(Extracted(), None, *registers, ("T1w",), 2.0, deform=QUICK)
    records, failures = prepare_subject(scans[:1], chain, out)
    # The sequence that joins later goes through the warp that is there.
    more, failed = prepare_subject(scans, chain, out, {"FLAIR"})
    assert not failures
    assert not failed
    records += more
    assert [r.warp for r in records] == ["transforms/p_T1w_warp.nii.gz"] * 2
    assert inverse_path(out / records[0].warp).is_file()
    assert records[0].steps["deform"].found["largest_mm"] > 2
    json.dumps([record.to_json() for record in records])
    atlas = load_brain_atlas()
    overlaps = []
    for record in records:
        found = read_volume(out / record.brain_mask)
        target = resample_like(atlas.brain_mask, atlas.image.affine, found) > 0.5
        overlaps.append(dice(found.array > 0, target))
        prepared = read_volume(out / record.lesion_mask)
        native = read_volume(tmp_path / f"{record.sequence}.nii.gz")
        way = read_way(out / record.transform)
        back = to_native(prepared.array, prepared.affine, native, way) >= 0.5
        assert dice(back, lesion) > 0.93
    assert min(overlaps) > 0.96
    # Scores in native space go the same way.
    record = records[0]
    scan = Scan(
        *("p", "T1w", out / record.image, out / record.brain_mask, False, "test"),
        lesion_mask=out / record.lesion_mask,
        native_image=tmp_path / "T1w.nii.gz",
        native_lesion_mask=tmp_path / "T1w_label.nii.gz",
        transform=out / record.transform,
    )
    (kept,) = read_cohort(write_cohort(out, [scan], {}).root).scans
    assert kept.space == scan.space
    maps = tmp_path / "maps"
    prepared = read_volume(out / record.lesion_mask)
    write_volume(maps / "p_anomaly.nii.gz", prepared.array, prepared.affine)
    score = ScoreMaps(MapFolder(maps), Postprocess((), HealthyThreshold(), ())).native(kept)
    assert dice(score.score.array >= 0.5, lesion) > 0.93
    middle = prepared.affine @ [*ndimage.center_of_mass(prepared.array), 1]
    assert score.to_voxel(middle[None, :3])[0] == pytest.approx(
        ndimage.center_of_mass(lesion), abs=0.3
    )


@pytest.mark.slow
def test_a_sequence_that_joins_later_does_not_register_the_reference_again(tmp_path):
    image, mask = atlas_at(4.0)
    scans = []
    for sequence, angle in (("T1w", 5), ("FLAIR", -4)):
        array = image.array if sequence == "T1w" else np.where(mask, 1.2 - image.array, 0)
        path = tmp_path / f"{sequence}.nii.gz"
        write_volume(path, 400 * array, turned((angle, 0, 3)) @ image.affine)
        scans.append(RawScan("p", sequence, path, healthy=True))
    registers = Register("rigid", spacing_mm=4.0), Register("affine", spacing_mm=4.0)
    chain = Preparation(Extracted(), None, *registers, ("T1w",), 4.0, deform=QUICK)
    out = tmp_path / "out"
    (first,), _ = prepare_subject(scans[:1], chain, out)
    warps = {path: path.stat().st_mtime_ns for path in out.glob("transforms/*_warp*")}
    # Steps that would lay the T1w elsewhere: they are not asked.
    idle = replace(registers[1], iterations=1)
    chain = replace(chain, atlas=idle, deform=replace(QUICK, smooth_mm=20.0))
    (joined,), _ = prepare_subject(scans, chain, out, {"FLAIR"})
    assert {path: path.stat().st_mtime_ns for path in out.glob("transforms/*_warp*")} == warps
    way, longer = (read_way(out / record.transform) for record in (first, joined))
    assert longer[:-1] == way
