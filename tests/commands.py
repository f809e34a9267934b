"""The real commands, each in a process of its own."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

from tiny import ROOT


def call(
    script: str | Path,
    *arguments: object,
    cwd: Path | None = None,
    timeout: float = 600,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run a script of the repository as a user would: `call("train.py", "experiment=strega")`.

    In a fork of `command_server.py`, which spares the imports. What is about signals or the start
    of a process itself needs `subprocess`.

    Args:
        script: path, relative to the repository.
        arguments: words behind it.
        cwd: where; the present folder when None.
        timeout: seconds.
        env: environment variables; those of the server when None.

    Raises:
        TimeoutError: it took longer.
    """
    argv = [str(ROOT / script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("stdout", "stderr")}
        request = {"argv": argv, "cwd": str(cwd or Path.cwd()), "env": env, **files}
        status = _ask(json.dumps(request, default=str), timeout)
        said = {name: path.read_text() for name, path in files.items()}
    return subprocess.CompletedProcess([sys.executable, *argv], status, **said)


def start(command: Callable[[list[str]], int], *words: object) -> ForkProcess:
    """Start a command in a fork of this process, which can be killed; it says nothing.

    It leads a session of its own.
    """
    process = get_context("fork").Process(target=_lead, args=(command, [*map(str, words)]))
    process.start()
    return process


def _lead(command: Callable[[list[str]], int], words: list[str]) -> None:
    os.setsid()
    for fd in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    sys.exit(command(words))


def without_coverage() -> dict[str, str]:
    """Return the environment without the variables of coverage.

    For a process that is killed before it can say what it ran, or whose lines other tests count.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def _ask(line: str, timeout: float) -> int:
    counted = without_coverage() != os.environ
    server = _server(counted)
    if server.poll() is not None:
        _server.cache_clear()
        server = _server(counted)
    assert server.stdin is not None
    assert server.stdout is not None
    print(line, file=server.stdin, flush=True)
    watch = threading.Timer(timeout, _end, [server])
    watch.start()
    answer = server.stdout.readline()
    watch.cancel()
    if not answer:
        raise TimeoutError(f"no end within {timeout:.0f} s: {line}")
    return int(answer)


@cache
def _server(counted: bool) -> subprocess.Popen:
    """Return a server whose commands coverage counts, as the environment says, or one without."""
    del counted
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "command_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen) -> None:
    """End the server and what it runs."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
