"""Rows: written, read back by the package as they were; splits from a list; shared refusals."""

import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import ROOT

import data_prep
from brainuad.cohorts.find import find_raw
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from data_prep import dataset, layout
from data_prep.registry import DATASETS, get


def _scans(root: Path) -> list[RawScan]:
    return [
        RawScan(
            subject="a, with comma",
            sequence="FLAIR",
            image=root / "raw" / "a b.nii.gz",
            healthy=False,
            brain_mask=root / "raw" / "brain.nii.gz",
            lesion_mask=root / "raw" / "lesion.nii.gz",
            split="test",
            site="HH",
            pathology="ms",
        ),
        # Not healthy without a label, and healthy with one: neither follows from the other.
        RawScan(subject="b", sequence="DWI", image=root / "raw" / "b.nii", healthy=False),
        RawScan("c", "T1w", root / "c.nii", healthy=True, lesion_mask=root / "empty.nii"),
    ]


def test_rows_come_back_as_they_were(tmp_path):
    scans = [*_scans(tmp_path), RawScan("far", "T1w", Path("/elsewhere/far.nii.gz"), healthy=True)]
    dataset.write_rows(scans, tmp_path / "rows.csv")
    assert find_raw(tmp_path / "rows.csv", "T2w") == scans


def test_paths_below_the_csv_are_relative_and_the_others_absolute(tmp_path):
    scans = _scans(tmp_path / "data")
    dataset.write_rows(scans, tmp_path / "rows.csv")
    text = (tmp_path / "rows.csv").read_text()
    assert "data/raw/a b.nii.gz" in text
    assert str(tmp_path) not in text
    dataset.write_rows(scans, tmp_path / "lists" / "rows.csv")
    assert str(tmp_path / "data" / "raw" / "b.nii") in (tmp_path / "lists/rows.csv").read_text()
    assert find_raw(tmp_path / "lists" / "rows.csv", "T1w") == scans


def test_relative_roots_work_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = RawScan("a", "T1w", Path("data/a.nii"), healthy=True)
    dataset.write_rows([scan], Path("lists/rows.csv"))
    monkeypatch.chdir("/")
    found = find_raw(tmp_path / "lists" / "rows.csv", "T1w")
    assert found == [replace(scan, image=tmp_path / "data" / "a.nii")]


def test_splits_come_from_a_list(tmp_path):
    scans = _scans(tmp_path)
    path = tmp_path / "splits.csv"
    path.write_text("subject,split\nb,val\nc,\nunknown,train\n")
    assert [s.split for s in dataset.with_splits(scans, path)] == ["test", "val", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,fold\nb,1\n", "need subject and split"),
        ("subject,split\nb,training\n", "'training'; write train, val, test"),
        ("subject,split\nIXI1,train\n", "names none of the subjects"),
    ],
)
def test_bad_lists_of_splits_are_refused(tmp_path, text, said):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        dataset.with_splits(_scans(tmp_path), path)
    with pytest.raises(InputError, match="no such file"):
        dataset.with_splits(_scans(tmp_path), tmp_path / "none.csv")


def test_cases_sort_by_number(touch):
    root = touch(["p10/x", "p9/x", "p1/x"])
    assert [path.name for path in layout.folders(root, "p*", "")] == ["p1", "p9", "p10"]


def test_folders_stop_at_their_depth(touch):
    root = touch(["a/b/case/x", "a/b/c/d/case/x"])
    assert len(layout.folders(root, "case", "", depth=2)) == 1


def test_a_folder_named_like_a_scan_is_no_scan(touch):
    root = touch(["case/flair.nii/inner.nii", "case/t1.nii"])
    assert layout.nifti(root / "case", "flair") is None
    assert layout.nifti(root / "case", "t1") == root / "case" / "t1.nii"


@pytest.mark.parametrize("name", DATASETS)
def test_wrong_roots_are_named_with_what_was_expected(name, tmp_path):
    item = get(name)
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected"):
        item.find(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sub1_T1w.nii.gz").touch()
    with pytest.raises(InputError) as caught:
        item.find(tmp_path / "other")
    assert str(tmp_path / "other") in str(caught.value)
    assert item.layout in str(caught.value)


def test_every_module_with_a_finder_is_registered():
    shared = {"dataset", "layout", "registry", "slices", "download", "unpack", "__main__"}
    modules = {module.name for module in pkgutil.iter_modules(data_prep.__path__)} - shared
    assert modules == {item.find.__module__.split(".")[1] for item in DATASETS.values()}


def test_the_table_of_the_read_me_lists_every_data_set():
    text = (ROOT / "data_prep" / "README.md").read_text()
    for item in DATASETS.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{item.name}` |"))
        assert item.homepage in row
        assert all(sequence in row for sequence in item.sequences)
        assert row.rstrip(" |").endswith("yes" if item.files else "no")


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown data set; known are ixi"):
        get("imagenet")
