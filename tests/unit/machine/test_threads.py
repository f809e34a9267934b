"""A process takes the threads that it may, and a user's own variables win."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainuad.machine import threads

NOT_TORCH = """
import sys
from brainuad.cli import error_line
import brainuad.cli.{command}
from brainuad.machine import threads

def start():
    print("torch" in sys.modules)
    raise SystemExit

threads.start = start
sys.argv = ["{command}", *{words}]
brainuad.cli.{command}.main()
"""
WORDS = {
    "train": [],
    "evaluate": [],
    "predict": ["a", "b", "c"],
    "prepare": ["a", "b"],
    "report": ["compare", "a", "b"],
    "export": ["a", "b"],
    "inpaint": ["a", "b", "c", "--model", "d"],
}


@pytest.fixture
def four(monkeypatch):
    """Four processors."""
    monkeypatch.setattr(threads, "affinity", lambda: {0, 1, 2, 3})


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, {}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, {}, "2"),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, {}, None),
        ({"proc/self/cgroup": "0::/far/away\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, {}, "1"),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/pod\n2:memory:/pod\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            {},
            "3",
        ),
        ({}, {"SLURM_CPUS_PER_TASK": "2"}, "2"),
        ({}, {"SLURM_CPUS_PER_TASK": "8"}, None),
        ({}, {"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "3"}, "3"),
        ({}, {"SLURM_CPUS_PER_TASK": "2", "MKL_NUM_THREADS": "3"}, None),
        ({}, {"SLURM_CPUS_PER_TASK": "2", "BRAINUAD_SHARE_CORES": "0"}, None),
    ],
)
@pytest.mark.usefixtures("four")
def test_quota_and_slurm_bound_the_threads(tmp_path, files, environment, expected):
    threads.start(environment, _write(tmp_path, files))
    assert environment.get("OMP_NUM_THREADS") == expected


@pytest.mark.usefixtures("four")
def test_hardware_threads_of_a_core_count_once(tmp_path):
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    pairs = {topology.format(i): f"{i % 2},{i % 2 + 2}\n" for i in range(4)}
    environment = {"SLURM_CPUS_PER_TASK": "3"}
    threads.start(environment, _write(tmp_path, pairs))
    # torch takes two by itself: three would be more.
    assert "OMP_NUM_THREADS" not in environment


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, threads.SPINS),
        ({"OMP_NUM_THREADS": "2"}, threads.SPINS),
        ({"OMP_WAIT_POLICY": "active"}, None),
        ({"GOMP_SPINCOUNT": "100"}, "100"),
        ({"BRAINUAD_SHARE_CORES": "0"}, None),
    ],
)
def test_a_policy_of_the_users_own_wins(tmp_path, environment, expected):
    for _ in range(2):
        threads.start(environment, tmp_path)
        assert environment.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize(
    ("running", "expected"), [(1, "10000"), (2, "3000"), (9, "3000"), (None, "10000")]
)
def test_threads_sleep_sooner_beside_other_work(tmp_path, running, expected):
    text = "cpu 1 2 3\n" + ("" if running is None else f"procs_running {running}\n")
    environment = {}
    threads.start(environment, _write(tmp_path, {"proc/stat": text}))
    assert environment["GOMP_SPINCOUNT"] == expected


def test_launched_processes_share_what_is_allowed(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment = {"BRAINUAD_THREADS": "5", "OMP_NUM_THREADS": "5"}
    for _ in range(2):  # a first stage and its second
        threads.divide(2, environment)
        assert environment["OMP_NUM_THREADS"] == "2"
    for kept in ({"OMP_NUM_THREADS": "5"}, environment | {"SLURM_PROCID": "0"}):
        before = dict(kept)
        threads.divide(3, kept)
        assert kept == before


@pytest.mark.slow
@pytest.mark.parametrize(("own", "expected"), [(None, "1"), ("2", "2")])
def test_a_process_of_a_pool_takes_one_thread(own, expected):
    code = "from brainuad.machine.threads import one_thread as f; f(); import torch; "
    code += "print(torch.get_num_threads())"
    clean = {k: v for k, v in os.environ.items() if k not in (*threads.NUMBERS, threads.OURS)}
    clean |= {} if own is None else {"OMP_NUM_THREADS": own}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected]


@pytest.mark.parametrize("command", WORDS)
def test_a_command_decides_before_torch_is_loaded(command, tmp_path):
    code = NOT_TORCH.format(command=command, words=WORDS[command])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False"], done.stderr


@pytest.mark.slow
def test_a_command_tells_torch_the_number(tmp_path):
    code = "import sys; sys.argv = ['x']; import argparse\n"
    code += "from brainuad.cli.error_line import run_cli\n"
    code += "def f(_): import torch; print(torch.get_num_threads()); return 0\n"
    code += "run_cli(f, argparse.ArgumentParser())"
    clean = {k: v for k, v in os.environ.items() if k not in (*threads.NUMBERS, threads.OURS)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"SLURM_CPUS_PER_TASK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1"]
