"""Series of DICOM files: geometry, copies, kinds of images, enhanced files."""

import numpy as np
import pydicom
import pytest
from dicom_files import tags_of, write_enhanced, write_series, write_slice

from brainuad.cohorts.find import find_all
from brainuad.errors import InputError
from brainuad.volumes.dicom.kinds import PLAIN, kind_of
from brainuad.volumes.read import read_raw

RNG = np.random.default_rng(0)
A = RNG.integers(1, 4000, (6, 8, 10))
LOCALIZER = "a localizer: 6 slices in 3 directions"
AFFINE = np.array([[-4.0, 0, 0, 80], [0, -4, 0, 96], [0, 0, 4, -80], [0, 0, 0, 1]])


def slices(**more):
    """`[pixels, tags]` of `A`."""
    return [
        [A[:, :, k].T, tags_of(k + 1, (-80, -96, -80 + 4 * k), **more)] for k in range(A.shape[2])
    ]


def write(folder, found):
    for i, (pixels, tags) in enumerate(found):
        write_slice(folder / f"{i:03d}.dcm", pixels, tags)


def check_read(folder, *notes):
    raw = read_raw(folder)
    assert np.array_equal(raw.volume.array, A)
    np.testing.assert_allclose(raw.volume.affine, AFFINE, atol=1e-4)
    assert raw.notes == ("DICOM series", *notes)


@pytest.mark.parametrize("step", [4.0, 1.2, 0.7])
@pytest.mark.parametrize("decimals", [1, 2])
def test_rounded_positions_are_no_alarm(tmp_path, step, decimals):
    found = slices()
    for k, (_, tags) in enumerate(found):
        tags["ImagePositionPatient"] = list(np.round([-80.03, -96.07, -79.97 + step * k], decimals))
    write(tmp_path, found)
    volume = read_raw(tmp_path).volume
    assert np.array_equal(volume.array, A)
    assert volume.spacing_mm == pytest.approx((4, 4, step), abs=0.02)


def test_positions_in_whole_mm_are_read_and_noted(tmp_path):
    found = slices()
    for k, (_, tags) in enumerate(found):
        tags["ImagePositionPatient"] = list(np.round([0, 0, 4.3 * k]))
    write(tmp_path, found)
    raw = read_raw(tmp_path)
    assert raw.volume.spacing_mm[2] == pytest.approx(4.3, abs=0.05)
    assert any("mm off a regular grid" in note for note in raw.notes)


def test_missing_slices_are_counted_with_their_places(tmp_path):
    found = slices()
    del found[6:8], found[2]
    write(tmp_path, found)
    with pytest.raises(
        InputError,
        match=r"3 slices are missing between -76 and -68 mm, between -60 and -48 mm; copy or",
    ):
        read_raw(tmp_path)


def test_slices_that_the_header_counts_and_nobody_has_are_noted(tmp_path):
    write(tmp_path, slices(ImagesInAcquisition=12))
    check_read(tmp_path, "the header tells of 12 images, 10 are here")


def test_every_other_slice_is_told_by_the_distance_in_the_header(tmp_path):
    write(tmp_path, slices(SpacingBetweenSlices=2, SliceThickness=2))
    with pytest.raises(InputError, match="one of 2 is here"):
        read_raw(tmp_path)
    # A gap of twice the thickness, told by nothing but the positions.
    write(tmp_path, slices(SliceThickness=2))
    check_read(tmp_path)


def test_a_slice_that_was_copied_in_place_of_another_is_noted(tmp_path):
    found = slices()
    found[4][0] = found[3][0]
    write(tmp_path, found)
    assert (
        "1 slices hold the same image as the next, such as at -68 and -64 mm"
        in read_raw(tmp_path).notes
    )


@pytest.mark.parametrize("part", ["P", "P_FFE", "R", "I", "PHASE MAP", "MIP", "LOCALIZER"])
def test_the_magnitude_is_told_from_the_rest(tmp_path, part):
    rest = slices(ImageType=["ORIGINAL", "PRIMARY", part, "ND"])
    write(tmp_path, [s for pair in zip(slices(), rest, strict=True) for s in pair])
    (note,) = read_raw(tmp_path).notes[1:]
    assert note.startswith("10 ")
    assert note.endswith("of the series are left out")
    assert np.array_equal(read_raw(tmp_path).volume.array, A)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"EchoNumbers": (1, 2)}, r"echo number \(1, 2\)"),
        ({"EchoTime": (20, 90)}, r"echo time \(20, 90\)"),
        ({"DiffusionBValue": (0.0, 1000.0)}, r"b-value \(0, 1000\)"),
        ({"TemporalPositionIdentifier": (1, 2)}, r"time point \(1, 2\)"),
        ({"ImageType": (["O", "P", "W"], ["O", "P", "F"])}, r"image type \(O\\P\\W, O\\P\\F\)"),
        ({"InversionTime": (400, 1100)}, "inversion time"),
        ({}, "nothing in their headers tells them apart"),
    ],
)
def test_several_volumes_are_refused_with_what_tells_them_apart(tmp_path, values, words):
    both = [slices(**{name: value[i] for name, value in values.items()}) for i in range(2)]
    for one in both[1]:
        one[0] = one[0] + 1
    write(tmp_path, both[0] + both[1])
    with pytest.raises(InputError, match=f"several volumes in one series.*{words}"):
        read_raw(tmp_path)


