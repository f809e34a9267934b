"""From raw scans to a cohort: the chain, resuming, failures, quality, the way back."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from commands import start
from deadly import Deadly
from test_steps import atlas_at, turned, write_series
from tiny import brain

from brainuad.cli.prepare import main
from brainuad.cohorts.find import find_raw
from brainuad.cohorts.manifest import read_cohort
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import CannotWrite, InputError
from brainuad.machine.files import temporary_name
from brainuad.preparation.bias import N4
from brainuad.preparation.cohort import prepare_cohort
from brainuad.preparation.normalise.intensity import Nyul, Percentile
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality.measures import Limits, measure
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.subject import prepare_subject
from brainuad.types import Volume
from brainuad.volumes.native_space import read_way, to_native
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

PLAIN = Preparation(Extracted(), None, None, None, ("T1w",), 3.0)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def write_scans(folder, count=3):
    """Extracted brains of healthy subjects."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        write_volume(folder / f"s{i}_T1w.nii.gz", 100 * brain(i)[0], AFFINE)
    return folder


def prepare(folder, out, preparation=PLAIN, normalise=None, jobs=1):
    raw = assign_splits(find_raw(folder, "T1w"), 0, 0.3, 0.0)
    return prepare_cohort(
        raw, preparation, normalise or Percentile(), Limits(), out, folder, jobs=jobs
    )


@pytest.mark.slow
def test_sequences_meet_in_the_atlas_and_a_label_finds_back(tmp_path):
    """A subject's FLAIR lies elsewhere, oblique and thick; both come to lie on the MNI brain."""
    image, mask = atlas_at(2.0)
    lesion = np.zeros(mask.shape, bool)
    lesion[30:40, 55:66, 45:56] = True
    lesion &= mask
    flair = np.where(mask, 1.2 - image.array + 0.8 * lesion, 0).astype(np.float32)
    poses = {"T1w": turned((10, 0, 5), (8, -6, 4)), "FLAIR": turned((-6, 4, 0), (-5, 3, 9))}
    scans = []
    for sequence, whole in (("T1w", image.array), ("FLAIR", flair)):
        array, pose = whole, poses[sequence] @ image.affine
        if sequence == "FLAIR":
            # Every second slice, stored from the left ear to the right.
            array, truth = whole[::-1, :, ::2], lesion[::-1, :, ::2]
            pose = pose @ np.diag([-1, 1, 2, 1.0])
            pose[:3, 3] = (poses[sequence] @ image.affine @ [mask.shape[0] - 1, 0, 0, 1])[:3]
            write_volume(tmp_path / "label.nii.gz", truth, pose, np.uint8)
        write_volume(tmp_path / f"{sequence}.nii.gz", 500 * array, pose)
        label = tmp_path / "label.nii.gz" if sequence == "FLAIR" else None
        path = tmp_path / f"{sequence}.nii.gz"
        scans.append(RawScan("p", sequence, path, healthy=False, lesion_mask=label))
    chain = Preparation(
        *(Extracted(), None, Register("rigid", 3.0), Register("affine", 3.0)),
        *(("T1w", "FLAIR"), 2.0),
    )
    records, failures = prepare_subject(scans[::-1], chain, tmp_path / "out")
    assert not failures
    assert {
        r.sequence: r.steps["between"].found["reference"] if "between" in r.steps else None
        for r in records
    } == {
        "FLAIR": "T1w",
        "T1w": None,
    }
    # On one grid, on top of one another and of the atlas.
    by_name = {r.sequence: r for r in records}
    masks = [read_volume(tmp_path / "out" / r.brain_mask) for r in by_name.values()]
    assert np.allclose(masks[0].affine, masks[1].affine)
    overlap = (masks[0].array * masks[1].array).sum() * 2 / (masks[0].array + masks[1].array).sum()
    assert overlap > 0.96
    assert all(r.quality["overlap"] > 0.96 for r in records)
    assert all(r.quality["similarity"] > 0.6 for r in records)
    # Prepared and back: the label, on the scan's own grid.
    record = by_name["FLAIR"]
    prepared = read_volume(tmp_path / "out" / record.lesion_mask)
    native = read_volume(tmp_path / "FLAIR.nii.gz")
    way = read_way(tmp_path / "out" / record.transform)
    back = to_native(prepared.array, prepared.affine, native, way)
    truth = read_mask(tmp_path / "label.nii.gz")
    found = back >= 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_a_second_run_does_only_what_changed(tmp_path):
    folder, out = write_scans(tmp_path / "raw"), tmp_path / "out"
    first = prepare(folder, out)
    assert len(first.scans) == 3
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    prepare(folder, out)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == times
    write_volume(folder / "s1_T1w.nii.gz", 100 * brain(7)[0], AFFINE)
    prepare(folder, out)
    changed = {p.name for p in out.glob("*/*") if p.stat().st_mtime_ns != times[p]}
    assert changed
    assert all(name.startswith("s1_T1w") for name in changed)
    # Another normalisation leaves the geometry alone.
    geometry = {p: p.stat().st_mtime_ns for p in out.glob("work/*")}
    prepare(folder, out, normalise=Percentile(5, 95))
    assert {p: p.stat().st_mtime_ns for p in out.glob("work/*")} == geometry
    # Another chain does not.
    prepare(folder, out, replace(PLAIN, spacing_mm=6.0))
    assert all(p.stat().st_mtime_ns != geometry[p] for p in out.glob("work/*"))


