import csv
import json
import os

import nibabel as nib
import numpy as np
import pytest
from tiny import AFFINE, SHAPE, brain, lesion

from brainuad.cli.prepare import main
from brainuad.cohorts.find import find_raw
from brainuad.cohorts.manifest import read_cohort
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError
from brainuad.preparation.from_folder import folder_cohort
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


@pytest.fixture
def folder(tmp_path):
    """Six healthy and one sick subject, brain-extracted, LPS axes, in two naming styles."""
    root = tmp_path / "my scans"
    for index in range(7):
        image, mask = brain(index)
        affine = np.diag([-3.0, -3.0, 3.0, 1.0])
        if index % 2:
            write_volume(root / f"s{index}" / "T2.nii.gz", image * 900, affine)
            write_volume(root / f"s{index}" / "brain_mask.nii.gz", mask, affine, np.uint8)
        else:
            write_volume(root / f"s{index}_T2w.nii.gz", image * 900, affine)
    write_volume(root / "s6_seg.nii.gz", lesion(), affine, np.uint8)
    return root


def _cohort(folder, tmp_path, **options):
    return folder_cohort(folder, tmp_path / "cache", "T1w", spacing_mm=3.0, **options)


def test_a_folder_becomes_a_cohort(folder, tmp_path):
    cohort = _cohort(folder, tmp_path)
    assert [s.subject for s in cohort.scans if not s.healthy] == ["s6"]
    assert {s.sequence for s in cohort.scans} == {"T2w"}
    assert sorted(s.split for s in cohort.scans if s.healthy) == [
        "test",
        "train",
        "train",
        "train",
        "train",
        "val",
    ]
    for scan in cohort.scans:
        image = read_volume(scan.image)
        mask = read_mask(scan.brain_mask, like=image)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.array.min() == 0
        assert image.array.max() == 1
        assert (image.array[~mask] == 0).all()
        assert scan.native_image.is_file()
    sick = next(s for s in cohort.scans if not s.healthy)
    image = read_volume(sick.image)
    found = read_mask(sick.lesion_mask, like=image)
    assert found.sum() == lesion().sum()
    # The native axes point left and back, so the prepared lesion is mirrored in the array.
    native = np.diag([-3.0, -3.0, 3.0, 1.0]) @ [*np.argwhere(lesion()).mean(0), 1]
    assert image.affine @ [*np.argwhere(found).mean(0), 1] == pytest.approx(native, abs=1e-3)
    assert _cohort(folder, tmp_path).scans == read_cohort(cohort.root).scans == cohort.scans


@pytest.mark.slow
def test_a_bad_scan_is_listed_and_the_rest_is_done(folder, tmp_path, capsys):
    (folder / "s0_T2w.nii.gz").write_bytes(b"broken")
    write_volume(folder / "s2_T2w.nii.gz", np.ones(SHAPE), np.diag([-3.0, -3.0, 3.0, 1.0]))
    cohort = _cohort(folder, tmp_path)
    assert len(cohort.scans) == 5
    rows = list(csv.DictReader((cohort.root / "failures.csv").open()))
    assert [row["subject"] for row in rows] == ["s0", "s2"]
    assert "constant" in rows[1]["reason"]
    status = main(
        [
            str(folder),
            str(tmp_path / "out"),
            "preparation=extracted",
            "preparation.steps.spacing_mm=3",
        ]
    )
    assert status == 3
    error = capsys.readouterr().err
    assert "2 subject(s) failed" in error
    assert "s0_T2w.nii.gz" in error
    assert len(read_cohort(tmp_path / "out").scans) == 5


def test_a_label_map_is_not_a_scan(folder, tmp_path):
    write_volume(folder / "s7_T2w.nii.gz", brain(7)[1] * 3, AFFINE, np.uint8)
    cohort = _cohort(folder, tmp_path)
    assert "s7" not in {s.subject for s in cohort.scans}
    assert "looks like a label map" in (cohort.root / "failures.csv").read_text()


