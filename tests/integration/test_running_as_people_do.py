"""Machines as people have them: what they lack stops nothing, what is asked wrongly is said."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from tiny import AFFINE, ROOT, brain, write_tiny_model

from brainuad.cli import predict, prepare, train
from brainuad.preparation.from_folder import folder_cohort
from brainuad.volumes.nifti import write_volume

WORDS = ("preparation=extracted", "preparation.steps.spacing_mm=6")


@pytest.fixture
def scans(tmp_path):
    for i in range(3):
        write_volume(tmp_path / f"scans/s{i}_T2w.nii.gz", 900 * brain(i)[0], AFFINE)
    return tmp_path / "scans"


def test_a_machine_without_locale_home_temporary_folder_and_display_will_do(scans, tmp_path):
    code = "import sys; from brainuad.cli.prepare import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(scans), str(tmp_path / "Köpfe"), *WORDS]
    nowhere = str(tmp_path / "nowhere")
    poor = {
        "LC_ALL": "C",
        "HOME": nowhere,
        "TMPDIR": nowhere,
        "DISPLAY": ":99",
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, env=poor, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 scans" in done.stdout
    assert (tmp_path / "Köpfe/qc.html").is_file()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_that_does_not_know_flock_will_do(scans, tmp_path, monkeypatch, number):
    def unknown(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unknown)
    assert len(folder_cohort(scans, tmp_path / "cache", "T2w", spacing_mm=6).scans) == 3


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("preparation/skullstrip=nosuch", "nosuch"),
        ("preparation/normalise=nosuch", "nosuch"),
        ("preparation=nosuch", "nosuch"),
        ("preparation.steps.nosuch=1", "nosuch"),
    ],
)
def test_a_preparation_that_is_not_there_is_said_before_the_work(
    scans, tmp_path, capsys, word, named
):
    assert prepare.main([str(scans), str(tmp_path / "out"), word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert not (tmp_path / "out").exists()


def test_an_experiment_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brainuad-train", "experiment=nosuch"])
    assert train.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "experiment/nosuch" in line


def test_a_device_that_torch_does_not_know_is_said_before_any_scan(scans, tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model.ckpt")
    status = predict.main([*map(str, (model, scans, tmp_path / "out")), "--device", "gpu"])
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: device gpu ")
    assert not (tmp_path / "out").exists()