def test_effective_echo_times_that_differ_by_rounding_are_one_echo(tmp_path):
    found = slices()
    for i, (_, tags) in enumerate(found):
        tags["EchoTime"] = 10 + 0.01 * (i % 2)
    write(tmp_path, found)
    check_read(tmp_path)


def test_frames_of_reference_of_two_sessions_are_refused_and_one_per_slice_is_read(tmp_path):
    found = slices()
    for i, (_, tags) in enumerate(found):
        tags["FrameOfReferenceUID"] = f"1.2.{i}"
    write(tmp_path, found)
    check_read(tmp_path)
    for i, (_, tags) in enumerate(found):
        tags["FrameOfReferenceUID"] = f"1.2.{i // 5}"
    write(tmp_path, found)
    with pytest.raises(InputError, match="2 frames of reference"):
        read_raw(tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 140, 300, -100])
@pytest.mark.parametrize("name", ["009.dcm", "IM009"])
def test_a_file_that_is_cut_short_is_named_even_at_the_end(tmp_path, kept, name):
    write(tmp_path, slices()[:-1])
    write_slice(tmp_path / name, *slices()[-1])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(InputError, match=f"{name}: .*copy"):
        read_raw(tmp_path)


def test_reports_and_other_files_are_no_slices(tmp_path):
    write(tmp_path, slices())
    report = tags_of(99, (0, 0, 0), Modality="SR", SeriesInstanceUID="1.2.9")
    write_slice(tmp_path / "report.dcm", np.ones((1, 1)), report, "1.2.840.10008.5.1.4.1.1.88.11")
    data = (tmp_path / "report.dcm").read_bytes()
    # Rows and columns end the header of a picture; a report has none.
    (tmp_path / "report.dcm").write_bytes(data[: data.index(b"\x28\x00\x02\x00US")])
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "notes.txt").write_text("T1w")
    (tmp_path / "done").touch()
    (tmp_path / "._001.dcm").write_bytes(b"Mac OS X")
    (tmp_path / "more").symlink_to("nowhere")
    check_read(tmp_path)
    (tmp_path / "010.dcm").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"010.dcm: no readable DICOM file"):
        read_raw(tmp_path)


def test_an_enhanced_file_is_read_by_the_positions_and_scales_of_its_frames(tmp_path):
    found = slices()
    for k, one in enumerate(found):
        one[0] = one[0] * (k + 1)
        one[1] |= {"RescaleSlope": 1 / (k + 1), "RescaleIntercept": 0}
    order = RNG.permutation(10)
    write_enhanced(tmp_path / "1", [found[k] for k in order])
    raw = read_raw(tmp_path)
    np.testing.assert_allclose(raw.volume.array, A, rtol=1e-5)
    np.testing.assert_allclose(raw.volume.affine, AFFINE, atol=1e-4)
    del found[4]
    write_enhanced(tmp_path / "1", found)
    with pytest.raises(InputError, match="1 slice is missing between -68 and -60 mm"):
        read_raw(tmp_path)


def test_the_kinds_of_an_enhanced_files_frames_are_told_apart(tmp_path):
    both = slices(FrameType=["ORIGINAL", "PRIMARY", "M"])
    both += slices(FrameType=["ORIGINAL", "PRIMARY", "P"])
    write_enhanced(tmp_path / "1", both)
    check_read(tmp_path, "10 phase images of the series are left out")
    write_enhanced(tmp_path / "1", slices(TemporalPositionIndex=1) + [
        [pixels + 1, tags] for pixels, tags in slices(TemporalPositionIndex=2)
    ])  # fmt: skip
    with pytest.raises(InputError, match=r"differ in time point \(1, 2\)"):
        read_raw(tmp_path)


def test_frames_without_positions_are_refused(tmp_path):
    pixels = np.stack([pixels for pixels, _ in slices()])
    write_slice(tmp_path / "1.dcm", pixels, slices()[0][1] | {"NumberOfFrames": 10})
    with pytest.raises(InputError, match="10 frames of which the header tells no positions"):
        read_raw(tmp_path)


