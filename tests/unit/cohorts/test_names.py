"""Names of subjects, sequences and groups never become paths, lines or headlines."""

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import AFFINE, brain, write_tiny_cohort, write_tiny_model

from brainuad.cli.predict import main as predict
from brainuad.cli.prepare import main as prepare
from brainuad.cohorts.find import find_raw
from brainuad.cohorts.manifest import read_cohort, write_cohort
from brainuad.cohorts.names import GROUPS, MAX_BYTES, file_name
from brainuad.errors import InputError
from brainuad.evaluation.results import COLUMNS, summarise_scores
from brainuad.inference.find_scans import TAKEN, find_wanted
from brainuad.volumes.nifti import write_volume

BAD = ("../../escaped", "/tmp/escaped", "x/../../../escaped", "a/b", "a\\b", "..", ".hidden",
       "line\nbreak", "\x1b[31mred", "nul\0", "\u202egnp", "lone\udcff", "x" * 300)  # fmt: skip


def _everything(folder):
    return {path for path in folder.rglob("*")}


def _scan(path):
    write_volume(path, brain(0)[0], AFFINE)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("column", ["subject", "sequence"])
@pytest.mark.parametrize(
    "name", [name for name in BAD if "\0" not in name and "\udcff" not in name]
)
def test_a_csv_cannot_send_files_elsewhere(tmp_path, capsys, column, name):
    place = tmp_path / "a" / "b" / "c"
    _scan(place / "scan.nii.gz")
    with (place / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", column], ["scan.nii.gz", name]])
    before = _everything(tmp_path)
    words = ["preparation=extracted", "preparation.steps.spacing_mm=3"]
    assert prepare([str(place / "list.csv"), str(place / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert "list.csv line 2" in said
    assert "cannot name a file" in said
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert _everything(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_models_sequence_cannot_send_files_elsewhere(tmp_path, capsys, name):
    model = write_tiny_model(tmp_path / "m.ckpt", sequence=name)
    scan = _scan(tmp_path / "a" / "b" / "c" / "scan.nii.gz")
    before = _everything(tmp_path)
    out = tmp_path / "a" / "b" / "c" / "out"
    assert predict([str(model), str(scan), str(out), "--no-page"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert _everything(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("field", ["subject", "sequence"])
def test_no_scan_has_a_name_that_is_a_path(tiny_cohort, name, field):
    with pytest.raises(InputError, match="cannot name a file"):
        replace(tiny_cohort.scans[0], **{field: name})


@pytest.mark.parametrize("name", BAD)
def test_names_of_files_become_names_that_can_be_files(name):
    made = file_name(name)
    assert made.isprintable()
    assert "/" not in made
    assert "\\" not in made
    assert made not in ("", ".", "..")
    assert not made.startswith(".")
    assert len(made.encode()) <= MAX_BYTES
    assert file_name(made) == made
    assert file_name("sub-01_ä b") == "sub-01_ä b"


def test_a_file_with_a_line_break_in_its_name_is_listed_under_another(tmp_path):
    _scan(tmp_path / "one\ntwo_T2w.nii.gz")
    (found,) = find_raw(tmp_path, "T1w")
    assert (found.subject, found.sequence) == ("one_two", "T2w")


def test_two_scans_never_have_the_same_files(tmp_path, tiny_cohort):
    first, second = tiny_cohort.scans[:2]
    rows = [
        replace(first, subject="a_b", sequence="c"),
        replace(second, subject="a", sequence="b_c"),
    ]
    with pytest.raises(InputError, match="would have the same files"):
        write_cohort(tmp_path / "new", rows, {})


@pytest.mark.parametrize("group", GROUPS)
def test_no_pathology_is_called_like_a_group(tmp_path, group):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    path = cohort.root / "manifest.csv"
    path.write_text(path.read_text().replace(",box,", f",{group},"))
    with pytest.raises(InputError, match=r"manifest\.csv line 8: .*name of a group of scores"):
        read_cohort(cohort.root)


def test_the_groups_of_the_summary_are_the_names_that_are_taken():
    row = dict.fromkeys(COLUMNS, "") | {"method": "m", "threshold": "none", "metric": "auprc"}
    kinds = [("a", "tumour", c) for c in (2.0, 0.0, -2.0)] + [("b", "", np.nan)]
    kinds += [("c", "no lesion", np.nan), ("(pooled)", "", np.nan)]
    rows = [row | {"subject": s, "pathology": p, "contrast": c, "value": 0.5} for s, p, c in kinds]
    found = {line.group for line in summarise_scores(pd.DataFrame(rows, columns=COLUMNS))}
    assert found - {"tumour"} == set(GROUPS)


@pytest.mark.parametrize("name", TAKEN)
def test_a_scan_called_like_a_file_of_ours_lies_beside_it(tmp_path, name):
    _scan(tmp_path / f"{name}.nii.gz")
    (item,) = find_wanted(tmp_path, "T2w", tmp_path / "out").wanted
    assert item.scan_id not in TAKEN
    assert item.folder not in TAKEN
