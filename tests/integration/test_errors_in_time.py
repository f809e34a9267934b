"""What can be known at the start is said then; what was trained is kept, whatever fails after."""

import importlib
import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from tiny import AFFINE, ROOT, brain, write_tiny_cohort, write_tiny_model

from brainuad.cli import evaluate, predict, prepare, train
from brainuad.errors import CannotWrite
from brainuad.inference import controls, outputs
from brainuad.machine import terminal
from brainuad.machine.limits import require_folder
from brainuad.model.model import Model
from brainuad.reporting.pages import report
from brainuad.training import detect_and_score
from brainuad.volumes.nifti import write_volume

EXTRACTED = ("preparation=extracted", "preparation.steps.spacing_mm=6")


# Imported now, these keep the true `write_maps`. Imported first inside a test, they would keep the
# faulty one for all tests after it.
for name in ("training.relative_to_healthy", "label_free.difficulty", "label_free.objective"):
    importlib.import_module(f"brainuad.{name}")


class Fault(Exception):
    """Nobody foresees it."""


def fail(*_, **__):
    raise Fault("by the test")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def scans(tmp_path):
    for i in range(3):
        write_volume(tmp_path / f"scans/s{i}_T2w.nii.gz", 900 * brain(i)[0], AFFINE)
    return tmp_path / "scans"


@pytest.fixture
def run(cohort, tmp_path, monkeypatch, capsys):
    """A training in seconds, with these words: status, lines of the errors, and the run folder."""

    def call(*words, experiment="zscore", source=cohort.root):
        places = [f"paths.cache_dir={tmp_path / 'cache'}", f"paths.output_dir={tmp_path / 'run'}"]
        data = ["data=folder", f"data.source={source}", "data.sequence=T2w", "jobs=1"]
        argv = ["train.py", f"experiment={experiment}", *data, *places, *words]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        status = train.main()
        lines = capsys.readouterr().err.splitlines()
        return status, [line for line in lines if "error" in line or "(" in line], tmp_path / "run"

    return call


def test_a_cohort_without_a_test_split_is_refused_before_a_scan_is_prepared(run, scans, tmp_path):
    rows = ["image,subject,split", "s0_T2w.nii.gz,a,train", "s1_T2w.nii.gz,b,train"]
    (scans / "a.csv").write_text("\n".join([*rows, "s2_T2w.nii.gz,c,val"]))
    status, (line,), folder = run("data.spacing_mm=6", source=scans / "a.csv")
    assert status == 2
    assert line.startswith(f"error: {scans / 'a.csv'}: no T2w scan in split 'test'")
    assert not folder.exists()
    assert not list((tmp_path / "cache").glob("cohorts/*"))


