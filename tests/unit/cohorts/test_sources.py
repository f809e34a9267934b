"""Finding scans: whose mask is whose, and no work that grows faster than the number of scans."""

import csv
import os

import numpy as np
import pydicom
import pytest
from dicom_files import tags_of, write_slice

from brainuad.cohorts.find import find_all, find_raw
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.splits import assign_splits
from brainuad.inference.find_scans import find_wanted


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
        ("sub-1_ses-1_T1w", "sub-1_label-lesion_mask", True),
        ("sub-1_T1w", "sub-1_ses-2_label-lesion_mask", False),
        ("sub-1_T1w", "sub-1_lesion_mask", True),
        ("sub-1_ses-1_T1w", "sub-1_ses-1_lesion-old_mask", True),
        ("sub-1_T1w", "sub-1_desc-brain_mask", False),
        ("sub-1_T1w", "sub-1_label-lesion_probseg", False),
    ],
)
def test_a_bids_mask_belongs_to_its_subject_and_session(tmp_path, image, mask, own):
    subject = image.partition("_")[0]
    touch(tmp_path, f"{subject}/anat/{image}.nii.gz", f"derivatives/x/anat/{mask}.nii.gz")
    found = find_all(tmp_path, "T1w")
    (scan,) = found.scans
    path = tmp_path / f"derivatives/x/anat/{mask}.nii.gz"
    assert scan.lesion_mask == (path if own else None)
    used = path in (scan.lesion_mask, scan.brain_mask)
    assert (path in [aside.path for aside in found.aside]) is not used
    # A label of another visit is not this scan's, and its person is not healthy all the same.
    theirs = mask.startswith(f"{subject}_") and "lesion" in mask and "probseg" not in mask
    assert scan.healthy is not theirs


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
        write_slice(path, np.ones((4, 4)), tags_of(1, (0, 0, 0)))
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
    real = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda p, **k: (asked.append(p), real(p, **k))[1])
    assert [scan.subject for scan in find_raw(source, "T1w")] == ["p0", "p1", "p2"]
    assert asked == [source / f"p{i}" / "series" / "0.dcm" for i in range(3)]


def test_linked_folders_are_entered_once(tmp_path):
    write_dicom(tmp_path / "store", 1)
    touch(tmp_path, "store/p0/behind/x.nii.gz")
    touch(tmp_path, "scans/notes.txt")
    (tmp_path / "scans" / "p7").mkdir()
    (tmp_path / "scans" / "p7" / "t2").symlink_to(tmp_path / "store" / "p0" / "series")
    (tmp_path / "scans" / "p8").symlink_to(tmp_path / "store" / "p0")
    (tmp_path / "store" / "p0" / "loop").symlink_to(tmp_path / "scans")
    found = find_all(tmp_path / "scans", "T1w")
    taken = {(scan.subject, scan.sequence) for scan in found.scans}
    assert taken == {("p8", "T1w"), ("x", "T1w")}
    links = {aside.path.name for aside in found.aside if "link" in aside.reason}
    assert links == {"t2", "loop"}


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
