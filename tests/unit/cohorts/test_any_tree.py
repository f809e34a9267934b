"""Any tree of files: each file is accounted for, people stay apart, bad neighbours change nothing.

`pytest -m fuzz` draws 2,000 trees, and 50 through the whole chain.
"""

import gzip
import os
import tempfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import AFFINE, brain, lesion

from brainuad.cli.prepare import main as prepare
from brainuad.cohorts.account import account
from brainuad.cohorts.find import find_all
from brainuad.cohorts.manifest import read_cohort
from brainuad.cohorts.people import person_key
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.splits import assign_splits, planned_scan
from brainuad.errors import InputError
from brainuad.volumes.nifti import read_volume


@cache
def content(kind):
    """A file's bytes."""
    image, mask = brain(3)
    arrays = {
        "scan": 100 * image,
        "negative": np.where(mask, 100 * image - 50, 0).astype(np.float32),
        "offset": 100 * image - 1024 * ~mask,
        "nan": np.where(mask, 100 * image, np.nan).astype(np.float32),
        "zero": 0 * image,
        "label": lesion().astype(np.uint8),
        "empty": (0 * image).astype(np.uint8),
        "brain": mask.astype(np.uint8) * 255,
        "map": image / 1000,
        "4d": np.stack([image, image], -1),
    }
    if kind not in arrays:
        return {"text": b"notes\n", "none": b"", "page": b"<html>not here</html>"}[kind]
    file = nib.Nifti1Image(arrays[kind], AFFINE)
    return gzip.compress(file.to_bytes(), 1, mtime=0)


SEQUENCES = {
    "T1w": ("T1w", "t1", "T1", "t1_mprage_sag", "t1n"),
    "FLAIR": ("FLAIR", "flair", "t2_flair", "T2_FLAIR_tra", "t2f"),
    "T2w": ("T2w", "t2", "T2", "t2w"),
}
LABELS = ("lesion", "seg", "lesion_mask", "tumor_seg", "gt", "LESION", "manual_lesion")
LAYOUTS = (
    "{s}_{q}", "{s}/{q}", "{s}/anat/{s}_{q}", "{s}/{s}-{q}", "data/{s}_{q}", "{s}/mri/{q}",
    "{s}_20200101_{q}", "{q}/{s}_{q}", "{s}_ses-1_{q}", "{s}/visit1/{q}",
)  # fmt: skip
BIDS = ("{s}/anat/{s}_{q}", "{s}/ses-1/anat/{s}_ses-1_{q}", "{s}/anat/{s}_run-1_{q}")
PEOPLE = {
    "letters": ("anna", "bernd", "clara", "dora"),
    "numbers": ("p1", "p2", "p10", "p21"),
    "zeros": ("001", "002", "010", "021"),
    "site": ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-HH-1212", "IXI014-HH-1236"),
    "brats": ("BraTS2021_00001", "BraTS2021_00002", "BraTS2021_00010", "BraTS2021_00011"),
    "adni": ("002_S_0295", "002_S_0413", "003_S_0295", "003_S_1057"),
    "odd": ("a b", "ä-1", "x.y", "q(2)"),
}
JUNK = st.sampled_from(
    [("notes.txt", "text"), (".hidden_T1w.nii.gz", "scan"), (".git/x_T1w.nii.gz", "scan"),
     ("README", "text"), ("__MACOSX/._p1_T1w.nii.gz", "none"), ("zz9_anomaly.nii.gz", "map"),
     ("qq7_dwi.nii.gz", "4d"), ("sub/notes.json", "text"), ("x.mat", "none"),
     ("zz9_T1w_aparc.nii.gz", "label"), ("lonely.hdr", "none"), ("table.csv", "text"),
     ("old/cohort.json", "text")]
)  # fmt: skip


@st.composite
def trees(draw):
    """What each person has, and the files that say so."""
    bids = draw(st.booleans())
    names = PEOPLE[draw(st.sampled_from(sorted(PEOPLE)))]
    if bids:
        names = ("sub-1", "sub-2", "sub-10", "sub-A1")
    layout = draw(st.sampled_from(BIDS if bids else LAYOUTS))
    people, files = {}, {}
    for name in names[: draw(st.integers(1, 4))]:
        own = draw(
            st.lists(st.sampled_from(sorted(SEQUENCES)), min_size=1, max_size=3, unique=True)
        )
        for sequence in sorted(own):
            word = sequence if bids else draw(st.sampled_from(SEQUENCES[sequence]))
            files[layout.format(s=name, q=word) + ".nii.gz"] = "scan"
        ill = draw(st.booleans())
        people[name] = (own, ill)
        if ill:
            files[_label(draw, name, layout, bids) + ".nii.gz"] = "label"
    return people, files


def _label(draw, name, layout, bids):
    if bids:
        inner = draw(st.sampled_from(("derivatives/m/{s}/anat/{s}", "{s}/anat/{s}"))).format(s=name)
        session = "_ses-1" if "ses-1" in layout else ""
        return f"{inner}{session}_label-lesion_{draw(st.sampled_from(('mask', 'roi', 'dseg')))}"
    word = draw(st.sampled_from(LABELS))
    if layout.startswith("{q}"):
        return f"masks/{name}_{word}"
    # The folder tells whose it is where the scan's own name does not.
    where, _, last = layout.rpartition("/")
    inner = where.format(s=name, q="")
    own = f"{name}_{word}" if "{s}" in last or draw(st.booleans()) else word
    return f"{inner}/{own}".lstrip("/")


def write(root, files):
    for name, kind in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(kind))
    root.mkdir(exist_ok=True)


def everything(root):
    return {Path(where) / name for where, _, names in os.walk(root) for name in names}


