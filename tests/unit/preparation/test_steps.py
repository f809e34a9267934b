"""The steps on raw heads, on small volumes with known answers."""

import gzip
import locale
import struct
from functools import cache

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Orientationd
from scipy import ndimage

from brainuad.errors import InputError
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.bias import N4
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.auto import Auto, is_stripped
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.skullstrip.given import Given
from brainuad.preparation.skullstrip.template import TemplateBrain
from brainuad.preparation.transforms.base import report
from brainuad.preparation.transforms.brain import SkullStripd
from brainuad.preparation.transforms.load import LoadScand
from brainuad.settings.instantiate import instantiate
from brainuad.types import Volume
from brainuad.volumes.dicom.read import quiet_gdcm
from brainuad.volumes.dicom.series import the_series
from brainuad.volumes.itk import from_sitk, matrix_of, to_sitk, transform_of
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.read import read_scan
from brainuad.volumes.resample import resample_like, resample_spacing

RNG = np.random.default_rng(0)
# The sums of several threads come in any order; a preparation runs on one.
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def turned(degrees, shift=(0, 0, 0), scale=(1, 1, 1)):
    """An affine in RAS mm: scaled along the axes, turned about x, y, z, moved."""
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*np.deg2rad(degrees).tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(euler.GetMatrix()).reshape(3, 3) @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def atlas_at(spacing_mm):
    """The MNI152 brain, coarser: image and mask."""
    image, mask = _atlas_at(spacing_mm)
    return Volume(image.array.copy(), image.affine.copy()), mask.copy()


@cache
def _atlas_at(spacing_mm):
    atlas = load_brain_atlas()
    image = resample_spacing(atlas.image, spacing_mm)
    mask = Volume(atlas.brain_mask.astype(np.float32), atlas.image.affine)
    return image, resample_spacing(mask, spacing_mm).array > 0.5


def landmark_error(found, known, fixed, mask):
    """Mean distance in mm, over the masked voxels, of two matrices from the fixed world."""
    points = np.argwhere(mask)[::50]
    world = np.c_[points, np.ones(len(points))] @ fixed.affine.T
    return np.linalg.norm((world @ (found - known).T)[:, :3], axis=1).mean()


@settings(max_examples=30, deadline=None)
@given(
    axes=st.sampled_from(["RAS", "LPS", "PSR", "LIA", "ASL"]),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
)
def test_simpleitk_sees_every_voxel_where_it_is(axes, degrees, spacing):
    array = RNG.random((4, 5, 6)).astype(np.float32)
    affine = turned(degrees, (10, -20, 30)) @ np.diag([*spacing, 1])
    image = nib.Nifti1Image(array, affine)
    target = nib.orientations.axcodes2ornt(axes)
    current = nib.io_orientation(affine)
    image = image.as_reoriented(nib.orientations.ornt_transform(current, target))
    volume = Volume(image.get_fdata(dtype=np.float32), image.affine)
    there = to_sitk(volume)
    index = tuple(int(n) - 1 for n in volume.array.shape)
    assert there[index] == volume.array[index]
    ras = (volume.affine @ [*index, 1])[:3]
    lps = there.TransformIndexToPhysicalPoint(index)
    assert lps == pytest.approx(ras * [-1, -1, 1], abs=1e-3)
    back = from_sitk(there)
    assert np.array_equal(back.array, volume.array)
    assert back.affine == pytest.approx(volume.affine, abs=1e-3)


def test_matrices_go_there_and_back_and_shear_is_refused():
    matrix = turned((10, 20, -30), (1, 2, 3), (0.9, 1.0, 1.1))
    assert matrix_of(transform_of(matrix)) == pytest.approx(matrix)
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(ValueError, match="sheared"):
        to_sitk(Volume(np.zeros((2, 2, 2), np.float32), sheared))


