"""Siemens mosaics: each voxel where it was drawn, or one line that says why not."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import (
    MOSAIC,
    mosaic_corner,
    mosaic_fields,
    mosaic_of,
    tags_of,
    write_csa,
    write_enhanced,
    write_mosaic,
    write_slice,
)
from scipy.spatial.transform import Rotation

from brainuad.cohorts.find import find_all
from brainuad.errors import InputError
from brainuad.volumes.dicom.read import read_dicom
from brainuad.volumes.read import read_raw

COUNT, TILE = 11, (7, 10)
SPACING, STEP = (2.5, 1.5), 3.3
CORNER = np.array([-31.0, 17, -64])
AXES = Rotation.from_euler("zyx", [25, -40, 70], degrees=True).as_matrix().T
SLICES = np.random.default_rng(0).integers(1, 4000, (COUNT, *TILE))


def parts(sign=1, slices=SLICES, **more):
    """Pixels, tags and fields of a mosaic of slices along their normal, or against it."""
    pixels = mosaic_of(slices)
    orientation = AXES[:2].ravel()
    place = mosaic_corner(CORNER, orientation, SPACING, TILE, pixels.shape)
    tags = tags_of(1, place, orientation, SPACING, SpacingBetweenSlices=STEP, ImageType=MOSAIC)
    return pixels, tags | more, mosaic_fields(len(slices), sign * AXES[2])


def write(path, pixels, tags, fields, **more):
    write_mosaic(path, pixels, tags, write_csa(fields), **more)


def world(index, sign):
    """RAS mm of a `(column, row, tile)` index."""
    column, row, tile = index
    place = CORNER + SPACING[1] * column * AXES[0] + SPACING[0] * row * AXES[1]
    return (place + sign * STEP * tile * AXES[2]) * (-1, -1, 1)


@pytest.mark.parametrize("sign", [1, -1], ids=["along", "against"])
def test_each_voxel_of_an_oblique_mosaic_lies_where_it_was_taken(tmp_path, sign):
    pixels, tags, fields = parts(sign, RescaleSlope=0.5, RescaleIntercept=-3)
    write(tmp_path / "1.dcm", pixels, tags, fields, count=COUNT)
    volume = read_raw(tmp_path).volume
    assert volume.array.shape == (TILE[1], TILE[0], COUNT)
    back = np.linalg.inv(volume.affine)
    for index in np.ndindex(volume.array.shape):
        found = back @ [*world(index, sign), 1]
        np.testing.assert_allclose(found, np.round(found), atol=1e-4)
        value = SLICES[index[2], index[1], index[0]] * 0.5 - 3
        assert volume.array[tuple(np.rint(found[:3]).astype(int))] == value
    assert volume.spacing_mm == pytest.approx((1.5, 2.5, 3.3))


def test_a_scanners_own_mosaic_lies_where_its_protocol_puts_the_slices(tmp_path):
    file = Path(nib.__file__).parent / "nicom/tests/data/siemens_dwi_0.dcm.gz"
    if not file.is_file():
        pytest.skip("this nibabel comes without its test data")
    (tmp_path / "1.IMA").write_bytes(gzip.decompress(file.read_bytes()))
    # Its voxels are zeros.
    volume, _ = read_dicom(tmp_path)
    assert volume.array.shape == (128, 128, 48)
    # The centres by its sSliceArray.asSlice[0] and [1].sPosition, LPS mm.
    for k, centre in enumerate([(0, -20.03015269, -79.31259361), (0, -20.0144448, -76.31263473)]):
        found = volume.affine @ [64, 64, k, 1]
        np.testing.assert_allclose(found[:3] * (-1, -1, 1), centre, atol=1e-3)


def without(name):
    def change(pixels, tags, fields):
        fields.pop(name, None)
        tags.pop(name, None)
        return pixels, tags, fields

    return change


def told(name, values):
    def change(pixels, tags, fields):
        return pixels, tags, fields | {name: ("FD", values)}

    return change


def wider(pixels, tags, fields):
    return np.pad(pixels, ((0, 0), (0, 2))), tags, fields


def behind(pixels, tags, fields):
    pixels[-3, -3] = 5
    return pixels, tags, fields


def two_rows(pixels, tags, fields):
    """Sixteen slices, 2 x 8: a grid of 4 x 4 would cut them."""
    slices = np.tile(SLICES[:1], (16, 1, 1))[:, :6]
    tags |= {"AcquisitionMatrix": [10, 0, 0, 6]}
    return mosaic_of(slices, (2, 8)), tags, fields | {"NumberOfImagesInMosaic": ("US", [16])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("NumberOfImagesInMosaic"), "no usable number of slices (CSA NumberOfI"),
        (without("SliceNormalVector"), "no usable direction of slices (CSA SliceN"),
        (without("SpacingBetweenSlices"), "no usable distance of slices (0018,0088)"),
        (told("NumberOfImagesInMosaic", [1]), "no usable number of slices"),
        (told("NumberOfImagesInMosaic", [-4]), "damaged private (CSA) header"),
        (told("NumberOfImagesInMosaic", [10**9]), "no usable number of slices"),
        (told("NumberOfImagesInMosaic", ["many"]), "damaged private (CSA) header"),
        (told("SliceNormalVector", [0, 1]), "damaged private (CSA) header"),
        (told("SliceNormalVector", [0, 0, 0]), "contradict each other"),
        (told("SliceNormalVector", AXES[0]), "contradict each other"),
        (told("SliceNormalVector", ["nan", 0, 1]), "contradict each other"),
        (told("NumberOfImagesInMosaic", [17]), "no square grid of 17 slices"),
        (told("NumberOfImagesInMosaic", [10]), "of 10 slices, by its header, that shows an"),
        (wider, "of 28 x 42 voxels, which is no square grid of 11 slices"),
        (two_rows, "of 12 x 80 voxels, which is no square grid of 16 slices"),
        (behind, "of 11 slices, by its header, that shows an image in tile 16; export it"),
        (without("ImagePositionPatient"), "slices tell no position (0020,0032), such as 1.dcm (ti"),
        (without("ImageOrientationPatient"), "slices tell no orientation (0020,0037)"),
        (without("PixelSpacing"), "slices tell no spacing (0028,0030)"),
    ],
)
def test_a_mosaic_that_tells_too_little_or_contradicts_itself_is_refused(tmp_path, change, words):
    write(tmp_path / "1.dcm", *change(*parts()))
    with pytest.raises(InputError) as caught:
        read_raw(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_numbers_of_slices_are_refused(tmp_path):
    write(tmp_path / "1.dcm", *parts(), count=12)
    with pytest.raises(InputError, match="header tells of 11 and of 12 slices"):
        read_raw(tmp_path)


@pytest.mark.parametrize("count", [None, COUNT])
def test_a_mosaic_without_its_private_header_is_refused_with_the_way_out(tmp_path, count):
    pixels, tags, _ = parts()
    if count:
        tags["ImageType"] = ["ORIGINAL", "PRIMARY", "M"]
    write_mosaic(tmp_path / "1.dcm", pixels, tags, count=count)
    with pytest.raises(
        InputError,
        match=r"a Siemens mosaic, .*no usable number.*export it as one file per slice.*dcm2niix",
    ):
        read_raw(tmp_path)


@pytest.mark.parametrize("change", ["cut", "empty", "long", "noise", "tags"])
def test_a_damaged_private_header_is_one_line(tmp_path, change):
    pixels, tags, fields = parts()
    whole = write_csa(fields)
    length = whole.index(b"SliceNormalVector") + 88
    csa = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "long": whole[:length] + b"\xff\xff\xff\x7f" + whole[length + 4 :],
        "noise": bytes(range(256)) * 3,
        "tags": whole[:8] + b"\xff\xff\xff\xff" + whole[12:],
    }[change]
    write_mosaic(tmp_path / "1.dcm", pixels, tags, csa)
    with pytest.raises(InputError, match="a Siemens mosaic") as caught:
        read_raw(tmp_path)
    assert "\n" not in str(caught.value)


def test_several_mosaics_are_several_volumes_and_copies_are_passed_over(tmp_path):
    pixels, tags, fields = parts()
    write(tmp_path / "1.dcm", pixels, tags, fields)
    write(tmp_path / "2.dcm", pixels, tags, fields)
    raw = read_raw(tmp_path)
    assert raw.volume.array.shape == (TILE[1], TILE[0], COUNT)
    assert raw.notes[1] == "11 copied slices are passed over"
    later = {"AcquisitionNumber": 2, "SOPInstanceUID": "1.2.3.4.2"}
    write(tmp_path / "2.dcm", np.where(pixels, pixels + 1, 0), tags | later, fields)
    with pytest.raises(
        InputError,
        match=r"several volumes in one series, 22 slices with 1.dcm \(tile 1\) and 2.dcm \(tile 1"
        r"\) at one position; they differ in acquisition \(none, 2\)",
    ):
        read_raw(tmp_path)


@pytest.mark.parametrize("change", ["aside", "between", "fewer", "reversed"])
def test_mosaics_at_different_places_are_several_volumes(tmp_path, change):
    pixels, tags, fields = parts()
    write(tmp_path / "1.dcm", pixels, tags, fields)
    if change in ("aside", "between"):
        # Half a step up, the slices of both would make one finer stack.
        way = AXES[2] * STEP / 2 if change == "between" else AXES[0] * 3
        place = np.array(tags["ImagePositionPatient"]) + way
        tags = tags | {"ImagePositionPatient": list(np.round(place, 9))}
    elif change == "fewer":
        pixels, tags, fields = parts(slices=SLICES[:10])
    else:
        pixels, tags, fields = parts(-1)
    write(tmp_path / "2.dcm", pixels, tags, fields)
    with pytest.raises(
        InputError,
        match=r"several volumes in one series, 2 Siemens mosaics, with 1.dcm and 2.dcm at differ",
    ):
        read_raw(tmp_path)


def test_a_mosaic_beside_single_slices_is_refused(tmp_path):
    write(tmp_path / "1.dcm", *parts())
    write_slice(tmp_path / "2.dcm", SLICES[0], tags_of(2, CORNER, AXES[:2].ravel(), SPACING))
    with pytest.raises(InputError, match="1 Siemens mosaics and 1 single slices in one series"):
        read_raw(tmp_path)


def test_phase_mosaics_are_left_out_beside_the_magnitude_and_refused_alone(tmp_path):
    phase = parts(ImageType=["ORIGINAL", "PRIMARY", "P", "ND", "MOSAIC"])
    write(tmp_path / "a" / "T1w" / "p.dcm", *phase)
    with pytest.raises(InputError, match="phase images, no volume of a head, by the image type"):
        read_raw(tmp_path / "a" / "T1w")
    write(tmp_path / "a" / "T1w" / "m.dcm", *parts())
    raw = read_raw(tmp_path / "a" / "T1w")
    assert raw.volume.array.shape[2] == COUNT
    assert raw.notes[1] == "1 phase images of the series are left out"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"], "DWI: not a sequence"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "MOSAIC"], "map: not a sequence"),
        (["ORIGINAL", "PRIMARY", "P", "ND", "MOSAIC"], "phase images,"),
        (["DERIVED", "SECONDARY", "MIP", "MOSAIC"], "projections,"),
    ],
)
def test_mosaics_of_other_kinds_are_left_aside(tmp_path, kind, words):
    write(tmp_path / "p1" / "T1w" / "1.dcm", *parts(ImageType=kind))
    write(tmp_path / "p2" / "T1w" / "1.dcm", *parts(PatientID="P2"))
    found = find_all(tmp_path, "T1w")
    assert [scan.subject for scan in found.scans] == ["p2"]
    (aside,) = found.aside
    assert aside.reason.startswith(words)


def test_memory_is_asked_for_before_a_mosaic_is_decoded(tmp_path, monkeypatch):
    write(tmp_path / "1.dcm", *parts())
    monkeypatch.setattr("brainuad.machine.limits.available_bytes", lambda: 20_000)
    monkeypatch.setattr("SimpleITK.ReadImage", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="GB of memory"):
        read_raw(tmp_path)


def test_frames_that_still_bear_the_word_are_no_mosaic(tmp_path):
    found = [
        (one, tags_of(k + 1, (0, 0, 3 * k), SpacingBetweenSlices=3)) for k, one in enumerate(SLICES)
    ]
    write_enhanced(tmp_path / "1.dcm", found, ImageType=MOSAIC)
    assert np.array_equal(read_raw(tmp_path).volume.array, SLICES.transpose(2, 1, 0))
