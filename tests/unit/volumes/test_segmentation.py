"""DICOM Segmentation objects lie on their series, in any orientation, order and form of file."""

import shutil
import tempfile
from pathlib import Path

import cc3d
import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import (
    ENHANCED,
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
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from segmentation_reader import FLIP, errors_in, labels_of, sources_of

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.dicom.read import read_dicom
from brainuad.volumes.dicom.segmentation import Algorithm, write_segmentation

ALGORITHM = Algorithm("brainuad test", "1.2", {"threshold": "0.5"}, "weights")
NAMES = ["Finding 1, 1.20 ml", "Finding 2, 0.30 ml"]
FORMS = ("files", "frames", "two files of frames", "mosaic")
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


def write_any(folder, form="files", turned=AXIAL, seed=0, digits=6, gap=1.5, columns=7, **more):
    """A series of 9 x `columns` voxels and 6 slices, in files of random names."""
    rng = np.random.default_rng(seed)
    right, down = np.array(turned, float).reshape(2, 3)
    normal = np.cross(right, down) * rng.choice([-1, 1])
    spacing, step, corner = rng.uniform(1, 3, 2), 2 + gap, rng.uniform(-90, 90, 3)
    pixels = rng.integers(1, 900, (6, 9, columns)).astype("u2")
    more = {"FrameOfReferenceUID": "1.2.77", "SliceThickness": 2, **more}
    slices = []
    for k in range(6):
        place = np.round(corner + k * step * normal, digits)
        tags = tags_of(k + 1, place, np.round(np.r_[right, down], max(digits, 4)), spacing)
        slices.append((pixels[k], tags | more))
    order = rng.permutation(6)
    names = [f"{name}.dcm" for name in rng.choice(1000, 6, replace=False)]
    if form == "files":
        for name, k in zip(names, order, strict=True):
            kept = {n: v for n, v in slices[k][1].items() if v is not None}
            write_slice(folder / name, slices[k][0], kept)
    elif form == "mosaic":
        whole = mosaic_of(pixels)
        place = mosaic_corner(corner, np.r_[right, down], spacing, (9, columns), whole.shape)
        tags = slices[0][1] | {"ImagePositionPatient": [float(x) for x in place]}
        tags |= {"ImageType": MOSAIC, "SpacingBetweenSlices": step}
        write_mosaic(folder / "1.dcm", whole, tags, write_csa(mosaic_fields(6, normal)), 6)
    else:
        halves = [order] if form == "frames" else [order[:2], order[2:]]
        for name, half in zip(names, halves, strict=False):
            uid = f"1.2.3.4.{100 + half[0]}"
            write_enhanced(folder / name, [slices[k] for k in half], SOPInstanceUID=uid)


def drawn_labels(folder, seed=0):
    """Two boxes on the grid that the series is read on."""
    volume, _ = read_dicom(folder)
    rng = np.random.default_rng(seed)
    labels = np.zeros(volume.array.shape, np.uint8)
    for number in (1, 2):
        start = [int(rng.integers(0, size - 2)) for size in labels.shape]
        labels[tuple(slice(s, s + int(rng.integers(1, 4))) for s in start)] = number
    return Volume(labels, volume.affine)


def written(folder, labels, out=None, algorithm=ALGORITHM, names=NAMES):
    path = out or folder.parent / "seg.dcm"
    write_segmentation(path, folder, labels, names, algorithm)
    return path


def assert_sources(file, folder):
    """Each frame refers to the image that lies in its plane."""
    images = {}
    for path in folder.iterdir():
        source = pydicom.dcmread(path)
        images[source.SOPInstanceUID] = source
    for place, uid, frame in sources_of(file):
        source = images[uid]
        if frame is not None:
            source = source.PerFrameFunctionalGroupsSequence[frame - 1].PlanePositionSequence[0]
        elif "MOSAIC" in source.ImageType:
            continue
        expected = np.array(source.ImagePositionPatient, float)
        # Rounded places lie beside the regular grid.
        assert np.linalg.norm(place - expected) < 0.15
    assert {uid for _, uid, _ in sources_of(file)} <= set(images)
    (series,) = pydicom.dcmread(file).ReferencedSeriesSequence
    told = [one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence]
    assert sorted(told) == sorted(images)
    for one in series.ReferencedInstanceSequence:
        assert one.ReferencedSOPClassUID == images[one.ReferencedSOPInstanceUID].SOPClassUID


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(FORMS),
    turn=st.one_of(st.sampled_from([AXIAL, SAGITTAL, CORONAL]), st.integers(0, 2**31)),
    seed=st.integers(0, 2**31),
    digits=st.sampled_from([1, 3, 6]),
    gap=st.sampled_from([-0.5, 0, 1.5]),
)
def test_frames_equal_the_mask_voxel_by_voxel(form, turn, seed, digits, gap):
    if isinstance(turn, int):
        turn = tuple(Rotation.random(random_state=turn).as_matrix()[:2].ravel())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "series"
        write_any(folder, form, turn, seed, digits, gap)
        labels = drawn_labels(folder, seed)
        file = written(folder, labels, names=NAMES)
        assert np.array_equal(labels_of(file, labels.affine, labels.array.shape), labels.array)
        assert_sources(file, folder)


