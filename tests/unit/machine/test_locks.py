"""Locks and claims, on file systems with and without locks."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from brainuad.errors import CannotWrite, InputError
from brainuad.machine import locks
from brainuad.machine.locks import Claim, Taken, claim_again, claim_free, lock

HOLD = """
import os, signal, sys
from pathlib import Path
from brainuad.machine.locks import Claim
claim = Claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
claim.release()
"""


def hold(folder, how="ends"):
    """Another process that has a folder until it is told to end, or is killed."""
    command = [sys.executable, "-c", HOLD, str(folder), how]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    locks._warn.cache_clear()
    yield
    locks._warn.cache_clear()


def test_where_there_are_no_locks_one_waits_for_the_other_all_the_same(no_locks, tmp_path, capsys):
    inside, done, order = threading.Event(), threading.Event(), []

    def first():
        with lock(tmp_path / "a"):
            inside.set()
            # In vain, for the other is to wait.
            done.wait(0.5)
            order.append("first")

    def second():
        inside.wait()
        with lock(tmp_path / "a"):
            order.append("second")
        done.set()

    both = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert order == ["first", "second"]
    assert not list(tmp_path.glob("*.lease"))
    with lock(tmp_path / "b"):
        pass
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "without locks" in said


def test_a_folder_that_cannot_be_written_is_not_one_without_locks(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="file"), lock(tmp_path / "file" / "a"):
        pass


def test_a_folder_in_use_is_left_for_another_name(tmp_path, capsys):
    folder = tmp_path / "run"
    process = hold(folder)
    claim = claim_free(folder, fresh=False)
    assert claim.folder == tmp_path / "run-2"
    assert (
        f"{folder} is another process's; this one takes {claim.folder}" in capsys.readouterr().out
    )
    third = claim_free(folder, fresh=False)
    assert third.folder == tmp_path / "run-3"
    process.communicate("\n")
    for own in (claim, third):
        own.release()
        # Nothing was put into it.
        assert not own.folder.exists()


def test_a_folder_of_before_is_taken_unless_it_has_to_be_fresh(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    claim = claim_free(folder, fresh=False)
    assert claim.folder == folder
    claim.release()
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(folder) == []
    claim = claim_free(folder, fresh=True)
    assert claim.folder == tmp_path / "run-2"


def test_who_goes_on_in_a_folder_waits_for_it_and_is_refused(tmp_path, monkeypatch):
    process = hold(tmp_path / "run")
    monkeypatch.setattr(Claim, "__init__", _impatient(Claim.__init__))
    with pytest.raises(InputError, match="another process is at work in it"):
        claim_again(tmp_path / "run")
    process.communicate("\n")
    claim_again(tmp_path / "run").release()


def _impatient(init):
    return lambda self, folder, wait_s=0.0: init(self, folder, min(wait_s, 0.3))


def test_a_folder_of_a_killed_process_is_free(tmp_path):
    process = hold(tmp_path / "run", "killed")
    with pytest.raises(Taken):
        Claim(tmp_path / "run")
    process.communicate("\n")
    claim_again(tmp_path / "run").release()
