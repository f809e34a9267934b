"""A folder of a stranger may hold links; no command writes or removes anything behind them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import AFFINE, brain, write_tiny_cohort, write_tiny_model

from brainuad.cli.predict import main as predict
from brainuad.cli.prepare import main as prepare
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import CannotWrite
from brainuad.machine import files
from brainuad.machine.links import GUARDED, MOST, follow_no_links
from brainuad.machine.locks import lock
from brainuad.volumes.nifti import write_volume


@pytest.fixture
def linked(tmp_path):
    """A guarded folder with a link `in` to another one, which holds a file of ours and one not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (outside / "a_anomaly.nii.gz").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "in").symlink_to(outside)
    follow_no_links(out)
    return out, outside


def _state(folder):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _folder(path):
    with files.atomic_folder(path):
        pass


def _own(path):
    with files.own_folder(path):
        pass


def _lock(path):
    with lock(path):
        pass


@pytest.mark.parametrize(
    "act", [lambda path: files.write_text(path, "new"), files.remove, _folder, _own, _lock]
)
@pytest.mark.parametrize("deep", ["in/mine", "in/new/deeper/mine"])
def test_nothing_is_written_or_removed_through_a_link(linked, act, deep):
    out, outside = linked
    before = sorted(outside.iterdir()), _state(outside)
    with pytest.raises(CannotWrite, match=r"out/in: is a link, and in .*out none is followed"):
        act(out / deep)
    assert (sorted(outside.iterdir()), _state(outside)) == before


def test_leftovers_behind_a_link_are_left_alone(linked):
    out, outside = linked
    left = files.temporary_name(outside / "a")
    left.write_text("half")
    files.remove_leftovers(out)
    assert left.exists()


def test_a_lock_that_is_a_link_is_not_opened(linked):
    out, outside = linked
    (out / ".a.lock").symlink_to(outside / "mine")
    with pytest.raises(CannotWrite, match="is a link"):
        _lock(out / "a")
    assert (outside / "mine").read_text() == "mine"


def test_the_users_own_link_to_the_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    follow_no_links(tmp_path / "out" / "deeper")
    files.write_text(tmp_path / "out" / "deeper" / "in" / "a", "new")
    assert (tmp_path / "disk" / "deeper" / "in" / "a").read_text() == "new"


def test_processes_that_are_started_later_follow_none_either(linked):
    out, outside = linked
    code = (
        "import sys; from pathlib import Path; from brainuad.machine.files import write_text\n"
        "write_text(Path(sys.argv[1]), 'new')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, out / "in" / "mine"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is a link" in done.stderr
    assert (outside / "mine").read_text() == "mine"


def test_the_variable_stays_small(monkeypatch):
    monkeypatch.setenv(GUARDED, "[]")
    for index in range(MOST + 50):
        follow_no_links(Path(f"/nowhere/{index}"))
    assert len(os.environ[GUARDED]) < 10_000
    assert f"/nowhere/{MOST + 49}" in os.environ[GUARDED]


def _folders(out):
    return [path for path in sorted(out.rglob("*")) if path.is_dir()]


def _behind_links(out, run):
    """Runs a command once for each folder in `out`, which is a link to a copy outside then."""
    folders = _folders(out)
    assert folders
    for folder in folders:
        outside = out.parent / "elsewhere"
        shutil.copytree(folder, outside)
        shutil.move(folder, out.parent / "aside")
        folder.symlink_to(outside)
        before = _state(outside)
        status, said = run()
        assert _state(outside) == before, folder
        assert folder.is_symlink()
        if status != 0:
            (line,) = [line for line in said.splitlines() if "error" in line]
            assert f"{folder}: is a link" in line
        folder.unlink()
        shutil.move(out.parent / "aside", folder)
        shutil.rmtree(outside)
        yield folder.relative_to(out), status


@pytest.mark.slow
def test_predict_refuses_each_folder_of_out_that_is_a_link(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "m.ckpt")
    scans = write_tiny_cohort(tmp_path / "cohort").root
    words = [str(model), str(scans), str(tmp_path / "out"), "--keep-maps"]
    assert predict(words) == 0
    thresholds = iter(range(1, 100))

    def run():
        # Another threshold, so that everything is made anew.
        status = predict([*words, f"--threshold=0.7{next(thresholds)}"])
        return status, capsys.readouterr().err

    capsys.readouterr()
    found = dict(_behind_links(tmp_path / "out", run))
    assert {path: status for path, status in found.items() if str(path) == "records"} == {
        Path("records"): 2
    }
    assert found[Path("prepared")] == 2


@pytest.mark.slow
def test_prepare_refuses_each_folder_of_out_that_is_a_link(tmp_path, capsys):
    for index in range(3):
        write_volume(tmp_path / "raw" / f"s{index}_T1w.nii.gz", 100 * brain(index)[0], AFFINE)
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "preparation=extracted"]
    assert prepare([*words, "preparation.steps.spacing_mm=3"]) == 0
    margins = iter(range(1, 100))

    def run():
        status = prepare(
            [
                *words,
                "preparation.steps.spacing_mm=3",
                f"+preparation.steps.margin_mm={next(margins)}",
            ]
        )
        return status, capsys.readouterr().err

    capsys.readouterr()
    found = dict(_behind_links(tmp_path / "out", run))
    for name in ("work", "masks", "scans", "transforms"):
        assert found[Path(name)] == 2, name


def test_maps_behind_a_link_are_not_removed(linked):
    out, outside = linked
    (outside / "maps.json").write_text("{}")
    with pytest.raises(CannotWrite, match="is a link"):
        MapFolder(out / "in").clear([])
    assert (outside / "a_anomaly.nii.gz").read_text() == "mine"


def test_only_one_module_removes_and_renames():
    """What goes round `files` would follow links."""
    source = Path(files.__file__).parents[1]
    words = ("unlink(", "rmtree", "os.replace", "os.remove", "os.rename", "copytree", "move(src")
    found = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert found == {"machine/files.py"}
