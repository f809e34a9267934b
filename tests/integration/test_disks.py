"""Full, read-only and vanishing disks: one line with the path, no scan blamed, nothing lost."""

import pandas as pd
import pytest
from small_disk import after, disk, lose, remount, second_way
from tiny import AFFINE, brain, write_tiny_model

from brainuad.cli import predict, prepare
from brainuad.cohorts.manifest import read_cohort
from brainuad.inference import outputs
from brainuad.machine.failures import Failures
from brainuad.model import model as model_module
from brainuad.preparation import cohort
from brainuad.volumes.nifti import read_volume, write_volume

WORDS = ("preparation=extracted", "preparation.steps.spacing_mm=3")
COUNT = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.ckpt")


def write_scans(folder):
    for i in range(COUNT):
        write_volume(folder / f"s{i}_T2w.nii.gz", 900 * brain(i)[0], AFFINE)
    return folder


@pytest.fixture
def scans(tmp_path):
    return write_scans(tmp_path / "scans")


@pytest.fixture
def predicted(model, capsys):
    """Predicts and gives the status, the lines of the error, and the table that is there."""

    def call(scans, out, *words):
        status = predict.main([*map(str, (model, scans, out, *words)), "--no-page"])
        path = out / "subjects.csv"
        table = pd.read_csv(path) if path.is_file() else None
        return status, capsys.readouterr().err.splitlines(), table

    return call


@pytest.fixture
def prepared(capsys):
    def call(scans, out, *words):
        status = prepare.main([str(scans), str(out), *WORDS, *words])
        return status, capsys.readouterr().err.splitlines()

    return call


def size_of(folder):
    """Of files, in pages as a small disk counts them."""
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file())


def test_predictions_on_a_full_disk_stay_and_go_on_when_there_is_room(predicted, scans, tmp_path):
    assert predicted(scans, tmp_path / "whole")[0] == 0
    whole = size_of(tmp_path / "whole")
    with disk(tmp_path / "disk", f"{int(0.75 * whole)}k") as place:
        out = place / "out"
        status, said, table = predicted(scans, out)
        assert status == 2
        assert len(said) == 1
        assert said[0].startswith(f"error: {out}/")
        assert "No space left" in said[0]
        done = sorted(path.name for path in (out / "records").glob("*.json"))
        assert 0 < len(done) < COUNT
        assert table is None or set(table.status) == {"done"}
        stamps = {path: path.stat().st_mtime_ns for path in out.glob("records/*.json")}
        assert not list(out.rglob(".*"))
        remount(place, "size=50m")
        status, said, table = predicted(scans, out)
        assert (status, said) == (0, [])
        assert list(table.status) == ["done"] * COUNT
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_result_that_does_not_fit_leaves_the_one_before_whole(predicted, scans, tmp_path):
    with disk(tmp_path / "disk") as place:
        out = place / "out"
        predicted(scans, out)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        # Room for one file, not for all of a scan.
        remount(place, f"size={size_of(out) + 48}k")
        status, said, table = predicted(scans, out, "--threshold", "0.9")
        assert status == 2
        assert len(said) == 1
        assert set(table.status) == {"done"}
        changed = {path for path, content in before.items() if path.read_bytes() != content}
        records = {path.stem for path in changed if path.parent.name == "records"}
        # Scan by scan, either all of its files are new or none is.
        assert {path.parent.name for path in changed if path.name.endswith(".gz")} <= records


def test_a_read_only_disk_is_one_line_and_keeps_its_results(predicted, prepared, scans, tmp_path):
    with disk(tmp_path / "disk") as place:
        predicted(scans, place / "out")
        prepared(scans, place / "cohort")
        remount(place, "ro")
        for out in (place / "out", place / "new"):
            status, said, table = predicted(scans, out, "--threshold", "0.9")
            assert status == 2
            assert len(said) == 1
            assert "Read-only file system" in said[0]
            assert str(out) in said[0]
        for out in (place / "cohort", place / "other"):
            status, said = prepared(scans, out)
            assert status == 2
            assert len(said) == 1
            assert "Read-only file system" in said[0]
            assert str(out) in said[0]
        _, _, table = predicted(tmp_path / "none", place / "out")
        assert list(table.status) == ["done"] * COUNT
        assert len(read_cohort(place / "cohort").scans) == COUNT