def test_a_sequence_that_joins_later_leaves_the_others_alone(tmp_path):
    folder, out = write_scans(tmp_path / "raw", 2), tmp_path / "out"
    chain = replace(PLAIN, between=Register("rigid", spacing_mm=6.0))
    prepare(folder, out, chain)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    flair = np.where(brain(0)[1], 1.2 - brain(0)[0], 0)
    write_volume(folder / "s0_FLAIR.nii.gz", 70 * flair, turned((3, 0, 2), (4, -3, 2)) @ AFFINE)
    joined = prepare(folder, out, chain)
    assert sorted((s.subject, s.sequence) for s in joined.scans) == [
        ("s0", "FLAIR"),
        ("s0", "T1w"),
        ("s1", "T1w"),
    ]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    record = json.loads((out / "scans" / "s0_FLAIR.json").read_text(encoding="utf-8"))
    assert record["steps"]["between"]["found"]["reference"] == "T1w"
    # Another T1w is another reference: its FLAIR is registered anew, the other subject is not.
    write_volume(folder / "s0_T1w.nii.gz", 100 * brain(5)[0], AFFINE)
    now = {path: path.stat().st_mtime_ns for path in out.glob("work/*")}
    prepare(folder, out, chain)
    changed = {path.name for path in now if path.stat().st_mtime_ns != now[path]}
    assert changed == {"s0_FLAIR.nii.gz", "s0_T1w.nii.gz"}


@pytest.mark.slow
def test_several_processes_give_the_same_files(tmp_path):
    folder = write_scans(tmp_path / "raw")
    one, two = prepare(folder, tmp_path / "one"), prepare(folder, tmp_path / "two", jobs=2)
    assert len(one.scans) == len(two.scans) == 3
    for path in sorted((tmp_path / "one" / "scans").glob("*.nii.gz")):
        assert path.read_bytes() == (tmp_path / "two" / "scans" / path.name).read_bytes()


