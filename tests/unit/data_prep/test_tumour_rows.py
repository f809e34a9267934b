"""BraTS 2020, 2021 and 2023: the same four sequences under three namings."""

import pytest

from brainuad.errors import InputError
from data_prep import brats2020, brats2021, brats2023

NAMINGS = {
    "2020": (brats2020, "BraTS20_Training_{:03d}", "_", ("t1", "t1ce", "t2", "flair"), ".nii"),
    "2021": (brats2021, "BraTS2021_{:05d}", "_", ("t1", "t1ce", "t2", "flair"), ".nii.gz"),
    "2023": (brats2023, "BraTS-GLI-{:05d}-000", "-", ("t1n", "t1c", "t2w", "t2f"), ".nii.gz"),
}


def _names(year, number, words=None):
    _, case, joint, suffixes, ending = NAMINGS[year]
    case = case.format(number)
    return [f"{case}/{case}{joint}{word}{ending}" for word in words or (*suffixes, "seg")]


@pytest.mark.parametrize("year", NAMINGS)
def test_sequences_and_labels(touch, year):
    module = NAMINGS[year][0]
    root = touch(["Training/" + name for name in _names(year, 1) + _names(year, 12)])
    scans = module.find(root)
    assert len(scans) == 8
    assert len({s.subject for s in scans}) == 2
    words = dict(zip(("T1w", "T1c", "T2w", "FLAIR"), NAMINGS[year][3], strict=True))
    for scan in scans:
        assert scan.image.name.split(".")[0].endswith(words[scan.sequence])
        assert scan.image.is_file()
        assert scan.lesion_mask.is_file()
        assert scan.lesion_mask.parent == scan.image.parent
        assert "seg" in scan.lesion_mask.name
        assert (scan.healthy, scan.pathology, scan.split) == (False, "tumour", "")


@pytest.mark.parametrize("year", NAMINGS)
def test_what_is_missing_is_left_out(touch, year):
    module, _, _, suffixes, _ = NAMINGS[year]
    # A case without FLAIR and label, and one without anything that counts.
    root = touch(_names(year, 3, suffixes[:3]) + _names(year, 4, ["seg", "notes"]))
    scans = module.find(root)
    assert [s.sequence for s in scans] == ["T1w", "T1c", "T2w"]
    assert all(s.lesion_mask is None and not s.healthy for s in scans)


@pytest.mark.parametrize("year", NAMINGS)
def test_two_copies_are_refused(touch, year):
    names = _names(year, 1)
    root = touch([f"a/{name}" for name in names] + [f"b/{name}" for name in names])
    with pytest.raises(InputError, match="a second T1w of .* give the folder of one copy"):
        NAMINGS[year][0].find(root)


def test_the_misnamed_label_of_2020_is_found(touch):
    case = "BraTS20_Training_355"
    root = touch([f"{case}/{case}_flair.nii", f"{case}/W39_1998.09.19_Segm.nii"])
    (scan,) = brats2020.find(root)
    assert scan.lesion_mask.name == "W39_1998.09.19_Segm.nii"


def test_validation_cases_of_2020_have_no_label(touch):
    case = "BraTS20_Validation_001"
    root = touch([f"{case}/{case}_flair.nii.gz", "name_mapping.csv"])
    (scan,) = brats2020.find(root)
    assert (scan.subject, scan.sequence, scan.lesion_mask) == (case, "FLAIR", None)


def test_a_person_of_2023_is_listed_once(touch):
    root = touch(
        f"{part}/BraTS-GLI-00008-{visit}/BraTS-GLI-00008-{visit}-{word}.nii.gz"
        # The later visit lies in the folder that sorts first.
        for part, visit in (("A", "001"), ("B", "000"))
        for word in ("t1n", "t2f", "seg")
    )
    scans = brats2023.find(root)
    assert {s.subject for s in scans} == {"BraTS-GLI-00008"}
    assert {s.image.parent.name for s in scans} == {"BraTS-GLI-00008-000"}
    assert len(scans) == 2


def test_the_other_tasks_of_2023_by_option(touch):
    root = touch(
        [*_names("2023", 1), "BraTS-MET-00110-000/BraTS-MET-00110-000-t1n.nii.gz", "BraTS-MET-x/a"]
    )
    assert {s.subject for s in brats2023.find(root)} == {"BraTS-GLI-00001"}
    assert {s.subject for s in brats2023.find(root, task="MET")} == {"BraTS-MET-00110"}
    with pytest.raises(InputError, match="BraTS-PED-00000-000"):
        brats2023.find(root, task="PED")


def test_the_official_example_case(real_data):
    scans = brats2023.find(real_data / "brats_gli_example")
    assert [s.sequence for s in scans] == ["T1w", "T1c", "T2w", "FLAIR"]
    assert {s.subject for s in scans} == {"BraTS-GLI-00001"}
    assert all(s.lesion_mask is None and s.image.stat().st_size for s in scans)