def test_predictions_on_a_disk_that_vanishes_are_nobodys_fault(
    predicted, scans, tmp_path, monkeypatch
):
    with disk(tmp_path / "disk") as place, second_way(place, tmp_path / "mnt") as way:
        out = way / "out"
        with monkeypatch.context() as patch:
            after(patch, outputs, "write_prediction", 2, lambda: lose(way))
            status, said, _ = predicted(scans, out)
        assert status == 2
        assert len(said) == 1
        assert said[0].startswith(f"error: {out}: is not there any more")
        # Nothing was written to the folder below.
        assert not list(way.iterdir())
        status, said, table = predicted(scans, place / "out")
        assert (status, said) == (0, [])
        assert list(table.status) == ["done"] * COUNT


def test_a_cohort_on_a_disk_that_vanishes_is_nobodys_fault(prepared, scans, tmp_path, monkeypatch):
    with disk(tmp_path / "disk") as place, second_way(place, tmp_path / "mnt") as way:
        with monkeypatch.context() as patch:
            after(patch, cohort, "prepare_subject", 2, lambda: lose(way))
            status, said = prepared(scans, way / "cohort")
        assert status == 2
        assert len(said) == 1
        assert said[0].startswith(f"error: {way / 'cohort'}: is not there any more")
        assert not list(way.iterdir())
        first = (place / "cohort/scans/s0_T2w.json").stat().st_mtime_ns
        assert prepared(scans, place / "cohort") == (0, [])
        assert len(read_cohort(place / "cohort").scans) == COUNT
        # Its intensities are normalised now; it was not prepared again.
        image = place / "cohort/work/s0_T2w.nii.gz"
        assert image.stat().st_mtime_ns < first


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Size of a cohort without its page, in kB."""
    place = tmp_path_factory.mktemp("whole")
    out = place / "cohort"
    assert prepare.main([str(write_scans(place / "scans")), str(out), *WORDS]) == 0
    (out / "qc.html").unlink()
    return size_of(out)


@pytest.mark.parametrize("share", [0.35, 0.45, 0.55, 0.65, 0.75, 0.9])
def test_a_cohort_on_a_full_disk_lists_what_is_done_and_goes_on(
    prepared, scans, tmp_path, whole, share
):
    with disk(tmp_path / "disk", f"{int(share * whole)}k") as place:
        out = place / "cohort"
        status, said = prepared(scans, out)
        assert status == 2
        assert len(said) == 1
        assert said[0].startswith(f"error: {out}/")
        assert "No space left" in said[0]
        done = {path.name.split(".")[0] for path in out.glob("scans/*.nii.gz")}
        found = read_cohort(out)
        assert not found.info["failures"]
        assert {f"{scan.subject}_T2w" for scan in found.scans} == done
        # Of all that are prepared but one at most.
        assert len(list(out.glob("scans/*.json"))) - len(done) in (0, 1)
        stamps = {}
        for scan in found.scans:
            read_volume(scan.image)
            for path in (scan.image, scan.brain_mask):
                stamps[path] = path.stat().st_mtime_ns
        assert not list(out.rglob(".*"))
        remount(place, "size=50m")
        assert prepared(scans, out) == (0, [])
        assert len(read_cohort(out).scans) == COUNT
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_cohort_goes_on_on_a_disk_that_is_full_again(prepared, scans, tmp_path, whole):
    with disk(tmp_path / "disk", f"{int(0.45 * whole)}k") as place:
        out, listed = place / "cohort", []
        for share in (0.45, 0.55, 0.7, 0.85):
            remount(place, f"size={int(share * whole)}k")
            status, said = prepared(scans, out)
            assert (status, len(said)) == (2, 1)
            assert "No space left" in said[0]
            listed.append(len(read_cohort(out).scans))
            assert len(list(out.glob("scans/*.nii.gz"))) == listed[-1]
        assert listed == sorted(listed)
        assert listed[0] < listed[-1]


def test_scans_on_a_disk_that_vanishes_are_not_blamed(predicted, scans, tmp_path, monkeypatch):
    out, away = tmp_path / "out", tmp_path / "away"
    with monkeypatch.context() as patch:
        after(patch, outputs, "write_prediction", 2, lambda: scans.rename(away))
        status, said, table = predicted(scans, out)
    assert status == 2
    assert len(said) == 1
    assert "all the other scans are not there any more" in said[0]
    assert list(table.status) == ["done"] * 2
    away.rename(scans)
    assert list(predicted(scans, out)[2].status) == ["done"] * COUNT


def test_a_full_temporary_folder_is_no_scans_fault(predicted, scans, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_module, "detect_volume", full)
    status, said, table = predicted(scans, tmp_path / "out")
    assert status == 2
    assert len(said) == 1
    assert "No space left" in said[0]
    assert len(table) == 0
    failures = Failures()
    with failures.catching("a", "a.nii.gz"):
        raise OSError(5, "Input/output error", "a.nii.gz")
    # What cannot be read is.
    assert len(failures) == 1