def test_bad_scans_are_listed_and_the_rest_is_done(tmp_path, capsys):
    folder = write_scans(tmp_path / "raw mit Leerzeichen ä", 4)
    (folder / "s0_T1w.nii.gz").write_bytes((folder / "s0_T1w.nii.gz").read_bytes()[:200])
    write_volume(folder / "s1_T1w.nii.gz", np.zeros((9, 9, 9)), AFFINE)
    out = tmp_path / "out"
    # Options and overrides in any order, as people type them.
    words = ["preparation=extracted", "--jobs", "1", "preparation.steps.spacing_mm=3"]
    assert main([str(folder), str(out), *words]) == 3
    printed = capsys.readouterr()
    assert "s0" in printed.err
    lines = (out / "failures.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert "truncated" in lines[1]
    assert "all voxels are 0" in lines[2]
    assert len(read_cohort(out).scans) == 2
    page = (out / "qc.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2
    assert "Not prepared" in page


def test_nothing_to_prepare_is_one_line(tmp_path, capsys):
    folder = tmp_path / "raw"
    folder.mkdir()
    assert main([str(folder), str(tmp_path / "out")]) == 2
    assert "no DICOM series found" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    write_volume(folder / "s_T1w.nii.gz", np.zeros((9, 9, 9)), AFFINE)
    assert main([str(folder), str(tmp_path / "out"), "preparation=extracted"]) == 2
    assert "no scan could be prepared" in capsys.readouterr().err
    assert main([str(folder), str(tmp_path / "out"), "preparation=nothing"]) == 2
    assert "nothing" in capsys.readouterr().err
    words = ["preparation.steps.bias._target_=os.system"]
    assert main([str(folder), str(tmp_path / "out"), *words]) == 2
    assert "not allowed" in capsys.readouterr().err


def test_a_full_disk_is_one_line_with_the_path_and_what_fitted_stays(tmp_path):
    folder, out = write_scans(tmp_path / "raw", 4), tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        with pytest.raises(
            CannotWrite, match=r"small/cohort/.*: cannot be written \(No space left"
        ):
            prepare(folder, out / "cohort", replace(PLAIN, spacing_mm=1.5))
        assert not list(out.rglob(".*"))
        for path in out.rglob("*.nii.gz"):
            read_volume(path)
    finally:
        subprocess.run(["umount", str(out)], check=True)
    # With room again, the same call goes through.
    assert len(prepare(folder, tmp_path / "large").scans) == 4


@pytest.mark.slow
def test_a_killed_preparation_leaves_nothing_half_written_and_goes_on(tmp_path):
    folder, out = write_scans(tmp_path / "raw", 8), tmp_path / "out"
    words = [str(folder), str(out), "preparation=extracted", "preparation.steps.spacing_mm=1.5"]
    process = start(main, *words)
    deadline = time.monotonic() + 240
    while len(list(out.glob("scans/[!.]*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    done = {p: p.stat().st_mtime_ns for p in out.glob("scans/[!.]*.json")}
    assert 2 <= len(done) < 8
    assert not (out / "manifest.csv").exists()
    for path in done:
        record = json.loads(path.read_text(encoding="utf-8"))
        read_volume(out / record["image"])
    assert main(words) == 0
    cohort = read_cohort(out)
    assert len(cohort.scans) == 8
    assert not list(out.rglob(".*"))
    # What was whole was not made again: its picture of the brain is older than the kill.
    for path, stamp in done.items():
        record = json.loads(path.read_text(encoding="utf-8"))
        assert (out / record["image"]).stat().st_mtime_ns < stamp


@pytest.mark.slow
def test_a_killed_process_costs_its_own_scan_alone(tmp_path):
    folder, out = write_scans(tmp_path / "raw"), tmp_path / "out"
    moved = AFFINE.copy()
    moved[0, 3] = 5
    write_volume(folder / "s0_T1w.nii.gz", 100 * brain(0)[0], moved)
    cohort = prepare(folder, out, replace(PLAIN, skullstrip=Deadly()), jobs=2)
    assert sorted(s.subject for s in cohort.scans) == ["s1", "s2"]
    lines = (out / "failures.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "s0_T1w.nii.gz: its process was killed" in lines[1]


@pytest.mark.slow
def test_workers_end_with_a_killed_command_and_its_leftovers_go(tmp_path):
    folder, out = write_scans(tmp_path / "raw", 8), tmp_path / "out"
    words = [str(folder), str(out), "preparation=extracted", "preparation.steps.spacing_mm=1.5"]
    process = start(main, *words, "--jobs", "2")
    deadline = time.monotonic() + 240
    while len(list(out.glob("scans/[!.]*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    # The command alone: what it started has to notice.
    process.kill()
    process.join()
    while time.monotonic() < deadline and _in_session(process.pid):
        time.sleep(0.1)
    assert not _in_session(process.pid)
    # A file half written at that moment has a name that nobody reads, and is gone next time.
    stray = temporary_name(out / "work" / "s0_T1w.nii.gz")
    stray.write_bytes(b"half")
    assert main([*words, "--jobs", "1"]) == 0
    assert not list(out.rglob(".*"))
    assert len(read_cohort(out).scans) == 8


def _in_session(leader):
    """Living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == leader and state != "Z":
            found.append(path)
    return found


@pytest.mark.slow
def test_two_commands_at_once_make_one_cohort(tmp_path):
    """And leave what somebody else keeps there."""
    write_scans(tmp_path / "raw")
    once = prepare(tmp_path / "raw", tmp_path / "once")
    mine = tmp_path / "out" / "work" / ".2024.budget.xlsx"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "preparation=extracted"]
    words += ["preparation.steps.spacing_mm=3", "val_fraction=0.3", "test_fraction=0"]
    both = [start(main, *words) for _ in range(2)]
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]
    found = read_cohort(tmp_path / "out")
    assert len(found.scans) == len(once.scans) == 3
    for ours, theirs in zip(found.scans, once.scans, strict=True):
        assert ours.image.read_bytes() == theirs.image.read_bytes()
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [".2024.budget.xlsx"]
    assert mine.read_text() == "mine"


def test_nyul_learns_from_the_training_split_alone(tmp_path):
    folder = write_scans(tmp_path / "raw", 4)
    first = prepare(folder, tmp_path / "a", normalise=Nyul())
    test = next(s for s in first.scans if s.split == "val").subject
    # Another validation scan changes nothing but itself.
    write_volume(folder / f"{test}_T1w.nii.gz", 30 * np.sqrt(brain(9)[0]), AFFINE)
    second = prepare(folder, tmp_path / "b", normalise=Nyul())
    for a, b in zip(first.scans, second.scans, strict=True):
        same = a.image.read_bytes() == b.image.read_bytes()
        assert same == (a.subject != test)


def test_a_given_mask_wins_and_dicom_gets_a_native_file(tmp_path):
    image, inside = brain(0)
    volume = Volume((1000 * image).astype(np.int16), AFFINE)
    (tmp_path / "raw").mkdir()
    write_series(tmp_path / "raw" / "p1", volume, "T2w brain")
    (scan,) = find_raw(tmp_path / "raw", "T1w")
    assert (scan.subject, scan.sequence) == ("p1", "T2w")
    records, failures = prepare_subject([scan], PLAIN, tmp_path / "out")
    assert not failures
    native = nib.load(records[0].native_image)
    assert native.shape == image.shape
    half = inside.copy()
    half[: image.shape[0] // 2] = False
    write_volume(tmp_path / "scan.nii.gz", 100 * image, AFFINE)
    write_volume(tmp_path / "half.nii.gz", half, AFFINE, np.uint8)
    given = RawScan("p", "T1w", tmp_path / "scan.nii.gz", True, brain_mask=tmp_path / "half.nii.gz")
    (record,), _ = prepare_subject([given], PLAIN, tmp_path / "out")
    assert record.steps["skullstrip"].found["by"] == "Given()"
    assert record.quality["brain_ml"] == pytest.approx(half.sum() * 27 / 1000)


def test_flags_say_what_to_look_at():
    fine = {"brain_ml": 1400, "overlap": 0.95, "similarity": 0.6, "noise": 0.05}
    fine |= {"border_share": 0.0, "mirrored_gain": 0.0}
    assert Limits().flags(fine) == []
    for name, value, words in (
        ("brain_ml", 400, "brain volume 400 ml"),
        ("overlap", 0.5, "overlap 0.50, expected at least 0.85)"),
        ("similarity", 0.1, "Check the registration to the atlas (similarity 0.10,"),
        ("noise", 0.4, "Check the scan for motion and noise (noise 0.40"),
        ("border_share", 0.2, "touches the border of the scan (20.0% of a face"),
        ("mirrored_gain", 0.1, "left and right are swapped (the mirrored atlas"),
    ):
        (said,) = Limits().flags({**fine, name: value})
        assert words in said


def test_measures_by_hand():
    mask = np.zeros((20, 20, 20), bool)
    mask[4:16, 4:16, 0:10] = True
    rng = np.random.default_rng(0)
    image = np.where(mask, 100 + rng.normal(0, 10, mask.shape), 0)
    found = measure(Volume(image, np.diag([1.0, 2, 3, 1])), image, mask)
    assert found["brain_ml"] == pytest.approx(12 * 12 * 10 * 6 / 1000)
    assert found["border_share"] == pytest.approx(144 / 800)
    assert found["noise"] == pytest.approx(0.1, rel=0.15)


def test_bids_takes_the_first_session_and_run(tmp_path):
    for name in (
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-mprage_T1w.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "derivatives/lesions/sub-02/anat/sub-02_label-lesion_mask.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dataset_description.json").write_text("{}")
    found = find_raw(tmp_path, "T1w")
    assert [(s.subject, s.sequence, s.healthy) for s in found] == [
        ("sub-01", "FLAIR", True),
        ("sub-01", "T1w", True),
        ("sub-02", "T1w", False),
    ]
    assert found[1].image.name == "sub-01_ses-1_T1w.nii.gz"
    assert found[2].lesion_mask.name == "sub-02_label-lesion_mask.nii.gz"


def test_one_file_is_a_source_and_two_series_of_a_kind_are_a_question(tmp_path):
    write_scans(tmp_path / "raw", 1)
    path = tmp_path / "raw" / "s0_T1w.nii.gz"
    (scan,) = find_raw(path, "FLAIR")
    # The name tells more than the option.
    assert (scan.subject, scan.sequence, scan.image) == ("s0", "T1w", path)
    volume = Volume(np.ones((5, 5, 5), np.int16), AFFINE)
    for name in ("a", "b"):
        (tmp_path / "dicom" / "p").mkdir(parents=True, exist_ok=True)
        write_series(tmp_path / "dicom" / "p" / name, volume, "t1")
    with pytest.raises(InputError, match="a second T1w series of subject p"):
        find_raw(tmp_path / "dicom", "T1w")


def test_folds_share_the_test_subjects_and_deal_out_the_rest():
    scans = [RawScan(f"s{i}", "T1w", None, True, site="AB"[i % 2]) for i in range(22)]
    folds = []
    for fold in range(4):
        splits = {
            s.subject: s.split for s in assign_splits(scans, 0, 0.15, 0.1, folds=4, fold=fold)
        }
        folds.append(splits)
    tests = [{s for s, split in f.items() if split == "test"} for f in folds]
    assert all(t == tests[0] for t in tests)
    assert len(tests[0]) == 2
    vals = [{s for s, split in f.items() if split == "val"} for f in folds]
    assert set.union(*vals) == {s.subject for s in scans} - tests[0]
    assert sum(map(len, vals)) == 20
    # Both sites are in every fold's validation part, as evenly as they can be.
    for val in vals:
        sites = [int(name[1:]) % 2 for name in val]
        assert abs(2 * sum(sites) - len(sites)) <= 1
    with pytest.raises(InputError, match="fold is 4"):
        assign_splits(scans, 0, 0.15, 0.1, folds=4, fold=4)
    with pytest.raises(InputError, match="healthy subjects are left"):
        assign_splits(scans[:2], 0, 0.15, 0.0, folds=4, fold=0)


def test_n4_in_the_chain_is_recorded(tmp_path):
    image, _ = brain(0)
    field = np.linspace(0.7, 1.3, image.shape[0])[:, None, None]
    write_volume(tmp_path / "a.nii.gz", 100 * image * field, AFFINE)
    scan = RawScan("a", "T1w", tmp_path / "a.nii.gz", healthy=True)
    chain = replace(PLAIN, bias=N4(shrink=1))
    (record,), failures = prepare_subject([scan], chain, tmp_path / "out")
    assert not failures
    low, high = record.steps["bias"].found["field_range"]
    assert low < 0.9
    assert high > 1.1
