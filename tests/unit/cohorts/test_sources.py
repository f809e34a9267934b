"""Finding scans: whose mask is whose, and no work that grows faster than the number of scans."""

import csv
import os
import tempfile
from pathlib import Path

import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.cohorts.find import RawScan
from brainuad.cohorts.sources import bids_parts, find_raw
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError
from brainuad.inference.find_scans import find_wanted
from brainuad.volumes.read import dicom_series, first_dicom_file, quiet_gdcm


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("image", "mask", "own"),
    [
        ("sub-1_T1w", "sub-1_label-lesion_mask", True),
        ("sub-1_T1w", "sub-10_label-lesion_mask", False),
        ("sub-10_T1w", "sub-1_label-lesion_mask", False),
        ("sub-1_ses-1_T1w", "sub-1_ses-1_label-lesion_mask", True),
        ("sub-1_ses-1_T1w", "sub-1_ses-10_label-lesion_mask", False),
        ("sub-1_ses-10_T1w", "sub-1_ses-1_label-lesion_mask", False),
        ("sub-1_ses-1_T1w", "sub-1_ses-2_label-lesion_mask", False),
        ("sub-1_ses-1_T1w", "sub-10_ses-1_label-lesion_mask", False),
        ("sub-1_ses-1_T1w", "sub-1_label-lesion_mask", False),
        ("sub-1_T1w", "sub-1_ses-2_label-lesion_mask", True),
        ("sub-1_T1w", "sub-1_lesion_mask", True),
        ("sub-1_ses-1_T1w", "sub-1_acq-a+b_ses-1_lesion-old_mask", True),
        ("sub-1_T1w", "sub-1_desc-brain_mask", False),
        ("sub-1_T1w", "sub-1_label-lesion_probseg", False),
    ],
)
def test_a_bids_mask_belongs_to_its_subject_and_session(tmp_path, image, mask, own):
    subject = image.partition("_")[0]
    touch(tmp_path, f"{subject}/anat/{image}.nii.gz", f"derivatives/x/anat/{mask}.nii.gz")
    (scan,) = find_raw(tmp_path, "T1w")
    assert scan.healthy is not own
    assert scan.lesion_mask == (tmp_path / f"derivatives/x/anat/{mask}.nii.gz" if own else None)


# Few names, so that many masks are nearly those of an image.
SUBJECTS = st.sampled_from(["sub-1", "sub-10"])
SESSIONS = st.sampled_from(["", "ses-1", "ses-10"])
IMAGES = st.tuples(
    *(SUBJECTS, SESSIONS, st.sampled_from(["", "run-1", "acq-a+b"])),
    st.sampled_from(["T1w.nii.gz", "FLAIR.nii", "T1w.json"]),
)
MASKS = st.tuples(
    *(SUBJECTS, SESSIONS, st.sampled_from(["label-lesion", "lesion", "desc-brain"])),
    st.sampled_from(["mask.nii.gz", "mask.nii", "dseg.nii.gz"]),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(IMAGES, min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(["a", "b/c"]), MASKS), max_size=8),
    st.booleans(),
)
def test_bids_is_listed_as_a_search_for_each_image_would(images, masks, every):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        touch(root, "dataset_description.json")
        for parts in images:
            folder = "/".join(part for part in (*parts[:2], "anat") if part)
            touch(root, f"{folder}/{'_'.join(filter(None, parts))}")
        for where, parts in masks:
            touch(root, f"derivatives/{where}/{parts[0]}/{'_'.join(filter(None, parts))}")
        expected = searched(root, every)
        if not expected:
            with pytest.raises(InputError, match="in this BIDS dataset"):
                find_raw(root, "T1w", every)
            return
        assert find_raw(root, "T1w", every) == expected


def searched(root, every):
    """What `find_raw` has to list, with a search of all derivatives for each image."""
    found, sessions = {}, {}
    for path in sorted(root.glob("sub-*/**/anat/*.nii*")):
        parts = bids_parts(path.name)
        if parts is None or parts[2] not in ("T1w", "FLAIR"):
            continue
        subject, session, sequence = parts
        if sessions.setdefault(subject, session) != session and not every:
            continue
        masks = [
            mask
            for mask in sorted((root / "derivatives").glob("**/*_mask.nii*"))
            if "lesion" in mask.name
            and mask.name.split("_")[0] == subject
            and (not session or session in mask.name.split("_"))
        ]
        mask = masks[0] if masks else None
        scan = RawScan(subject, sequence, path, healthy=not masks, lesion_mask=mask)
        found.setdefault((subject, sequence, path.name if every else ""), scan)
    return list(found.values())


def write_flat(folder, count):
    touch(folder, *(f"p{i}/T1w.nii.gz" for i in range(count)))
    touch(folder, *(f"p{i}/lesion.nii.gz" for i in range(0, count, 2)))
    return folder


