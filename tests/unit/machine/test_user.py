"""Users without a name, a home or a place for temporary files."""

import os
import subprocess
import sys
import tempfile

import pytest

from brainuad.errors import CannotWrite
from brainuad.machine import temporary, user
from brainuad.machine.cache import cache_folder, kept_arrays, working_folder
from brainuad.machine.text import without_home

CACHES = ("BRAINUAD_CACHE", "XDG_CACHE_HOME")
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def homeless(monkeypatch):
    """A process whose user the system does not know."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", *CACHES, *NAMES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_place(monkeypatch):
    """A process that finds no folder for temporary files."""

    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/nowhere")


def test_a_user_without_a_name_is_called_by_the_number(homeless, monkeypatch):
    user.name_user()
    assert os.environ["USER"] == str(os.getuid())
    monkeypatch.setenv("USER", "anna")
    user.name_user()
    assert os.environ["USER"] == "anna"


def test_a_user_without_a_home_has_no_cache_but_a_folder_to_work_in(homeless):
    assert user.home_folder() is None
    assert cache_folder() is None
    assert without_home("/data/scan.nii.gz") == "/data/scan.nii.gz"
    assert kept_arrays("name", "numpy", lambda: {"made": 1}) == {"made": 1}
    assert working_folder().is_dir()
    assert working_folder() == temporary.scratch_folder()


def test_inputs_lie_in_the_cache_unless_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "cache"))
    assert working_folder() == tmp_path / "cache"
    (tmp_path / "file").touch()
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "file" / "cache"))
    assert working_folder() == temporary.scratch_folder()


def test_temporary_files_go_to_the_results_where_there_is_no_other_place(
    no_place, tmp_path, monkeypatch
):
    ends = []
    monkeypatch.setattr("atexit.register", ends.append)
    temporary.have_temporary(tmp_path / "out")
    with tempfile.NamedTemporaryFile() as file:
        assert file.name.startswith(f"{tmp_path / 'out'}/.brainuad-")
    code = "import tempfile; print(tempfile.gettempdir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.environ["TMPDIR"]
    (end,) = ends
    end()
    assert not list((tmp_path / "out").iterdir())


def test_a_place_for_temporary_files_stays_in_use(tmp_path):
    before = tempfile.gettempdir()
    temporary.have_temporary(tmp_path / "out")
    assert tempfile.gettempdir() == before
    assert not (tmp_path / "out").exists()


def test_no_place_at_all_is_said(no_place, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="file"):
        temporary.have_temporary(tmp_path / "file")
