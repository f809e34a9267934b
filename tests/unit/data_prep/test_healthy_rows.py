"""BIDS sets of healthy people, and MOOD."""

from pathlib import Path

import pytest

from brainuad.errors import InputError
from data_prep import bids_healthy, mood

FILES = [
    "sub-01/ses-d0129/anat/sub-01_ses-d0129_run-01_T1w.nii.gz",
    "sub-01/ses-d0129/anat/sub-01_ses-d0129_run-02_T1w.nii.gz",
    "sub-01/ses-d0129/anat/sub-01_ses-d0129_FLAIR.nii.gz",
    "sub-01/ses-d3132/anat/sub-01_ses-d3132_T1w.nii.gz",
    "sub-01/ses-d3132/anat/sub-01_ses-d3132_T2w.nii.gz",
    "sub-02/anat/sub-02_acq-tse_T2w.nii.gz",
    "sub-02/anat/sub-02_PDw.nii",
    "sub-02/anat/sub-02_T2w.json",
    "sub-02/anat/sub-02_T2star.nii.gz",
    "sub-02/func/sub-02_task-rest_bold.nii.gz",
    "derivatives/x/sub-02/anat/sub-02_T1w.nii.gz",
]


def _table(root, *rows):
    (root / "participants.tsv").write_text("\n".join("\t".join(row) for row in rows))


def test_first_session_and_first_run(touch):
    scans = bids_healthy.find(touch(FILES))
    assert {(s.subject, s.sequence, s.image.name) for s in scans} == {
        ("sub-01", "T1w", "sub-01_ses-d0129_run-01_T1w.nii.gz"),
        ("sub-01", "FLAIR", "sub-01_ses-d0129_FLAIR.nii.gz"),
        ("sub-02", "T2w", "sub-02_acq-tse_T2w.nii.gz"),
        ("sub-02", "PDw", "sub-02_PDw.nii"),
    }
    assert all(s.healthy and not s.lesion_mask and not s.pathology for s in scans)


def test_sessions_count_by_number(touch):
    root = touch(f"sub-1/ses-{n}/anat/sub-1_ses-{n}_T1w.nii.gz" for n in (10, 9))
    (scan,) = bids_healthy.find(root)
    assert scan.image.parent.parent.name == "ses-9"


def test_a_first_session_without_scans_gives_way(touch):
    root = touch(["sub-1/ses-1/anat/notes.txt", "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz"])
    assert len(bids_healthy.find(root)) == 1


def test_only_the_healthy_by_the_table(touch):
    root = touch(FILES)
    _table(root, ("participant_id", "group", "site"), ("sub-01", "AD", "A"), ("02", "CN", "B"))
    scans = bids_healthy.find(root, column="group", value="CN")
    assert {(s.subject, s.site) for s in scans} == {("sub-02", "B")}
    # Without the options too, nobody is healthy whom the table does not call a control.
    assert {(s.subject, s.site) for s in bids_healthy.find(root)} == {("sub-02", "B")}


def test_bad_choices_are_explained(touch):
    root = touch(FILES)
    with pytest.raises(InputError, match="column and value together"):
        bids_healthy.find(root, column="group")
    with pytest.raises(InputError, match="participants.tsv: not there"):
        bids_healthy.find(root, column="group", value="CN")
    _table(root, ("participant_id", "group"), ("sub-01", "AD"), ("sub-09", "CN"))
    with pytest.raises(InputError, match="no column 'dx'; found participant_id, group"):
        bids_healthy.find(root, column="dx", value="CN")
    with pytest.raises(InputError, match="nobody has group 'control'; found AD, CN"):
        bids_healthy.find(root, column="group", value="control")
    with pytest.raises(InputError, match="no scan of a subject with group 'CN'"):
        bids_healthy.find(root, column="group", value="CN")
    _table(root, ("id", "group"), ("sub-01", "AD"))
    with pytest.raises(InputError, match="no column participant_id"):
        bids_healthy.find(root)


@pytest.mark.parametrize("inner", ["", "brain"])
def test_mood_brains(touch, inner, monkeypatch):
    root = touch(
        [
            "brain/brain_train/00000.nii.gz",
            "brain/brain_train/00017.nii.gz",
            "brain/toy/toy_00000.nii.gz",
            "abdom/abdom_train/00003.nii.gz",
        ]
    )
    scans = mood.find(root / inner)
    assert [(s.subject, s.sequence, s.healthy) for s in scans] == [
        ("mood00000", "T1w", True),
        ("mood00017", "T1w", True),
    ]
    assert mood.find(root / "brain" / "brain_train") == mood.find(root / "brain")
    assert {s.sequence for s in mood.find(root, sequence="T2w")} == {"T2w"}
    monkeypatch.chdir(root / "brain" / "brain_train")
    assert len(mood.find(Path())) == 2


def test_mood_twice_is_refused(touch):
    root = touch(["brain_train/00000.nii.gz", "brain/brain_train/00000.nii.gz"])
    with pytest.raises(InputError, match="give one of them"):
        mood.find(root)