def write_bids(folder, count):
    for i in range(count):
        name = f"sub-{i}"
        touch(folder, f"{name}/ses-1/anat/{name}_ses-1_T1w.nii.gz")
        mask = f"{name}_ses-1_label-lesion_mask.nii.gz"
        touch(folder, f"derivatives/manual/{name}/ses-1/anat/{mask}")
    return folder


def write_dicom(folder, count):
    for i in range(count):
        path = folder / f"p{i}" / "series" / "0.dcm"
        path.parent.mkdir(parents=True)
        sitk.WriteImage(sitk.Image(4, 4, sitk.sitkUInt16), str(path))
    return folder


def write_csv(folder, count):
    write_flat(folder, count)
    with (folder / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "image"]])
        csv.writer(file).writerows([f"p{i}", f"p{i}/T1w.nii.gz"] for i in range(count))
    return folder / "scans.csv"


@pytest.mark.parametrize("write", [write_flat, write_bids, write_dicom, write_csv])
def test_so_many_more_folders_are_so_many_more_listings(write, tmp_path, monkeypatch):
    """Twice as many further subjects cost twice as many further listings of folders."""
    listed = []
    for name in ("scandir", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real: (listed.append(a), real(*a))[1])

    def listings(count):
        source = write(tmp_path / str(count), count)
        listed.clear()
        assert len(find_raw(source, "T1w")) == count
        return len(listed)

    few, some, many = listings(3), listings(6), listings(12)
    assert many - some == 2 * (some - few)
    # About as often as there are folders, of which BIDS has 3 a subject and 3 for its masks.
    assert many <= 12 * 12


def test_the_headers_of_a_dicom_folder_are_read_once(tmp_path, monkeypatch):
    source = write_dicom(tmp_path / "dicom", 3)
    asked = []
    reader = sitk.ImageSeriesReader
    for name in ("GetGDCMSeriesIDs", "GetGDCMSeriesFileNames"):
        real = getattr(reader, name)
        counted = staticmethod(lambda *a, real=real: (asked.append(a[0]), real(*a))[1])
        monkeypatch.setattr(reader, name, counted)
    assert [scan.subject for scan in find_raw(source, "T1w")] == ["p0", "p1", "p2"]
    assert asked == [str(source / f"p{i}" / "series") for i in range(3)]


def test_the_first_file_is_that_of_the_first_series(tmp_path):
    for name in ("a", "b", "c"):
        # Each image gets a series of its own.
        sitk.WriteImage(sitk.Image(4, 4, sitk.sitkUInt16), str(tmp_path / f"{name}.dcm"))
    series = dicom_series(tmp_path)
    assert len(series) == 3
    with quiet_gdcm():
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), series[0])
    assert first_dicom_file(tmp_path) == Path(names[0])
    touch(tmp_path, "empty/notes.txt")
    assert first_dicom_file(tmp_path / "empty") is None


def test_a_link_to_a_folder_of_dicom_is_a_series_and_files_behind_it_are_not_nifti(tmp_path):
    write_dicom(tmp_path / "store", 1)
    touch(tmp_path, "store/p0/behind/x.nii.gz")
    touch(tmp_path, "scans/notes.txt")
    (tmp_path / "scans" / "t2").symlink_to(tmp_path / "store" / "p0" / "series")
    (tmp_path / "scans" / "all").symlink_to(tmp_path / "store" / "p0")
    (scan,) = find_raw(tmp_path / "scans", "T1w")
    assert (scan.subject, scan.sequence, scan.image.name) == ("t2", "T2w", "t2")


class Counted(list):
    """Counts how often it is gone through."""

    times = 0

    def __iter__(self):
        self.times += 1
        return super().__iter__()


def test_splits_go_through_the_scans_as_often_for_many_as_for_few():
    times = []
    for count in (10, 40):
        scans = [
            RawScan(f"s{i}", sequence, None, healthy=i % 5 > 0, site="AB"[i % 2])
            for i in range(count)
            for sequence in ("T1w", "FLAIR")
        ]
        counted = Counted(scans)
        assert assign_splits(counted, 0, 0.2, 0.2) == assign_splits(scans, 0, 0.2, 0.2)
        times.append(counted.times)
    assert times[0] == times[1]


def test_scans_of_one_name_are_numbered(tmp_path):
    names = ["s", "s", "s_T1w-2", "s", "t"]
    with (tmp_path / "scans.csv").open("w", newline="") as file:
        rows = [[name, f"{i}.nii.gz"] for i, name in enumerate(names)]
        csv.writer(file).writerows([["subject", "image"], *rows])
    found = find_wanted(tmp_path / "scans.csv", "T1w", tmp_path / "out", unknown="T1w")
    ids = [item.scan_id for item in found.wanted]
    assert ids == ["s_T1w", "s_T1w-2", "s_T1w-2_T1w", "s_T1w-3", "t_T1w"]
