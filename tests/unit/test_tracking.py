"""Tracking without an account: a missing key or network costs seconds and a line, never a run."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from wandb_file import config

from brainuad import tracking
from brainuad.tracking import Tracker, ending


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
    monkeypatch.setattr(tracking, "PROBE_S", 1.0)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv(
        "WANDB_BASE_URL", {"deaf": deaf, "broken": broken}.get(case, "http://127.0.0.1:9")
    )
    monkeypatch.setattr(tracking, "INIT_S", 3.0)
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
    first = tracking._identity(tmp_path, resume=False)
    assert tracking._identity(tmp_path, resume=True) == first
    assert tracking._identity(tmp_path, resume=False) != first


def test_only_the_first_rank_tracks(tmp_path, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    tracker = Tracker("project", "name", tmp_path)
    tracker.log_config({"seed": 3})
    tracker.log_results([], {})
    assert not list(tmp_path.rglob("*.wandb"))