def test_an_interrupted_preparation_goes_on(folder, tmp_path):
    first = _cohort(folder, tmp_path)
    image = first.scans[0].image
    before = image.stat().st_mtime_ns
    (first.root / "manifest.csv").unlink()
    record = first.root / "scans" / f"{first.scans[1].subject}_T2w.json"
    record.unlink()
    assert _cohort(folder, tmp_path).scans == first.scans
    assert image.stat().st_mtime_ns == before
    assert json.loads(record.read_text())["subject"] == first.scans[1].subject


def test_csv_with_every_column(folder, tmp_path):
    table = folder / "list.csv"
    table.write_text(
        "subject,image,sequence,healthy,split,pathology\n"
        "a,s0_T2w.nii.gz,FLAIR,true,train,\n"
        "b,s2_T2w.nii.gz,FLAIR,true,val,\n"
        "c,s4_T2w.nii.gz,FLAIR,false,,stroke\n"
    )
    cohort = _cohort(table, tmp_path)
    assert [(s.subject, s.split, s.pathology) for s in cohort.scans] == [
        ("a", "train", ""),
        ("b", "val", ""),
        ("c", "test", "stroke"),
    ]
    assert cohort.scans[2].lesion_mask is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,lesion\ns0_T2w.nii.gz,y.nii\n", "y.nii: no such file; mend the path"),
        ("subject\nx\n", "a column 'image' is needed"),
        ("image,site\n ,A\n", "line 2: column image is empty"),
        ("image,healthy\ns0_T2w.nii.gz,maybe\n", "healthy is 'maybe'"),
        ("image\n \n", "lists no scan"),
        (
            "subject,image,sequence,split\na,s0_T2w.nii.gz,T2w,train\na,s2_T2w.nii.gz,T1w,val\n",
            "subject a is in two splits",
        ),
    ],
)
def test_bad_lists_are_refused(folder, tmp_path, text, words):
    table = folder / "list.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=words):
        _cohort(table, tmp_path)


def test_missing_source(tmp_path):
    with pytest.raises(InputError, match="data.source=PATH"):
        _cohort(None, tmp_path)
    with pytest.raises(InputError, match="neither a folder nor"):
        _cohort(tmp_path / "none", tmp_path)


def test_two_scans_of_one_name_are_refused(folder):
    os.link(folder / "s0_T2w.nii.gz", folder / "s0_T2.nii.gz")
    with pytest.raises(InputError, match="a second T2w scan of subject s0"):
        find_raw(folder, "T1w")


def test_limit_keeps_so_many_of_each_kind(folder, tmp_path):
    cohort = _cohort(folder, tmp_path, limit=1)
    assert sorted((s.split, s.healthy) for s in cohort.scans) == [
        ("test", False),
        ("test", True),
        ("train", True),
        ("val", True),
    ]
    whole = _cohort(folder, tmp_path)
    assert len(_cohort(whole.root, tmp_path, limit=1).scans) == 4


def test_splits_are_of_subjects_and_reproducible(folder):
    scans = find_raw(folder, "T1w")
    first = assign_splits(scans, 0, 0.3, 0.3)
    assert first == assign_splits(list(reversed(scans)), 0, 0.3, 0.3)[::-1]
    assert [s.split for s in first] != [s.split for s in assign_splits(scans, 5, 0.3, 0.3)]


@pytest.mark.slow
def test_phantom_command(tmp_path, capsys):
    arguments = ["phantom", str(tmp_path / "p"), "--spacing-mm", "3", "--sequences", "T2w"]
    counts = [
        "--train",
        "1",
        "--val",
        "1",
        "--test",
        "0",
        "--tumour",
        "1",
        "--ms",
        "0",
        "--stroke",
        "0",
    ]
    assert main([*arguments, *counts]) == 0
    assert "3 scans" in capsys.readouterr().out
    assert [s.split for s in read_cohort(tmp_path / "p").scans] == ["train", "val", "test"]