@pytest.fixture(scope="module")
def oblique(tmp_path_factory):
    """A series of every form, tilted, with its labels and its object."""
    found = {}
    for form in FORMS:
        folder = tmp_path_factory.mktemp("oblique") / "series"
        turned = Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix()[:2].ravel()
        told = {"PatientName": "Doe^Jane", "StudyDate": "20260102"}
        # SimpleITK misreads the last pixels where their number is no multiple of 8.
        write_any(folder, form, turned, seed=3, columns=8, **told)
        labels = drawn_labels(folder, seed=5)
        found[form] = folder, labels, written(folder, labels)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_dciodvfy_finds_no_error(oblique, form):
    assert errors_in(oblique[form][2]) == []


@pytest.mark.parametrize("form", FORMS)
def test_highdicom_reads_the_volume(oblique, form):
    _, labels, file = oblique[form]
    read = highdicom.seg.segread(file)
    assert read.number_of_segments == 2
    volume = read.get_volume(combine_segments=True)
    found = np.zeros(labels.array.shape)
    index = np.argwhere(volume.array)
    points = volume.affine @ np.c_[index, np.ones(len(index))].T
    at = np.linalg.inv(labels.affine) @ FLIP @ points
    assert np.abs(at - np.rint(at)).max() < 1e-3
    found[tuple(np.rint(at[:3]).astype(int))] = volume.array[tuple(index.T)]
    assert np.array_equal(found, labels.array)


@pytest.mark.parametrize("form", FORMS)
def test_simpleitk_reads_the_frames(oblique, form):
    _, labels, file = oblique[form]
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0
    expected = [
        number == labels.array[:, :, k].T
        for number in (1, 2)
        for k in np.flatnonzero((labels.array == number).any(axis=(0, 1)))
    ]
    assert sorted(frame.tobytes() for frame in frames) == sorted(e.tobytes() for e in expected)


def test_what_is_coded(oblique):
    folder, _, file = oblique["frames"]
    made, source = pydicom.dcmread(file), pydicom.dcmread(next(folder.iterdir()))
    assert (made.Modality, made.SegmentationType) == ("SEG", "BINARY")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert made[name].value == source[name].value, name
    assert made.StudyDate == "20260102"
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert made.SeriesDescription == "brainuad: anomalies of T1w"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert source.SOPClassUID == ENHANCED
    assert [one.SegmentLabel for one in made.SegmentSequence] == NAMES
    trackers = set()
    for number, one in enumerate(made.SegmentSequence, 1):
        assert one.SegmentNumber == number
        assert one.SegmentAlgorithmType == "AUTOMATIC"
        (category,) = one.SegmentedPropertyCategoryCodeSequence
        (kind,) = one.SegmentedPropertyTypeCodeSequence
        (region,) = one.AnatomicRegionSequence
        codes = [(c.CodingSchemeDesignator, c.CodeValue) for c in (category, kind, region)]
        assert codes == [("SCT", "49755003"), ("SCT", "52988006"), ("SCT", "12738006")]
        (algorithm,) = one.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("brainuad test", "1.2")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert "threshold=0.5" in algorithm.AlgorithmParameters
        trackers.add((one.TrackingID, one.TrackingUID))
    assert len(trackers) == 2


def test_the_same_labels_by_the_same_algorithm_get_the_same_identifiers(oblique, tmp_path):
    folder, labels, file = oblique["files"]

    def uids(**changed):
        path = written(folder, labels, tmp_path / "seg.dcm", **changed)
        found = pydicom.dcmread(path)
        return {
            found.SOPInstanceUID,
            found.SeriesInstanceUID,
            *(one.TrackingUID for one in found.SegmentSequence),
        }

    first = uids()
    assert pydicom.dcmread(file).SOPInstanceUID in first
    assert uids() == first
    assert not uids(algorithm=ALGORITHM._replace(stamp="other weights")) & first
    labels.array[0, 0, 0] = 1
    assert not uids() & first