def test_a_fault_after_the_training_costs_no_model(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(detect_and_score, "fill", fail)
        status, (line,), folder = run()
    assert status == 1
    assert line.startswith("internal error: Fault: by the test; the trained model is in ")
    assert "please report" in line
    assert Model.load(folder / "model.ckpt").method.atlas.mean.any()
    assert '"error": "by the test"' in (folder / "provenance.json").read_text()


def test_a_disk_that_is_full_after_the_training_costs_no_model(run, monkeypatch):
    def full(*_, **__):
        raise CannotWrite("run/prepared: cannot be written")

    monkeypatch.setattr(detect_and_score, "fill", full)
    status, (line,), folder = run()
    assert status == 2
    assert line.startswith("error: run/prepared: cannot be written; the trained model is in ")
    assert (folder / "model.ckpt").is_file()


def test_a_fault_in_a_control_or_the_report_costs_nothing_else(run, monkeypatch):
    monkeypatch.setattr(controls, "fill", fail)
    monkeypatch.setattr(report, "make_report", fail)
    status, lines, folder = run()
    assert status == 3
    said = "\n".join(lines)
    assert "(intensity): " in said
    assert "(report): Fault: by the test" in said
    scores = (folder / "scores.csv").read_text()
    assert "zscore" in scores
    assert "intensity" not in scores
    assert len(list(folder.glob("*_mask.nii.gz"))) == 3


def test_a_fault_in_the_evaluation_costs_no_model_and_no_mask(run, monkeypatch):
    monkeypatch.setattr(detect_and_score, "_evaluate", fail)
    status, (line,), folder = run()
    assert status == 1
    assert "by the test; the trained model is in " in line
    assert Model.load(folder / "model.ckpt").card.threshold is not None
    assert len(list(folder.glob("*_mask.nii.gz"))) == 3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("threshold=nan", "threshold is nan; use a number, 0 or more, or null"),
        ("threshold=half", "threshold is 'half'"),
        ("threshold=-0.1", "threshold is -0.1"),
        ("fixed=true", "fixed is True"),
        ("space=nativ", "space is 'nativ'"),
        ("paths.output_dir=file/out", "file/out: cannot be made, because "),
        ("paths.cache_dir=file", "file: is a file"),
    ],
)
def test_an_evaluation_says_at_once_what_it_cannot_use(
    cohort, tmp_path, monkeypatch, capsys, word, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "maps").mkdir()
    words = ["data=folder", f"data.source={cohort.root}", "data.sequence=T2w", "maps=maps", word]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    assert evaluate.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "maps"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("OUT", "--threshold", "-1"), "--threshold -1: is neither a number, 0 or more"),
        (("OUT", "--jobs", "0"), "--jobs is 0"),
        (("OUT", "--device", "cuda:99", "--dry-run"), "device cuda:99 cannot be used"),
        (("file/out",), "file/out: cannot be made, because "),
        (("OUT", "preparation.steps.spacing_mm=0", "--dry-run"), "spacing_mm is 0"),
        (("OUT", "preparation.steps.spacing_mm=0.1", "--dry-run"), "GB are at hand"),
    ],
)
def test_a_prediction_says_at_once_what_it_cannot_use(
    scans, tmp_path, monkeypatch, capsys, words, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("brainuad.machine.limits.available_bytes", lambda: 2e9)
    (tmp_path / "file").touch()
    model = write_tiny_model(tmp_path / "model.ckpt")
    assert predict.main([str(model), str(scans), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("OUT", "--jobs", "-1"), "--jobs is -1"),
        (("OUT", "val_fraction=2"), "val_fraction is 2"),
        (("OUT", "test_fraction=a"), "test_fraction is 'a'"),
        (("OUT", "fold=-1"), "fold is -1"),
        (("file",), "file: is a file"),
        (("OUT", "preparation.steps.spacing_mm=0.1", "--dry-run"), "GB are at hand"),
    ],
)
def test_a_preparation_says_at_once_what_it_cannot_use(
    scans, tmp_path, monkeypatch, capsys, words, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("brainuad.machine.limits.available_bytes", lambda: 2e9)
    (tmp_path / "file").touch()
    assert prepare.main([str(scans), words[0], *EXTRACTED, *words[1:]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "OUT").exists()


def test_a_folder_named_like_a_setting_is_a_folder(scans, tmp_path):
    odd = scans.rename(tmp_path / "a=b (1)")
    model = write_tiny_model(tmp_path / "model.ckpt")
    assert predict.main([str(model), str(odd), str(tmp_path / "out"), "--dry-run"]) == 0


def test_a_folder_is_tried_without_a_trace(tmp_path):
    require_folder(tmp_path / "deep/er")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(Exception, match="leads nowhere; give a folder"):
        require_folder(tmp_path / "nowhere")


def test_an_output_that_is_gone_or_lacks_letters_ends_nothing(tmp_path):
    """A reader that stopped, and a notebook's backend of matplotlib."""
    names = {"PYTHONIOENCODING": "latin-1", "MPLBACKEND": "module://nosuch.backend"}
    script = """
import os, sys
from brainuad.machine import terminal
terminal.steady()
print("\\u2308 ok", flush=True)
os.close(1)
print("gone", flush=True)
import matplotlib
print(matplotlib.get_backend(), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **names},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"? ok\n"
    assert done.stderr.strip() == b"agg"


def test_a_stream_of_somebody_else_stays(monkeypatch):
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    terminal.steady()
    assert sys.stdout is own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_prediction_with_its_tables_and_without_leftovers(
    scans, tmp_path, monkeypatch, capsys, number
):
    model = write_tiny_model(tmp_path / "model.ckpt")
    original, calls = outputs.write_prediction, []

    def second(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(outputs, "write_prediction", second)
    # Under nohup a closed terminal is ignored.
    before = signal.SIG_DFL
    outer = signal.signal(number, before)
    words = [*map(str, (model, scans, tmp_path / "out")), "--no-page", "--device", "cpu"]
    try:
        assert predict.main(words) == 143
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, outer)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"stopped by {number.name}: nothing finished is lost; give the same")
    table = (tmp_path / "out/subjects.csv").read_text().splitlines()
    assert len(table) == 2
    assert not list((tmp_path / "out").glob(".brainuad-*"))


def test_memory_that_is_full_is_said_with_the_remedy(scans, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise np._core._exceptions._ArrayMemoryError((9, 9), np.dtype(float))

    monkeypatch.setattr(prepare, "find_all", full)
    assert prepare.main([str(scans), str(tmp_path / "out"), *EXTRACTED]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the memory is full (")
    assert "fewer --jobs" in line
