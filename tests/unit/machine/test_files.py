import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainuad.errors import CannotWrite
from brainuad.machine import files
from brainuad.machine.files import (
    atomic_folder,
    atomic_path,
    remove_leftovers,
    temporary_name,
    until_still,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert os.listdir(tmp_path) == []
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("whole")
    assert (tmp_path / "f" / "a").read_text() == "whole"


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), (1.5, float("inf"))], "b": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, [1.5, None]], "b": None}


KILLED = """
import os, signal, sys
from pathlib import Path
from brainuad.machine.files import atomic_folder, atomic_path
with (atomic_folder if sys.argv[2] == "folder" else atomic_path)(Path(sys.argv[1])) as temporary:
    (temporary / "a" if sys.argv[2] == "folder" else temporary).write_text("half")
    print(temporary, flush=True)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def _writer(path, kind, how):
    command = [sys.executable, "-c", KILLED, str(path), kind, how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path, kind):
    dead, left = _writer(tmp_path / "in" / "a", kind, "killed")
    dead.wait()
    living, held = _writer(tmp_path / "in" / "b", kind, "waits")
    assert left.exists()
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert held.exists()
    living.communicate("")
    assert os.listdir(tmp_path / "in") == ["b"]


def test_nothing_is_removed_that_only_looks_like_ours(tmp_path):
    (tmp_path / "in").mkdir()
    target = tmp_path / "precious.txt"
    target.write_text("mine")
    names = (".2024.budget.xlsx", f".{os.getpid()}.a", ".brainuad-notes", ".brainuad-1-2.a")
    for name in names:
        (tmp_path / "in" / name).write_text("mine")
    temporary_name(tmp_path / "in" / "link").symlink_to(target)
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_leftover_of_another_machine_stays_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_host", lambda: "0a0a0a0a")
    left = temporary_name(tmp_path / "a")
    left.write_text("half")
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert left.exists()
    os.utime(left, (time.time() - 2e5,) * 2)
    remove_leftovers(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("write", [write_text, "folder"])
def test_a_file_that_another_process_took_for_a_leftover_is_made_again(
    tmp_path, monkeypatch, write
):
    """Before its lock is taken, a new file is as one of a process that was killed."""
    own, calls = files._try_lock, []

    def late(held):
        calls.append(held)
        if len(calls) == 1:
            remove_leftovers(tmp_path)
        return own(held)

    monkeypatch.setattr(files, "_try_lock", late)
    if write == "folder":
        with atomic_folder(tmp_path / "a") as temporary:
            (temporary / "b").write_text("whole")
        assert os.listdir(tmp_path / "a") == ["b"]
    else:
        write(tmp_path / "a", "whole")
        assert (tmp_path / "a").read_text() == "whole"
    assert len(calls) > 2
    assert os.listdir(tmp_path) == ["a"]


def test_two_processes_may_make_one_folder(tmp_path):
    with atomic_folder(tmp_path / "f") as first:
        (first / "a").write_text("first")
        with atomic_folder(tmp_path / "f") as second:
            (second / "a").write_text("second")
    assert (tmp_path / "f" / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["f"]


def test_what_is_made_of_others_files_is_made_again_when_they_change(tmp_path):
    part = tmp_path / "part"
    part.write_text("1")
    made = []

    def write():
        made.append(part.read_text())
        if len(made) == 1:
            part.write_text("2")
        return made[-1]

    assert until_still(part.read_text, write) == "2"
    assert made == ["1", "2"]


def test_no_link_is_followed_when_writing(tmp_path):
    target = tmp_path / "precious.txt"
    target.write_text("mine")
    for name in ("a.txt", f".{os.getpid()}.a.txt"):
        (tmp_path / name).symlink_to(target)
    write_text(tmp_path / "a.txt", "new")
    assert target.read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_link_to_a_folder_is_replaced_and_what_is_behind_it_stays(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("mine")
    (tmp_path / "f").symlink_to(tmp_path / "other")
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "other" / "mine").read_text() == "mine"
    assert os.listdir(tmp_path / "f") == ["a"]
    assert sorted(os.listdir(tmp_path)) == ["f", "other"]


def test_at_no_moment_is_there_neither_the_old_folder_nor_the_new(tmp_path):
    """Another process looks while a folder is replaced again and again."""
    path = tmp_path / "f"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("0")
    code = """
import sys
from pathlib import Path
from brainuad.machine.files import atomic_folder
for i in range(60):
    with atomic_folder(Path(sys.argv[1])) as temporary:
        (temporary / "a").write_text(str(i))
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    looks = 0
    while writer.poll() is None:
        assert os.path.lexists(path)
        looks += 1
    assert writer.returncode == 0
    assert looks > 100
    assert os.listdir(tmp_path) == ["f"]


def test_two_processes_of_one_number_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_what_the_disk_refuses_is_one_line_with_the_path(tmp_path, number):
    with pytest.raises(CannotWrite) as caught, atomic_path(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"{tmp_path / 'a.txt'}: cannot be written (")
    assert os.strerror(number) in str(caught.value)


def test_long_names_leave_room_for_ours(tmp_path):
    write_text(tmp_path / ("x" * 240 + ".nii.gz"), "a")
    assert len(os.listdir(tmp_path)) == 1
