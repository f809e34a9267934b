"""The shipped jobs on a real SLURM of one node: two ranks, pre-emption, a sweep by submitit."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from slurm_cluster import CannotStart, Cluster
from tiny import ROOT, write_tiny_cohort

from brainuad.model.checkpoint import read_checkpoint

pytestmark = pytest.mark.slurm

EPOCHS = 12
SCRIPTS = ROOT / "experiments" / "slurm"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Skips where there can be none, but not where .ci/run asked for one."""
    try:
        with Cluster(tmp_path_factory.mktemp("slurm")) as running:
            yield running
    except CannotStart as reason:
        if os.environ.get("BRAINUAD_REQUIRE_SLURM"):
            raise
        pytest.skip(f"no SLURM here: {reason}")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A folder with a tiny cohort."""
    folder = tmp_path_factory.mktemp("jobs")
    write_tiny_cohort(folder / "cohort")
    return folder


def options(base: Path) -> list[str]:
    """The smallest run there is."""
    return [
        *("experiment=strega", "input=intensity", "data=folder", "data.sequence=T2w"),
        *(f"data.source={base / 'cohort'}", "data.slice_size=[32,32]", "data.spacing_mm=3"),
        *("model.network.features=[4,8]", "model.network.latent_dim=4", "controls=none"),
        *(f"paths.cache_dir={base / 'cache'}", f"paths.runs_dir={base / 'runs'}"),
        *("report=false", "jobs=1", "+trainer.enable_progress_bar=false"),
    ]


def environment(cluster: Cluster) -> dict[str, str]:
    """Of who submits: this Python first, a thread a process, no GPU."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return cluster.env | {"PATH": path, "OMP_NUM_THREADS": "1", "TRAINER": "ddp_cpu"}


def until(condition: Callable[[], bool], log: Path, seconds: float = 240) -> None:
    """Waits; shows the job's log where it was for nothing."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, log.read_text() if log.is_file() else "not started"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def two_ranks(cluster, base):
    """`submit(*arguments)`: the shipped job for a node, two ranks of this machine's CPU."""

    def submit(*arguments: str) -> tuple[str, Path]:
        sizes = ("--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1")
        log = base / f"{arguments[0] if arguments else 'job'}.log".replace("/", "_")
        job = cluster.submit(
            *(*sizes, f"--chdir={ROOT}", f"--output={log}", str(SCRIPTS / "train_node.sbatch")),
            *(*options(base), f"max_epochs={EPOCHS}", "predict=false", "datamodule.batch_size=2"),
            *arguments,
            env=environment(cluster),
        )
        return job, log

    return submit


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of a finished run."""
    return read_checkpoint(run / "model.ckpt")["state_dict"]


def test_a_job_of_two_ranks_survives_preemption_and_its_end(cluster, base, two_ranks):
    whole, whole_log = two_ranks(f"paths.output_dir={base / 'whole'}")
    assert cluster.wait(whole)["JobState"] == "COMPLETED", whole_log.read_text()
    assert "2 devices" in whole_log.read_text()

    job, log = two_ranks()
    run = base / "runs" / "strega" / f"slurm-{job}"
    last = run / "checkpoints" / "last.ckpt"
    until(last.is_file, log)
    cluster.run("scancel", "--signal=USR1", job)
    waiting = cluster.wait(job, "PENDING", "COMPLETED")
    assert waiting["JobState"] == "PENDING", log.read_text()
    assert waiting["Restarts"] == "1"
    saved = last.stat().st_mtime_ns
    # SLURM lets a job that was queued again wait for two minutes. Not at all is too short: the node
    # refuses whatever of that job starts within the second in which it was killed.
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now+5seconds")
    assert cluster.wait(job, "RUNNING", "FAILED")["JobState"] == "RUNNING", log.read_text()
    until(lambda: last.stat().st_mtime_ns > saved, log)
    assert "resuming from" in log.read_text()

    # Who cancels a job wants it to end: saved, but not back in the queue.
    cluster.run("scancel", job)
    cancelled = cluster.wait(job, "PENDING", "COMPLETED", "CANCELLED", "FAILED")
    assert cancelled["JobState"] == "CANCELLED", log.read_text()
    assert not (run / "model.ckpt").exists()

    again, again_log = two_ranks(f"paths.output_dir={run}")
    assert cluster.wait(again)["JobState"] == "COMPLETED", again_log.read_text()
    expected, found = weights(base / "whole"), weights(run)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_sweep_through_submitit_becomes_one_table(cluster, base):
    command = [sys.executable, str(ROOT / "train.py"), "-m", *options(base), "max_epochs=1"]
    command += ["sweep=folds_seeds", "data.folds=2", "data.fold=0,1", "seed=0"]
    command += ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment(cluster),
        timeout=300,
        cwd=base,
    )
    assert done.returncode == 0, done.stderr
    folder = base / "runs" / "strega" / "folds"
    report = Path(sys.executable).with_name("brainuad-report")
    table = subprocess.run(
        [report, "folds", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert table.returncode == 0, table.stderr
    assert "| strega | 2 | 1 | 2 |" in table.stdout
    assert "Missing" not in table.stdout
    means = pd.read_csv(folder / "runs.csv")
    assert set(means.fold) == {0, 1}


def test_every_shipped_job_is_taken_by_slurm(cluster, base):
    for script in sorted(SCRIPTS.glob("*.sbatch")):
        nodes = ("--nodes=1",) if script.stem == "train_nodes" else ()
        cluster.run("sbatch", "--test-only", *nodes, f"--chdir={base}", str(script))
        text = script.read_text()
        assert "#SBATCH --signal=USR1@" in text
        assert "#SBATCH --requeue" in text
        # The benchmark's command puts it in itself.
        assert "ckpt=last" in text or "experiments.benchmark" in text


def test_the_benchmark_is_an_array_of_jobs(cluster, base):
    settings = {
        "baseline": "intensity",
        "methods": {
            "intensity": {"small": "intensity", "learns": False},
            "raw": {"small": "intensity model.equalise=false", "learns": False},
        },
        "sizes": {"small": {"runs": str(base / "benchmark"), "seeds": [0], "options": ["jobs=1"]}},
        "cohorts": {
            "mine": {
                "title": "My scans",
                "sequences": ["T2w"],
                "options": ["data=folder", f"data.source={base / 'cohort'}"],
            }
        },
    }
    (base / "mine.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    words = ["--settings", str(base / "mine.yaml"), "--out", str(base / "tables")]
    log = base / "benchmark-%a.log"
    job = cluster.submit(
        *("--array=0-1", f"--chdir={ROOT}", f"--output={log}", str(SCRIPTS / "benchmark.sbatch")),
        *words,
        env=environment(cluster) | {"SIZE": "small"},
    )
    for number, method in enumerate(("intensity", "raw")):
        text = Path(str(log).replace("%a", str(number)))
        assert cluster.wait(f"{job}_{number}")["JobState"] == "COMPLETED", text.read_text()
        assert f"run {number}: mine/{method}/T2w-0" in text.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *words, "--tables-only"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "| raw |" in done.stdout
    assert "Not finished" not in done.stdout
