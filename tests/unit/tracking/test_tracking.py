"""Tracking without an account: a missing key or network costs seconds and a line, never a run."""

import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from wandb_file import config

from brainuad.records.run import RunRecord
from brainuad.tracking import wandb_run
from brainuad.tracking.tracker import Tracker, ending


@pytest.fixture
def deaf():
    """The address of a server that takes the call and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def broken():
    """The address of a server that answers everything with an error."""

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("case", ["no key", "refused", "deaf", "broken"])
def test_falls_back_to_disk_with_one_line(case, deaf, broken, tmp_path, monkeypatch, capfd):
    import wandb

    wandb.teardown()  # settings are read once a process
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv(
        "WANDB_BASE_URL", {"deaf": deaf, "broken": broken}.get(case, "http://127.0.0.1:9")
    )
    monkeypatch.setattr(wandb_run, "INIT_S", 3.0)
    if case != "no key":
        netrc = tmp_path / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login user password {'0' * 40}")
        netrc.chmod(0o600)
    started = time.monotonic()
    with ending():
        tracker = Tracker("project", "name", tmp_path, offline=False)
        tracker.log_config({"seed": 3, "paths": {"runs_dir": "secret"}})
    assert time.monotonic() - started < 15
    printed = capfd.readouterr()
    lines = [line for line in (printed.out + printed.err).splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("warning: W&B is not reached")
    wandb.teardown()  # its service has written everything when it ends
    (file,) = Path(tmp_path).glob("wandb/offline-run-*/*.wandb")
    assert config(file)["seed"] == 3
    assert b"secret" not in file.read_bytes()


def test_a_new_run_in_an_old_folder_has_a_new_id(tmp_path):
    first = wandb_run._identity(tmp_path, resume=False)
    assert wandb_run._identity(tmp_path, resume=True) == first
    assert wandb_run._identity(tmp_path, resume=False) != first


def test_only_the_first_rank_tracks(tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    tracker = Tracker("project", "name", tmp_path)
    tracker.log_config({"seed": 3})
    tracker.log_results([], RunRecord())
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_service_that_dies_costs_a_line_and_not_the_run(tmp_path, capfd):
    import wandb

    with ending():
        tracker = Tracker("project", "name", tmp_path)
        tracker.log_metrics({"train/loss": 1.0}, 0)
        for number in children(os.getpid()):
            if b"wandb-core" in Path(f"/proc/{number}/cmdline").read_bytes():
                os.kill(number, signal.SIGKILL)
        started = time.monotonic()
        for step in range(1, 20):
            tracker.log_metrics({"train/loss": 1.0}, step)
            time.sleep(0.05)
    assert time.monotonic() - started < 30
    warnings = [line for line in capfd.readouterr().out.splitlines() if "warning: W&B" in line]
    assert 1 <= len(warnings) <= 2
    # The next run of a sweep is tracked again.
    with ending():
        Tracker("project", "name", tmp_path / "next").log_config({"seed": 4})
    wandb.teardown()
    (file,) = Path(tmp_path).glob("next/wandb/offline-run-*/*.wandb")
    assert config(file)["seed"] == 4


def children(parent: int) -> list[int]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(word) for path in tasks for word in path.read_text().split()]


def test_where_it_cannot_start_the_run_goes_untracked(tmp_path, monkeypatch, capfd):
    import wandb

    real = wandb.init

    def broken(**options):
        if options["settings"].mode != "disabled":
            raise OSError("no room")
        return real(**options)

    monkeypatch.setattr(wandb, "init", broken)
    with ending():
        tracker = Tracker("project", "name", tmp_path)
        tracker.log_config({"seed": 1})
        tracker.log_metrics({"train/loss": 1.0}, 0)
    assert (
        capfd.readouterr().out == "warning: W&B does not start (no room); the run is not tracked\n"
    )
