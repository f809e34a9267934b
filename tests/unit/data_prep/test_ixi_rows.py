"""IXI: names to subjects, sites and sequences; ages from the optional sheet."""

import pytest

from brainuad.errors import InputError
from data_prep import ixi

FILES = [
    "IXI-T1/IXI012-HH-1211-T1.nii.gz",
    "IXI-T2/IXI012-HH-1211-T2.nii.gz",
    "IXI-PD/IXI012-HH-1211-PD.nii.gz",
    "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
    "IXI-T1/IXI035-IOP-0873-T1.nii.gz",
    "IXI-T1/IXI035-IOP-0873-MRA.nii.gz",
    "IXI-T1/.IXI099-HH-1-T1.nii.gz",
]


def test_subjects_sequences_and_sites(touch):
    root = touch(FILES)
    scans = ixi.find(root)
    assert {(s.subject, s.sequence, s.site) for s in scans} == {
        ("IXI012", "T1w", "HH"),
        ("IXI012", "T2w", "HH"),
        ("IXI012", "PDw", "HH"),
        ("IXI002", "T1w", "Guys"),
        ("IXI035", "T1w", "IOP"),
    }
    assert all(s.healthy and not s.lesion_mask and not s.split for s in scans)
    assert all(s.image.is_file() for s in scans)


def test_files_side_by_side_are_found(touch):
    root = touch(["IXI012-HH-1211-T1.nii.gz"])
    assert [s.subject for s in ixi.find(root)] == ["IXI012"]


def test_ages_choose_people(touch):
    root = touch(FILES)
    lines = ['IXI_ID,"SEX_ID (1=m, 2=f)",AGE', "12,1,38.8", "2,2,35.8", "2,2,99", "35,1,"]
    (root / "IXI.csv").write_text("\n".join(lines))
    assert ixi.read_ages(root / "IXI.csv") == {"IXI012": 38.8, "IXI002": 35.8}
    assert {s.subject for s in ixi.find(root, ages="36-60")} == {"IXI012"}
    with pytest.raises(InputError, match="aged 80 to 90"):
        ixi.find(root, ages="80-90")
    with pytest.raises(InputError, match="ages=20-60"):
        ixi.find(root, ages="young")


def test_ages_without_the_sheet_are_refused(touch):
    with pytest.raises(InputError, match="IXI.xls"):
        ixi.find(touch(FILES), ages="20-60")


def test_a_sheet_with_other_columns_is_refused(touch):
    root = touch(FILES)
    (root / "IXI.csv").write_text("id,years\n12,3\n")
    with pytest.raises(InputError, match="need IXI_ID and AGE"):
        ixi.find(root, ages="20-60")


def test_wrong_roots_are_named(touch, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        ixi.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="IXI012-HH-1211-T1"):
        ixi.find(touch(["readme.txt"]))


def test_packed_tars_are_pointed_out(touch):
    with pytest.raises(InputError, match="data_prep unpack"):
        ixi.find(touch(["IXI-T1.tar"]))


def test_a_copy_of_a_scan_is_refused(touch):
    root = touch(["a/IXI012-HH-1211-T1.nii.gz", "b/IXI012-HH-1211-T1.nii.gz"])
    with pytest.raises(InputError, match="a second T1w of IXI012"):
        ixi.find(root)