def accounted(found):
    """Files and folders that were said something of."""
    used = {p for s in found.scans for p in (s.image, s.brain_mask, s.lesion_mask) if p}
    return used, {aside.path for aside in found.aside}


CASES = pytest.mark.parametrize(
    "count", [60, pytest.param(2000, marks=pytest.mark.fuzz)], ids=["few", "many"]
)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@CASES
def test_people_of_any_tree_are_who_they_are(count):
    @settings(max_examples=count, deadline=None, suppress_health_check=SLOW)
    @given(trees(), st.lists(JUNK, max_size=4))
    def check(tree, junk):
        people, files = tree
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "in"
            write(root, files)
            alone = find_all(root, "T1w")
            write(root, dict(junk))
            if (root / "old").exists():
                write(root, {"old/scans/zz8_T1w.nii.gz": "scan"})
            before = everything(root)
            found = find_all(root, "T1w")
            assert found.scans == alone.scans
            used, aside = accounted(found)
            assert not used & aside
            for path in before - used - aside:
                assert aside & set(path.parents), path
            assert not [a for a in found.aside if a.wanted]
            by_key = {person_key(s): (s, *told) for s, told in people.items()}
            assert len(by_key) == len(people)
            parsed = {}
            for scan in found.scans:
                parsed.setdefault(person_key(scan.subject), []).append(scan)
            assert set(parsed) == set(by_key)
            for key, scans in parsed.items():
                _, sequences, ill = by_key[key]
                assert {scan.sequence for scan in scans} == set(sequences)
                assert {scan.healthy for scan in scans} == {not ill}
            split = assign_splits(found.scans, 0, 0.3, 0.3)
            check_scans([planned_scan(scan) for scan in split], root)
            assert account(found, split, whole=True)
            assert everything(root) == before

    check()


VOCABULARY = (
    "s1 s2 S01 01 T1w t2 flair lesion mask seg brain anat ses-2 sub-1 sub-01 run-2 pat1 20240105 "
    "to SRI controls patients MS derivatives anomaly acq-a+b label-lesion desc-brain part-phase x "
    "4 T1 ä cohort records _ - . v2 dwi old é"
)
WORDS = st.lists(st.sampled_from(VOCABULARY.split()), min_size=1, max_size=4)
ENDINGS = st.sampled_from([".nii.gz", ".nii", "", ".json", ".NII.GZ", ".img", ".hdr"])
PATHS = st.lists(st.tuples(WORDS, st.sampled_from("_- ./"), ENDINGS), min_size=1, max_size=8)
KINDS = ("scan", "label", "brain", "empty", "map", "text", "none", "page", "nan", "4d", "zero")


@CASES
def test_no_tree_is_an_internal_error_and_no_file_is_forgotten(count):
    @settings(max_examples=count, deadline=None, suppress_health_check=SLOW)
    @given(PATHS, st.lists(st.sampled_from(KINDS), min_size=8, max_size=8), st.booleans())
    def check(paths, kinds, every):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "in"
            root.mkdir()
            for (words, between, ending), kind in zip(paths, kinds, strict=False):
                path = root / (between.join(words).strip("/") + ending)
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content(kind))
                except OSError:
                    # A folder has that name already, or it is none.
                    continue
            before = everything(root)
            try:
                found = find_all(root, "T1w", every)
            except InputError:
                return
            used, aside = accounted(found)
            assert not used & aside
            headers = {path for path in before if path.suffix.lower() == ".hdr"}
            table = {root / "participants.tsv"}
            for path in before - used - aside - headers - table:
                assert (aside | used) & set(path.parents), path
            # A label's owner is known, or the label is left aside with a reason.
            labelled = {s.subject for s in found.scans if s.lesion_mask}
            assert all(not s.healthy for s in found.scans if s.subject in labelled)
            if not every:
                keys = [(person_key(s.subject), s.sequence) for s in found.scans]
                assert len(keys) == len(set(keys))
            assert everything(root) == before

    check()


BROKEN = st.dictionaries(
    st.sampled_from(["zz1_T1w.nii.gz", "zz2_T1w.nii.gz", "zz3_T1w.nii.gz"]),
    st.sampled_from(
        ["negative", "offset", "nan", "zero", "label", "map", "4d", "text", "none", "page"]
    ),
    min_size=1,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [2, pytest.param(50, marks=pytest.mark.fuzz)], ids=["few", "many"]
)
def test_the_whole_chain_does_the_good_scans_beside_any_others(count):
    good = {"s1_T1w.nii.gz": "scan", "s2/T1w.nii.gz": "scan", "s3_T1w.nii.gz": "scan"}
    words = ["preparation=extracted", "preparation.steps.spacing_mm=6", "test_fraction=0"]

    def images(root, files, out):
        write(root, files)
        status = prepare([str(root), str(out), *words])
        return status, {s.subject: read_volume(s.image).array for s in read_cohort(out).scans}

    with tempfile.TemporaryDirectory() as name:
        status, expected = images(Path(name) / "in", good, Path(name) / "out")
    assert status == 0
    assert set(expected) == {"s1", "s2", "s3"}

    @settings(max_examples=count, deadline=None, suppress_health_check=SLOW, database=None)
    @given(BROKEN)
    def check(broken):
        with tempfile.TemporaryDirectory() as name:
            root, out = Path(name) / "in", Path(name) / "out"
            status, found = images(root, {**good, **broken}, out)
            assert status in (0, 3)
            for subject, image in expected.items():
                np.testing.assert_array_equal(found[subject], image)
            failures = (out / "failures.csv").read_text()
            assert "please report" not in failures
            done = len(found) - len(good)
            assert failures.count("\n") - 1 == len(broken) - done
            assert {path.name for path in Path(name).iterdir()} == {"in", "out"}

    check()
