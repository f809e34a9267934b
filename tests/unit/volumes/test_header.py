"""Headers as people have them: a broken field that nobody needs changes nothing but the notes."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from brainuad.errors import InputError
from brainuad.volumes.nifti import read_label, read_volume, write_changed, write_like
from brainuad.volumes.read import read_native, read_raw, read_scan

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(1, 4000, (10, 12, 8)).astype(np.int16)
TURN = np.deg2rad(20)
AFFINE = np.array(
    [
        [-3 * np.cos(TURN), 3 * np.sin(TURN), 0, 30],
        [3 * np.sin(TURN), 3 * np.cos(TURN), 0, -50],
        [0, 0, 3, -20],
        [0, 0, 0, 1],
    ]
)
NAN, INF = float("nan"), float("inf")


def write(path, array=ARRAY, affine=AFFINE, codes=(1, 1), kind=nib.Nifti1Image, unit="mm"):
    image = kind(array, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def broken(path, *changes):
    """The file with fields packed over: offset, format, values; zipped anew where it was."""
    zipped = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if zipped else path.read_bytes())
    for at, form, *values in changes:
        struct.pack_into(form, content, at, *values)
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


BROKEN = {
    "quaternion": ([(256, "<3f", 1, 1, 1)], "its qform is broken; the sform is used"),
    "quaternion NaN": ([(256, "<f", NAN)], "its qform is broken; the sform is used"),
    "qoffset": ([(268, "<f", INF)], "its qform is broken; the sform is used"),
    "sform zero": ([(280, "<12f", *[0] * 12)], "its sform is broken; the qform is used"),
    "sform NaN": ([(280, "<f", NAN)], "its sform is broken; the qform is used"),
    "sform flat": ([(296, "<4f", -2.82, 1.03, 0, 1)], "its sform is broken; the qform is used"),
    "sform sheared": ([(296, "<4f", 3, 0, 0, 1)], "its sform is broken; the qform is used"),
    "sform huge": ([(280, "<f", 1e30)], "its sform is broken; the qform is used"),
    "intercept NaN": ([(112, "<2f", 1, NAN)], "intercept of its intensities is nan; taken for 0"),
    "intercept inf": ([(112, "<2f", 1, INF)], "intercept of its intensities is inf; taken for 0"),
    "slope 0": ([(112, "<2f", 0, 7)], ""),
    "slope NaN": ([(112, "<2f", NAN, 7)], ""),
    "slope inf": ([(112, "<2f", INF, 7)], ""),
    "offset 0": ([(108, "<f", 0)], "at byte 0; they are read from 352"),
    "offset -7": ([(108, "<f", -7)], "at byte -7; they are read from 352"),
    "offset NaN": ([(108, "<f", NAN)], "at byte nan; they are read from 352"),
    "4 axes": ([(40, "<h", 4)], "1 further axes of length one"),
    "5 axes": ([(40, "<h", 5)], "2 further axes of length one"),
    "7 axes": ([(40, "<h", 7)], "4 further axes of length one"),
    "axes of 0": ([(40, "<h", 5), (48, "<2h", 0, 0)], "2 further axes of length one"),
    "no axes": ([(40, "<h", 0)], "claims 0 axes; 3 are told by their lengths"),
    "many axes": ([(40, "<h", 99)], "claims 99 axes; 3 are told by their lengths"),
    "negative axes": ([(40, "<h", -1)], "claims -1 axes; 3 are told by their lengths"),
    "offset 348": ([(108, "<f", 348)], "at byte 348; they are read from 352"),
    "code": ([(252, "<2h", 300, -7)], ""),
    "pixdim 0": ([(80, "<3f", 0, 0, 0)], "its qform is broken; the sform is used"),
    "pixdim NaN": ([(80, "<3f", NAN, NAN, NAN)], "its qform is broken; the sform is used"),
    "pixdim negative": ([(80, "<3f", -3, -3, -3)], ""),
    "qfac": ([(76, "<f", 17)], ""),
    "bits": ([(72, "<h", 3)], ""),
    "size of the header": ([(0, "<i", 1)], ""),
    "unit": ([(123, "<B", 7)], ""),
    "texts": ([(148, "<104s", b"\xff" * 104), (328, "<16s", b"\xfe" * 16)], ""),
    "ranges": ([(124, "<4f", NAN, -INF, INF, NAN)], ""),
    "slices": ([(39, "<B", 255), (74, "<h", -9), (120, "<hB", 999, 77)], ""),
    "intent": ([(56, "<3fh", NAN, NAN, NAN, 1002)], ""),
    "extension": ([(348, "<4B", 1, 0, 0, 0)], ""),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_field_that_nobody_needs_stops_no_scan(tmp_path, name, ending):
    changes, words = BROKEN[name]
    good, _ = read_scan(write(tmp_path / f"good{ending}"))
    path = broken(write(tmp_path / f"broken{ending}"), *changes)
    found, notes = read_scan(path)
    np.testing.assert_array_equal(found.array, good.array)
    np.testing.assert_allclose(found.affine, good.affine, atol=1e-4)
    assert words in " · ".join(notes)
    assert read_raw(path).sides_known
    # And the maps that are written like it lie on it, for other programs too.
    write_like(tmp_path / "map.nii.gz", np.ones(ARRAY.shape), path)
    np.testing.assert_allclose(nib.load(tmp_path / "map.nii.gz").affine, good.affine, atol=1e-4)
    header = nib.load(tmp_path / "map.nii.gz").header
    assert np.isfinite(header.get_sform()).all()
    assert np.isfinite(header.get_qform()).all()


@pytest.mark.parametrize("codes", [(0, 1), (0, 0)])
@pytest.mark.parametrize("change", [(76, "<4f", 0, -3, -3, -3), (76, "<f", 5), (76, "<f", NAN)])
def test_sizes_of_voxels_have_no_sign(tmp_path, codes, change):
    right_handed = AFFINE * [[-1], [1], [1], [1]]
    good = read_volume(write(tmp_path / "a.nii", affine=right_handed, codes=codes))
    path = write(tmp_path / "b.nii", affine=right_handed, codes=codes)
    found = read_volume(broken(path, change))
    np.testing.assert_allclose(found.affine, good.affine, atol=1e-4)


def test_an_offset_beyond_the_file_is_where_the_voxels_end_with_it(tmp_path):
    path = broken(write(tmp_path / "a.nii"), (108, "<f", 1000))
    assert np.array_equal(read_volume(path).array, ARRAY)
    # Where there are more bytes, they may be something else.
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        read_volume(path)


def test_a_broken_form_alone_leaves_left_and_right_open(tmp_path):
    path = broken(write(tmp_path / "a.nii", codes=(1, 0)), (280, "<f", NAN))
    found = read_raw(path)
    assert not found.sides_known
    assert found.volume.spacing_mm == pytest.approx((3, 3, 3))
    assert found.notes[:2] == (
        "its sform is broken",
        "no orientation in the header: left and right are a guess, check the picture",
    )


@pytest.mark.parametrize(("flip", "known"), [((1, 1), True), ((-1, 1), False), ((1, -1), True)])
def test_forms_that_disagree_about_left_and_right_leave_them_open(tmp_path, flip, known):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(np.diag([flip[0], 1, flip[1], 1.0]) @ AFFINE, 1)
    nib.save(image, tmp_path / "a.nii")
    found = read_raw(tmp_path / "a.nii")
    assert found.sides_known == known
    np.testing.assert_allclose(found.volume.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(
    ("unit", "factor", "words"),
    [
        ("meter", 1e-3, "counts in metres; read in mm"),
        ("micron", 1e3, "counts in micrometres; read in mm"),
        ("mm", 1, ""),
        ("unknown", 1, ""),
        # Said of lengths that are mm all the same: no head is 36 m or 36 µm long.
        ("meter", 1, "counts in metres, which no head can have; taken for mm"),
        ("micron", 1, "counts in micrometres, which no head can have; taken for mm"),
    ],
)
def test_lengths_are_read_in_mm_and_written_in_the_units_of_the_scan(
    tmp_path, unit, factor, words, codes
):
    affine = np.diag([factor, factor, factor, 1]) @ AFFINE
    path = write(tmp_path / "a.nii.gz", affine=affine, unit=unit, codes=codes)
    plain = read_volume(write(tmp_path / "b.nii.gz", codes=codes))
    found, notes = read_scan(path)
    np.testing.assert_allclose(found.affine, plain.affine, atol=1e-3)
    assert words in " · ".join(notes)
    write_like(tmp_path / "map.nii.gz", np.ones(ARRAY.shape), path, np.uint8)
    scan, like = nib.load(path), nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(like.affine, scan.affine)
    assert like.header.get_xyzt_units()[0] == scan.header.get_xyzt_units()[0]
    assert read_label(tmp_path / "map.nii.gz", like=found).all()
    changed = np.zeros(ARRAY.shape, bool)
    changed[2, 3, 4] = True
    write_changed(tmp_path / "filled.nii.gz", path, changed, np.array([5.0]))
    np.testing.assert_array_equal(nib.load(tmp_path / "filled.nii.gz").affine, scan.affine)


@pytest.mark.parametrize(
    "names", [("a.hdr", "a.img"), ("A.HDR", "A.IMG"), ("a.hdr.gz", "a.img.gz")]
)
def test_a_pair_of_header_and_voxels_is_one_scan(tmp_path, names):
    zipped = names[0].endswith("gz")
    nib.save(nib.Nifti1Pair(ARRAY, AFFINE), tmp_path / ("b.img.gz" if zipped else "b.img"))
    for name in names:
        ending = "".join((tmp_path / name).suffixes).lower()
        (tmp_path / f"b{ending}").rename(tmp_path / name)
    for name in names:
        found = read_volume(tmp_path / name)
        np.testing.assert_array_equal(found.array, ARRAY)
        np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
    (tmp_path / names[0]).unlink()
    with pytest.raises(InputError, match=f"{names[0]}: no such file; {names[1]} needs it"):
        read_volume(tmp_path / names[1])


def test_an_analyze_pair_is_refused_because_it_tells_no_left_and_right(tmp_path):
    nib.save(nib.AnalyzeImage(ARRAY, AFFINE), tmp_path / "a.img")
    with pytest.raises(InputError, match="Analyze 7.5 tells no left and right"):
        read_volume(tmp_path / "a.img")


TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("voxels", TYPES)
def test_every_type_byte_order_and_version_is_read(tmp_path, voxels, kind, order):
    array = np.clip(ARRAY, 0, 100).astype(f"{order}{voxels}")
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    nib.save(kind(array, AFFINE, header), tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.array, np.clip(ARRAY, 0, 100))
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_any_brightness_is_read(tmp_path, size):
    array = (ARRAY * size).astype(np.float32)
    assert np.array_equal(read_scan(write(tmp_path / "a.nii", array))[0].array, array)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIL", "SRA", "ILA"])
def test_mirrored_and_permuted_axes_are_followed(tmp_path, axes):
    image = nib.Nifti1Image(ARRAY, np.diag([1.0, 2, 3, 1]))
    order = nib.orientations.axcodes2ornt(axes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(order, [[0, 1], [1, 1], [2, 1]]))
    nib.save(turned, tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(found.affine, turned.affine)


CONTENTS = {
    "empty": b"",
    "HTML": b"<!DOCTYPE html><html><body>Log in</body></html>" * 20,
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_image_is_refused_in_one_line(tmp_path, name, ending):
    (tmp_path / f"a{ending}").write_bytes(CONTENTS[name])
    with pytest.raises(InputError, match="not a NIfTI file|truncated or damaged") as caught:
        read_scan(tmp_path / f"a{ending}")
    assert "report" not in str(caught.value)


def test_complex_voxels_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY.astype(np.complex64), AFFINE), tmp_path / "a.nii")
    with pytest.raises(InputError, match="complex64"):
        read_scan(tmp_path / "a.nii")


def head(lost=()):
    """A bright ball in noise, with some voxels lost."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 26, 22)], indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.6
    array = np.where(ball, 500, 0) + 20 * RNG.random(ball.shape)
    for where, value in lost:
        array[where] = value
    return array.astype(np.float32), ball