def test_n4_flattens_a_known_field():
    shape = (40, 44, 36)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(a**2 for a in axes) < 0.8
    tissue = np.where(sum(a**2 for a in axes) < 0.3, 200.0, 120.0) * brain
    field = 1 + 0.35 * axes[0]
    noisy = Volume((tissue * field).astype(np.float32), np.diag([2.0, 2, 2, 1]))
    corrected, found = N4(shrink=2)(noisy, brain)
    before, after = (np.std(v[brain] / tissue[brain]) for v in (noisy.array, corrected.array))
    assert after < 0.4 * before
    assert np.corrcoef(found.array[brain], field[brain])[0, 1] > 0.95
    assert np.log(found.array[brain]).mean() == pytest.approx(0, abs=0.02)
    assert corrected.array[brain] * found.array[brain] == pytest.approx(
        noisy.array[brain], rel=1e-4
    )
    with pytest.raises(ValueError, match="nothing above 0"):
        N4()(Volume(np.zeros(shape, np.float32), np.eye(4)))
    with pytest.raises(ValueError, match="nothing above 0"):
        N4()(noisy, np.zeros(shape, bool))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_affine_is_recovered(seed):
    fixed, mask = atlas_at(4.0)
    rng = np.random.default_rng(seed)
    known = turned(rng.uniform(-20, 20, 3), rng.uniform(-20, 20, 3), rng.uniform(0.85, 1.15, 3))
    # Another contrast, as another sequence has, and noise.
    array = np.where(fixed.array > 0, np.sqrt(1.2 - fixed.array), 0)
    array += 0.02 * rng.standard_normal(array.shape) * (fixed.array > 0)
    moving = Volume(array.clip(0).astype(np.float32), known @ fixed.affine)
    found = Register("affine", spacing_mm=4.0)(fixed, moving, mask)
    assert landmark_error(found.matrix, known, fixed, mask) < 1.5
    assert found.similarity > 0.2


def test_a_rigid_fit_is_rigid():
    fixed, mask = atlas_at(4.0)
    moving = Volume(fixed.array, turned((10, 5, 0), (0, 10, 0), (1.1, 1, 1)) @ fixed.affine)
    found = Register("rigid", 4.0)(fixed, moving, mask).matrix
    assert found[:3, :3].T @ found[:3, :3] == pytest.approx(np.eye(3), abs=1e-6)


@pytest.mark.slow
def test_how_far_off_the_worlds_lie_does_not_tell():
    """A template's or a scanner's origin may be anywhere."""
    fixed, mask = atlas_at(4.0)
    known = turned((8, -5, 12), (15, -10, 6), (1.2, 1.15, 1.1))
    moving = Volume(fixed.array, known @ fixed.affine)
    near = Register("affine", 4.0)(fixed, moving, mask).matrix
    away, off = turned((0, 0, 0), (200, -150, 80)), turned((0, 0, 0), (-90, 300, 500))
    far = Register("affine", 4.0)(
        Volume(fixed.array, away @ fixed.affine), Volume(moving.array, off @ moving.affine), mask
    ).matrix
    assert np.linalg.inv(off) @ far @ away == pytest.approx(near, abs=0.05)
    assert landmark_error(near, known, fixed, mask) < 1


@pytest.mark.slow
@pytest.mark.parametrize("turns", [False, True])
def test_the_same_images_are_registered_the_same_every_time(turns):
    fixed, mask = atlas_at(4.0)
    moving = Volume(fixed.array, turned((8, -5, 12), (9, 4, -3)) @ fixed.affine)
    register = Register("affine", 4.0, turns=turns)
    first, second = (register(fixed, moving, mask) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)
    assert first.similarity == second.similarity


def test_registration_says_what_it_cannot_do():
    fixed, _ = atlas_at(6.0)
    with pytest.raises(ValueError, match="nothing above 0"):
        Register()(fixed, Volume(np.zeros((9, 9, 9), np.float32), np.eye(4)))
    with pytest.raises(ValueError, match="use rigid, similarity or affine"):
        Register("spline")


def head_of(spacing_mm=3.0):
    """A head: the MNI152 brain, a dark gap around it, a bright scalp; and its brain mask."""
    image, mask = atlas_at(spacing_mm)
    array, mask = np.pad(image.array, 10), np.pad(mask, 10)
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [10, 10, 10]
    depth = ndimage.distance_transform_edt(~mask) * spacing_mm
    array = np.where((depth > 9) & (depth < 16), 0.9, np.where(mask, array, 0.03))
    array = array + 0.01 * np.abs(RNG.standard_normal(array.shape))
    return Volume(np.where(depth < 20, array, 0.01).astype(np.float32), affine), mask