def test_real_images_are_a_scan_where_they_are_alone(tmp_path):
    real = slices(ImageType=["ORIGINAL", "PRIMARY", "R_IR"])
    write(tmp_path, real)
    check_read(tmp_path)
    for i, (pixels, tags) in enumerate(slices(ImageType=["ORIGINAL", "PRIMARY", "I_IR"])):
        write_slice(tmp_path / f"i{i}.dcm", pixels, tags)
    with pytest.raises(InputError, match="real images and 10 imaginary images, no volume"):
        read_raw(tmp_path)


def test_a_mosaic_is_told_by_its_number_of_images_too(tmp_path):
    pixels, tags = slices()[0]
    write_slice(tmp_path / "1.dcm", pixels, tags)
    file = pydicom.dcmread(tmp_path / "1.dcm")
    file.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 40)
    file.save_as(tmp_path / "1.dcm")
    with pytest.raises(InputError, match="a Siemens mosaic.*or convert it with dcm2niix"):
        read_raw(tmp_path)


def test_one_file_of_a_series_is_answered_with_its_folder(tmp_path):
    write(tmp_path / "T1w", slices())
    for take in (find_all, lambda path, _: read_raw(path)):
        with pytest.raises(
            InputError, match=r"003.dcm: a DICOM file; give its folder .*T1w instead"
        ):
            take(tmp_path / "T1w" / "003.dcm", "T1w")


@pytest.mark.parametrize(
    ("folder", "tags", "words"),
    [
        ("head", {"Modality": "CT", "SeriesDescription": "HEAD 1.0 H31s"}, "CT: not a sequence"),
        ("T1w", {"Modality": "PT"}, "PET: not a sequence"),
        ("T1w", {"Modality": "XA"}, "XA: not a sequence"),
        ("T1w", {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"]}, "projections,"),
        ("T1w", {"ImageType": ["DERIVED", "PRIMARY", "MIP_SAG"]}, "projections,"),
        ("T1w", {"VolumeBasedCalculationTechnique": "MAX_IP"}, "projections,"),
        ("T1w", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "images of a localizer,"),
        ("T1w", {"SeriesDescription": "3 plane localizer"}, "localizer: not a sequence"),
        ("T1w", {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "phase images,"),
        ("T1w", {"ComplexImageComponent": "IMAGINARY"}, "imaginary images,"),
        ("T1w", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "map: not a sequence"),
    ],
)
def test_what_is_no_scan_is_left_aside_by_what_its_header_says(tmp_path, folder, tags, words):
    write_series(tmp_path / "p1" / folder, A, **tags)
    write_series(tmp_path / "p2" / "T1w", A, PatientID="P2")
    found = find_all(tmp_path, "T1w")
    assert [scan.subject for scan in found.scans] == ["p2"]
    (aside,) = found.aside
    assert aside.reason.startswith(words)
    assert not aside.wanted


def test_a_localizer_beside_the_scan_is_left_out_and_a_second_scan_is_a_question(tmp_path):
    folder = tmp_path / "p1" / "T1w"
    write(folder, slices())
    for i in range(6):
        turned = ((1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1))[i % 3]
        tags = tags_of(i, (0, 0, i), turned, SeriesInstanceUID="1.2.7", SeriesDescription="plan")
        write_slice(folder / f"loc{i}.dcm", A[:, :, i].T, tags)
    (scan,) = find_all(tmp_path, "T1w").scans
    check_read(
        scan.image, "another series is left out: a localizer: 6 slices in 3 directions (plan)"
    )
    for k, (pixels, tags) in enumerate(slices(SeriesInstanceUID="1.2.8", SeriesDescription="T2")):
        write_slice(folder / f"t2_{k}.dcm", pixels, tags)
    with pytest.raises(InputError, match=r"holds 2 DICOM series \(T1w, T2\); put each"):
        read_raw(folder)


@pytest.mark.parametrize(
    "text",
    [
        r"ORIGINAL\PRIMARY\M\ND\NORM",
        r"DERIVED\PRIMARY\MPR\NORM",
        r"ORIGINAL\PRIMARY\M_FFE\M\FFE",
        r"DERIVED\SECONDARY\REFORMATTED\AVERAGE",
        r"ORIGINAL\PRIMARY\OTHER",
        r"DERIVED\PRIMARY\DIXON\IN_PHASE",
        r"ORIGINAL\PRIMARY\M\DIS3D\MFSPLIT",
        r"ORIGINAL\PRIMARY",
        "",
    ],
)
def test_image_types_of_ordinary_scans_are_plain(text):
    assert kind_of(text) == PLAIN