OUTSIDE = {
    "a slab": [(np.s_[:2], NAN)],
    "part of a slab through the head": [(np.s_[:8, 5:20], NAN)],
    "a corner": [(np.s_[:3, :3, :3], INF)],
    "voxels in the air": [(np.s_[2, 2, 2], INF), (np.s_[2, 13, 2], -INF)],
    "a block in the air": [(np.s_[1:3, 1:3, 1:3], NAN)],
}
INSIDE = {
    "one voxel": [(np.s_[12, 13, 11], NAN)],
    "a block": [(np.s_[8:12, 10:14, 8:12], INF)],
    "a bite at the surface": [(np.s_[3:6, 12:15, 10:13], NAN)],
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_was_lost_outside_the_head_is_background(tmp_path, name):
    array, _ = head(OUTSIDE[name])
    lost = ~np.isfinite(array)
    path = write(tmp_path / "a.nii.gz", array)
    found, notes = read_scan(path)
    assert np.array_equal(found.array[~lost], array[~lost])
    assert found.array[lost].max() < 25
    assert f"{lost.sum()} NaN or infinite voxels are taken for background" in notes
    assert np.array_equal(read_native(path).array, found.array)
    # A map, a mask or a label has none of it.
    with pytest.raises(InputError, match="NaN or infinite voxels"):
        read_volume(path)


@pytest.mark.parametrize("name", INSIDE)
def test_what_was_lost_inside_the_head_is_an_error(tmp_path, name):
    array, _ = head(INSIDE[name])
    with pytest.raises(InputError, match=r"NaN or infinite voxels in its head; replace"):
        read_scan(write(tmp_path / "a.nii.gz", array))


def test_nothing_but_nan_is_no_scan(tmp_path):
    with pytest.raises(InputError, match="nothing but NaN"):
        read_scan(write(tmp_path / "a.nii", np.full((8, 8, 8), np.nan, np.float32)))
