"""Fixtures: a tiny cohort, the real scans when they are at hand, and the real commands."""

import gc
import os

# One thread a process, before torch starts its own: two test workers of two threads each on two
# cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import call, without_coverage
from quick_hydra import quicken
from tiny import ROOT, write_tiny_cohort

from brainuad.cohorts.manifest import Cohort
from brainuad.machine import threads
from brainuad.machine.memory import keep_memory

# What is known of their models is not the user's business; the template is made once.
os.environ.setdefault("BRAINUAD_CACHE", str(Path(tempfile.gettempdir()) / "brainuad-tests"))

# As every command does; the tests call functions, too.
keep_memory()
threads.start()
quicken()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whole commands as slow and uncounted, and put long files first.

    So no worker waits at the end for another one's long file.
    """
    for item in items:
        whole_commands = item.path.is_relative_to(ROOT / "tests" / "integration")
        # A user's own -m replaces the one that leaves these out.
        apart = any(map(item.get_closest_marker, ("fuzz", "package", "container", "browser")))
        if whole_commands or apart:
            item.add_marker("slow")
        if whole_commands and not item.get_closest_marker("counted"):
            item.add_marker("uncounted")
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the garbage collector what stays, and let coverage patch this process once.

    The libraries and the tests are half a million objects, of which none ever goes.

    Each uncounted test stops and starts coverage, and each start adds a handler to every fork:
    after a hundred of them a worker of a data loader took a minute to begin.
    """
    gc.collect()
    gc.freeze()
    coverage = _coverage_of(session.config)
    if coverage is not None:
        coverage.cov.config.patch = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep coverage out of an uncounted test, its fixtures and the processes that it starts."""
    coverage = _coverage_of(item.config)
    if coverage is None or not item.get_closest_marker("uncounted"):
        return (yield)
    told = {name: os.environ.pop(name) for name in os.environ.keys() - without_coverage().keys()}
    coverage.pause()
    try:
        return (yield)
    finally:
        coverage.resume()
        os.environ.update(told)


def _coverage_of(config: pytest.Config) -> Any:
    """Return what pytest-cov counts with; None without `--cov`."""
    coverage = getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    return None if coverage is None or coverage.cov is None else coverage


@pytest.fixture
def tiny_cohort(tmp_path: Path) -> Cohort:
    """Three training, two validation, one healthy test and two pathological test subjects."""
    return write_tiny_cohort(tmp_path / "cohort")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans, see `BRAINUAD_REAL_DATA` in CONTRIBUTING.md."""
    folder = os.environ.get("BRAINUAD_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BRAINUAD_REAL_DATA is not set to the folder of real scans")
    return Path(folder)


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a script of the repository as a user would: `run("train.py", "experiment=strega")`."""
    return call