EMPTY = ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")


def test_a_header_without_optional_attributes_is_filled_with_empty_ones(tmp_path):
    folder = tmp_path / "series"
    write_any(folder, PatientID=None, SeriesDescription=None, SliceThickness=None)
    made = pydicom.dcmread(file := written(folder, drawn_labels(folder)))
    for name in (*EMPTY, "PatientID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        assert name in made
        assert not made[name].value
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    # Slices that tell no thickness are taken to touch.
    assert measures.SliceThickness == measures.SpacingBetweenSlices == 3.5
    assert errors_in(file) == []


@pytest.mark.parametrize("charset", ["ISO_IR 100", ["", "ISO 2022 IR 87"]])
def test_odd_values_are_emptied_and_names_kept_in_any_alphabet(tmp_path, charset):
    name = "Müller^Zoë" if charset == "ISO_IR 100" else "Yamada^Tarou=山田^太郎"
    folder = tmp_path / "series"
    odd = {"PatientSex": "unknown", "PatientBirthDate": "born", "StudyTime": ["1", "2"]}
    with pydicom.config.disable_value_validation():
        write_any(
            folder, SpecificCharacterSet=charset, PatientName=name, SeriesNumber="7", **odd,
            SeriesDescription="a\\b" * 30, PatientID="1234",
        )  # fmt: skip
    made = pydicom.dcmread(written(folder, drawn_labels(folder)))
    assert str(made.PatientName) == name
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert (made.PatientSex, made.PatientBirthDate, made.StudyTime) == ("", "", "")
    assert made.PatientID == "1234"
    assert made.SeriesNumber == 1007


@pytest.mark.parametrize(
    "name", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID"]
)
def test_a_header_without_an_identifier_is_refused_in_one_line(tmp_path, name):
    folder = tmp_path / "series"
    write_any(folder, **{name: None})
    with pytest.raises(InputError, match=f"tells no {name}, .*leave --dicom-seg out") as caught:
        written(folder, drawn_labels(folder))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "seg.dcm").exists()


def test_slices_that_cannot_be_told_apart_and_labels_of_another_grid_are_refused(tmp_path):
    folder = tmp_path / "series"
    write_any(folder)
    labels = drawn_labels(folder)
    for k, path in enumerate(sorted(folder.iterdir())):
        source = pydicom.dcmread(path)
        source.FrameOfReferenceUID = f"1.2.{k + 1}"
        source.save_as(path)
    with pytest.raises(InputError, match="6 FrameOfReferenceUIDs"):
        written(folder, labels)
    shutil.rmtree(folder)
    write_any(folder, SOPInstanceUID="1.2.3.4.5")
    with pytest.raises(InputError, match="6 files with 1 SOPInstanceUIDs"):
        written(folder, labels)
    shutil.rmtree(folder)
    write_any(folder)
    with pytest.raises(InputError, match="affine differs"):
        written(folder, Volume(labels.array, labels.affine + np.eye(4)))
    with pytest.raises(InputError, match="found grid"):
        written(folder, Volume(labels.array[1:], labels.affine))


@pytest.mark.slow
def test_a_real_scan_with_hundreds_of_findings(real_data, tmp_path):
    image = nib.load(real_data / "openms_longitudinal_raw/patient03/study2_FLAIR.nii.gz")
    array, affine = image.get_fdata(), FLIP @ image.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    turned = (affine[:3, :2] / lengths[:2]).T.ravel()
    for k in range(array.shape[2]):
        place = affine[:3, 3] + k * affine[:3, 2]
        tags = tags_of(k + 1, place, turned, lengths[[1, 0]], FrameOfReferenceUID="1.2.77")
        write_slice(tmp_path / f"series/{k * 29 % 48}.dcm", array[:, :, k].T / 8, tags)
    volume, _ = read_dicom(tmp_path / "series")
    numbers = cc3d.connected_components(array > np.quantile(array, 0.998))
    assert numbers.max() > 100
    labels = Volume(np.minimum(numbers, 100), volume.affine)
    names = [f"Finding {number + 1}" for number in range(100)]
    file = written(tmp_path / "series", labels, names=names)
    # The file that the slices were made of has the last word.
    assert np.array_equal(labels_of(file, image.affine, array.shape), labels.array)
    volume = highdicom.seg.segread(file).get_volume(combine_segments=True)
    assert np.array_equal(
        np.bincount(volume.array.ravel())[1:], np.bincount(numbers.clip(0, 100).ravel())[1:]
    )
    assert errors_in(file) == []
