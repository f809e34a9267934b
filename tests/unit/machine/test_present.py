"""Disks that go while a command is at work."""

import os
import shutil
import subprocess
import sys

import pytest

from brainuad.errors import CannotWrite, InputError
from brainuad.machine.files import own_folder, write_text
from brainuad.machine.present import PRESENT, present, require_any


def test_nothing_is_written_where_the_folder_was(tmp_path):
    out = tmp_path / "out"
    with own_folder(out / "work") as work, present(out, work):
        write_text(out / "deep" / "a", "1")
        os.rename(out, tmp_path / "elsewhere")
        with pytest.raises(CannotWrite, match=f"{out}: is not there any more"):
            write_text(out / "deep" / "a", "2")
        assert not out.exists()
        # Other folders are not concerned.
        write_text(tmp_path / "other" / "a", "3")
        os.rename(tmp_path / "elsewhere", out)
        write_text(out / "deep" / "a", "4")
    assert (out / "deep" / "a").read_text() == "4"
    shutil.rmtree(out)
    write_text(out / "a", "5")


def test_processes_that_are_started_meanwhile_know_it(tmp_path):
    out = tmp_path / "out"
    code = "import sys; from brainuad.machine.files import write_text; from pathlib import Path; "
    code += "write_text(Path(sys.argv[1]), '1')"
    with own_folder(out / "work") as work, present(out, work):
        os.rename(out, tmp_path / "elsewhere")
        command = [sys.executable, "-c", code, str(out / "a")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "is not there any more" in done.stderr
        os.rename(tmp_path / "elsewhere", out)
    assert PRESENT not in os.environ


def test_one_scan_that_goes_is_its_own_matter_and_all_are_a_disk(tmp_path):
    images = [tmp_path / name for name in "ab"]
    for image in images:
        image.touch()
    images[0].unlink()
    require_any(images)
    images[1].unlink()
    require_any(images[:1])
    with pytest.raises(InputError, match="all the other scans are not there any more"):
        require_any(images)
