"""WMH 2017: sites and scanners from the folders, whatever lies above them."""

from pathlib import Path

import pytest

from brainuad.errors import InputError
from data_prep import wmh2017

CASES = ["Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100"]
NAMES = ("pre/T1.nii.gz", "pre/FLAIR.nii.gz", "orig/FLAIR.nii.gz", "wmh.nii.gz")


@pytest.mark.parametrize("above", ["", "training/", "dataverse_files/test/"])
def test_sites_subjects_and_labels(touch, above):
    root = touch(f"{above}{case}/{name}" for case in CASES for name in NAMES)
    scans = wmh2017.find(root)
    assert {(s.subject, s.site) for s in scans} == {
        ("Utrecht_0", "Utrecht"),
        ("Singapore_50", "Singapore"),
        ("Amsterdam_GE3T_100", "Amsterdam_GE3T"),
    }
    assert len(scans) == 6
    for scan in scans:
        assert (scan.healthy, scan.pathology) == (False, "wmh")
        assert scan.image.parent.name == "pre"
        assert scan.image.name == {"T1w": "T1", "FLAIR": "FLAIR"}[scan.sequence] + ".nii.gz"
        assert scan.lesion_mask == scan.image.parent.parent / "wmh.nii.gz"


def test_one_site_alone(touch, monkeypatch):
    root = touch(f"Utrecht/0/{name}" for name in NAMES)
    assert {s.subject for s in wmh2017.find(root / "Utrecht")} == {"Utrecht_0"}
    monkeypatch.chdir(root / "Utrecht")
    assert {s.subject for s in wmh2017.find(Path())} == {"Utrecht_0"}


def test_what_is_missing_is_left_out(touch):
    root = touch(["Utrecht/0/pre/FLAIR.nii.gz", "Utrecht/2/pre/notes.txt", "Utrecht/2/wmh.nii.gz"])
    (scan,) = wmh2017.find(root)
    assert (scan.subject, scan.sequence, scan.lesion_mask) == ("Utrecht_0", "FLAIR", None)


def test_the_same_case_twice_is_refused(touch):
    root = touch(f"{part}/Utrecht/0/pre/T1.nii.gz" for part in ("training", "test"))
    with pytest.raises(InputError, match="a second T1w of Utrecht_0"):
        wmh2017.find(root)