def chosen(name):
    """The back end of preparation/skullstrip=NAME."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        words = ["preparation=extracted", f"preparation/skullstrip={name}"]
        config = compose("prepare", words).preparation.steps.skullstrip
    return instantiate(config, packages=("brainuad.preparation.",))


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.slow
def test_the_classical_back_end_finds_the_brain_in_a_head():
    head, mask = head_of()
    tilted = Volume(head.array, turned((12, -5, 8), (6, 0, -9)) @ head.affine)
    assert _dice(TemplateBrain(Register("affine", 4.0))(tilted), mask) > 0.9


def test_auto_leaves_a_stripped_scan_alone_and_strips_a_head():
    head, mask = head_of()
    stripped = Volume(np.where(mask, head.array, 0), head.affine)
    assert is_stripped(stripped.array)
    assert not is_stripped(head.array)
    assert isinstance(Auto().choose(stripped), Extracted)
    assert not isinstance(Auto().choose(head), Extracted)
    assert _dice(Auto()(stripped), mask) > 0.97


def test_a_head_in_a_larger_empty_box_is_no_brain():
    head, _ = head_of()
    cleared = np.where(head.array > 0.02, head.array, 0)
    large = Volume(np.pad(cleared, 20), head.affine)
    assert is_stripped(large.array)
    assert not isinstance(Auto().choose(large), Extracted)


def test_without_a_given_mask_the_back_end_given_refuses(tmp_path):
    head, mask = head_of(6.0)
    write_volume(tmp_path / "a.nii.gz", head.array, head.affine)
    write_volume(tmp_path / "m.nii.gz", mask, head.affine, np.uint8)
    scan = {"T1w": tmp_path / "a.nii.gz"}

    def stripped(data, back_end):
        loaded = Orientationd(["T1w", "T1w.brain"], "RAS", labels=None, allow_missing_keys=True)(
            LoadScand("T1w")(data)
        )
        return SkullStripd("T1w", back_end)(loaded)

    with pytest.raises(InputError, match=r"a\.nii\.gz: no brain mask in the source; name it"):
        stripped(scan, Given())
    found = stripped(scan | {"T1w.brain": tmp_path / "m.nii.gz"}, Given())
    assert np.array_equal(found["T1w.brain"].numpy()[0] > 0, mask)
    assert report(found["T1w"])["skullstrip"]["by"] == "Given()"
    # The report says which back end it was.
    write_volume(tmp_path / "a.nii.gz", np.where(mask, head.array, 0), head.affine)
    by = report(stripped(scan, Extracted())["T1w"])["skullstrip"]["by"]
    assert by.startswith("Extracted(")


@pytest.mark.parametrize("name", ["auto", "given", "extracted", "template"])
def test_every_back_end_is_chosen_by_its_config(name):
    assert type(chosen(name)).__name__.lower() in (name, f"{name}brain")


def test_a_whole_head_is_no_extracted_brain():
    head, _ = head_of()
    with pytest.raises(ValueError, match="is the skull still on"):
        Extracted(most_ml=1500)(head)


def test_dicom_series_are_read_where_they_lie(tmp_path):
    array = (100 * RNG.random((6, 8, 5))).astype(np.int16)
    affine = turned((10, 0, 0), (5, 6, 7)) @ np.diag([2.0, 1.5, 4.0, 1])
    write_series(tmp_path / "series", Volume(array, affine), "t2 flair")
    before = locale.setlocale(locale.LC_ALL)
    volume, notes = read_scan(tmp_path / "series")
    assert notes == ["DICOM series", "oblique by 10 degrees; its affine is followed"]
    assert locale.setlocale(locale.LC_ALL) == before
    assert the_series(tmp_path / "series")[0].first.description == "t2 flair"
    expected = to_ras(Volume(array.astype(np.float32), affine))
    assert np.array_equal(to_ras(volume).array, expected.array)
    assert to_ras(volume).affine == pytest.approx(expected.affine, abs=1e-3)
    write_series(tmp_path / "series", Volume(array + 1, affine), "another", start=50)
    with pytest.raises(InputError, match="holds 2 DICOM series"):
        read_scan(tmp_path / "series")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM series in this folder"):
        read_scan(tmp_path / "empty")


def write_series(folder, volume, description, start=0):
    """A DICOM series of a volume, a file a slice."""
    folder.mkdir(exist_ok=True)
    image = to_sitk(volume)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    uid = f"1.2.826.0.1.3680043.2.1125.{start + 1}"
    for i in range(image.GetDepth()):
        piece = image[:, :, i]
        for key, value in (
            ("0008|0060", "MR"),
            ("0008|103e", description),
            ("0020|000e", uid),
            ("0020|000d", "1.2.826.0.1.3680043.2.1125.9"),
            ("0020|0032", "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, i))))),
            (
                "0020|0037",
                "\\".join(str(direction[n]) for n in (0, 3, 6, 1, 4, 7)),
            ),
            ("0020|0013", str(i)),
            ("0018|0050", str(image.GetSpacing()[2])),
            ("0008|0018", f"{uid}.{i + 1}"),
        ):
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{start + i:03d}.dcm"))
        with quiet_gdcm():
            writer.Execute(piece)


def test_what_headers_hide_is_said(tmp_path):
    array = RNG.random((8, 8, 8)).astype(np.float32)
    image = nib.Nifti1Image(array, np.eye(4))
    image.set_sform(np.eye(4), 0)
    image.set_qform(np.eye(4), 0)
    nib.save(image, tmp_path / "none.nii.gz")
    assert "left and right are a guess" in read_scan(tmp_path / "none.nii.gz")[1][0]
    moved = np.eye(4)
    moved[0, 3] = 7
    image.set_sform(moved, 1)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / "two.nii.gz")
    volume, notes = read_scan(tmp_path / "two.nii.gz")
    assert "differ by 7.0 mm; the sform is used" in notes[0]
    assert volume.affine[0, 3] == 7
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "one.nii.gz")
    assert read_scan(tmp_path / "one.nii.gz")[1] == []
    tilted = turned((0, 15, 0)) @ np.diag([-1.0, 1, 3, 1])
    nib.save(nib.Nifti2Image(array, tilted), tmp_path / "tilted.nii.gz")
    volume, notes = read_scan(tmp_path / "tilted.nii.gz")
    assert notes == ["oblique by 15 degrees; its affine is followed"]
    assert volume.affine == pytest.approx(tilted, abs=1e-5)


def _rgb(path):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), dtype), np.eye(4)), path)


def _zero(path):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)), path)


def _tiny(path):
    nib.save(nib.Nifti1Image(np.ones((1, 1, 8), np.float32), np.eye(4)), path)


def _degenerate(path):
    affine = np.diag([1e-9, 1, 1, 1])
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), affine), path)


def _no_size(path):
    """A voxel size of zero, and no sform that says better."""
    image = nib.Nifti1Image(np.ones((8, 8, 8), np.float32), None)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<4f", raw, 76, 1, 0, 0, 0)
    path.write_bytes(raw)


def _gzipped(path):
    """A compressed NIfTI under a name that says it is not compressed."""
    write_volume(path, RNG.random((8, 8, 8)), np.eye(4))
    path.write_bytes(gzip.compress(path.read_bytes()))


def _overflow(path):
    """Whole numbers whose header scales them past the largest float32."""
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 30000, np.int16), np.eye(4)), path)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 112, 1e38)
    path.write_bytes(raw)


def _flat(path):
    nib.save(nib.Nifti1Image(np.ones((8, 8), np.float32), np.eye(4)), path)


def _series(path):
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4)), path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_rgb, "RGB"),
        (_zero, "all voxels are 0"),
        (_tiny, "no volume of a head"),
        (_degenerate, "degenerate"),
        (_no_size, "degenerate"),
        (_gzipped, "not a NIfTI file"),
        (_overflow, "infinite voxels"),
        (_flat, "found 2D"),
        (_series, "found 4D"),
    ],
)
def test_what_is_no_scan_is_refused_by_name(tmp_path, make, words):
    path = tmp_path / "Kopf ä 1.nii"
    make(path)
    with pytest.raises(InputError, match=words) as error:
        read_scan(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_label_comes_back_to_its_own_grid():
    """Prepared and back: Dice at 1 mm, thick oblique left-handed slices included."""
    for spacing, degrees, flip in (
        ((1.0, 1.0, 1.0), (0, 0, 0), 1),
        ((1.0, 1.0, 1.0), (12, -8, 5), -1),
        ((0.7, 0.7, 5.0), (4, 3, 0), 1),
        ((0.7, 0.7, 5.0), (14, -9, 8), -1),
    ):
        shape = tuple(int(70 / s) for s in spacing)
        affine = turned(degrees, (-30, -40, -20)) @ np.diag([flip * spacing[0], *spacing[1:], 1])
        grid = np.indices(shape)
        centre = (np.array(shape) / 2)[:, None, None, None]
        reach = np.array([15, 12, 14])[:, None, None, None]
        scaled = (grid - centre) * np.array(spacing)[:, None, None, None] / reach
        label = (scaled**2).sum(0) < 1
        native = Volume(label.astype(np.float32), affine)
        to_native = turned((3, -4, 6), (5, 2, -3), (1.05, 0.95, 1.1))
        prepared = Volume(np.zeros((90, 90, 90), np.float32), np.eye(4))
        middle = affine @ [*(np.array(shape) / 2), 1]
        prepared.affine[:3, 3] = (np.linalg.inv(to_native) @ middle)[:3] - 45
        there = resample_like(native.array, np.linalg.inv(to_native) @ affine, prepared) >= 0.5
        back = resample_like(there.astype(np.float32), to_native @ prepared.affine, native) >= 0.5
        assert _dice(back, label) >= 0.97
