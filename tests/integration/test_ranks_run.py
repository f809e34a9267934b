"""Two processes that train together, by the real command: the same result, stopped or not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from tiny import ROOT, write_tiny_cohort

SCORED = 5
SGD = "model.optimizer={_target_:torch.optim.SGD,_partial_:true,lr:0.01}"
"""Adam turns a gradient of nothing but rounding into a step of full length."""

STREGA = ["experiment=strega", "data.slice_size=[32,32]", SGD, "max_epochs=2"]
MADAD = [
    *("experiment=madad", "data.slice_size=[24,32]", "first_stage.max_epochs=1", "max_epochs=2"),
    "first_stage.model.autoencoder.network.channels=[8]",
    f"first_stage.{SGD}",
    *("model.network.width=8", "model.network.norm_groups=4"),
    # Latents kept in half precision, for prototypes as well, turn a rounding error into one of a
    # thousandth.
    *("model.latent_copies=0", "model.prototypes=null", "model.network.hints=0"),
    *("model.network.dropout=0", SGD, "model.scheduler=null"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_tiny_cohort(folder / "cohort")
    return folder


def words_of(base: Path, out: Path, *words: str) -> list[str]:
    where = ["data=folder", f"data.source={base / 'cohort'}", "data.sequence=T2w"]
    where += ["data.spacing_mm=3", "jobs=1"]
    where += [f"paths.cache_dir={base / 'cache'}", f"paths.output_dir={out}"]
    return [*where, *words]


def command(*arguments, script: Path = ROOT / "train.py") -> list[str]:
    return [sys.executable, str(script), *words_of(*arguments)]


def call(*arguments, script: Path = ROOT / "train.py") -> subprocess.CompletedProcess:
    # The first rank's lines are counted, the others' would be the same.
    env = commands.without_coverage()
    done = commands.call(script, *words_of(*arguments), timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return done


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_close(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", [STREGA, MADAD], ids=["strega", "madad"])
def test_two_ranks_end_where_one_ends(base, method):
    name = method[0].removeprefix("experiment=")
    script = ROOT / "tests" / "without_chance.py"
    folders = base / f"{name}-one", base / f"{name}-two"
    # Of 55 tiles the last step of the two has 7: shares of 4 and 3.
    sizes = ["datamodule.batch_size=8"], ["datamodule.batch_size=4", "trainer=ddp_cpu"]
    first = [[], []]
    if "first_stage.max_epochs=1" in method:
        first = [["first_stage.batch_size=8"], ["first_stage.batch_size=4"]]
    said = [
        call(base, out, *method, *size, *stage, "report=false", script=script).stdout
        for out, size, stage in zip(folders, sizes, first, strict=True)
    ]
    one, two = folders
    assert_close(one, two)
    losses = [pd.read_csv(out / "metrics.csv") for out in folders]
    # Sums over tiles, not means of means.
    np.testing.assert_allclose(*(table["val/loss"] for table in losses), rtol=1e-5)
    np.testing.assert_allclose(*(table["train/loss"] for table in losses), rtol=1e-4)
    assert "batch: 4 tiles x 2 devices x 1 accumulated = 8" in said[1]
    assert "devices" not in said[0]
    # Every subject once, though each rank made only half of them, and only one rank spoke.
    maps = sorted(path.name for path in (two / "prepared").glob("*_anomaly.nii.gz"))
    assert maps == sorted(path.name for path in (one / "prepared").glob("*_anomaly.nii.gz"))
    assert len(maps) == SCORED
    for path in maps:
        both = (nib.load(out / "prepared" / path).get_fdata() for out in folders)
        np.testing.assert_allclose(*both, atol=1e-3)
    assert said[1].count("run folder") == (2 if name == "madad" else 1)
    assert len(pd.read_csv(two / "scores.csv")) == len(pd.read_csv(one / "scores.csv"))
    assert not [path for path in base.iterdir() if path.name not in ROOMS]


ROOMS = {"cohort", "cache"} | {
    *("strega-one", "strega-two", "madad-one", "madad-two"),
    *("whole", "stopped", "raising", "killed", "rank.py"),
}


RUN = [*STREGA, "trainer=ddp_cpu", "datamodule.batch_size=2", "predict=false", "report=false"]
RUN[RUN.index("max_epochs=2")] = "max_epochs=6"
STEPS = 6 * 14


@pytest.fixture(scope="module")
def whole(base):
    """The same run, not interrupted."""
    call(base, base / "whole", *RUN, "callbacks.preemption.every=1")
    return base / "whole"


RESUMING = [*RUN, "callbacks.preemption.every=1", "ckpt=last"]


def start(base: Path, out: Path) -> subprocess.Popen:
    line = command(base, out, *RESUMING)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=commands.without_coverage(), **pipes)


def wait_for_another(path: Path, before: int, process: subprocess.Popen, seconds: float = 240):
    """Wait until the file is there and has been changed since `before`."""
    end = time.time() + seconds
    while changed(path) == before and time.time() < end and process.poll() is None:
        time.sleep(0.02)
    assert changed(path) != before, process.stderr.read()


def changed(path: Path) -> int:
    """Return the time of the last change, 0 where there is no file."""
    return path.stat().st_mtime_ns if path.is_file() else 0


def ranks_in(out: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode()
            except OSError:
                continue
            if f"paths.output_dir={out}" in line:
                found.append(int(entry.name))
    return found


def assert_gone(out: Path, seconds: float = 60) -> None:
    end = time.time() + seconds
    while ranks_in(out) and time.time() < end:
        time.sleep(0.1)
    assert not ranks_in(out)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(base, whole):
    """Kill a rank, then the parent; then send the signal that lets a run save itself."""
    out = base / "killed"
    last = out / "checkpoints" / "last.ckpt"
    for how in ("SIGKILL of a rank", "SIGKILL of the parent", "SIGTERM"):
        before = changed(last)
        process = start(base, out)
        wait_for_another(last, before, process)
        if how.endswith("rank"):
            children = [pid for pid in ranks_in(out) if pid != process.pid]
            os.kill(children[0], signal.SIGKILL)
        else:
            process.send_signal(getattr(signal, how.split()[0]))
        _, errors = process.communicate(timeout=120)
        assert process.returncode != 0, how
        assert_gone(out)
        if how == "SIGTERM":
            assert process.returncode == 143
            assert errors.count("stopped by SIGTERM") == 1
        # Something is left to be done.
        assert torch.load(last, weights_only=True)["global_step"] < STEPS, how
    call(base, out, *RESUMING)
    ours, theirs = weights(out), weights(whole)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name])
    assert not list(out.glob("*/.*"))


def test_a_rank_that_raises_ends_the_job_and_says_so_once(base):
    script = base / "rank.py"
    script.write_text(
        "import os, sys\n"
        "from brainuad.errors import InputError\n"
        "from brainuad.training.module import DetectorModule\n"
        "step = DetectorModule.training_step\n"
        "def raising(self, batch, index):\n"
        "    if index == 3 and os.environ.get('LOCAL_RANK') == '1':\n"
        "        raise InputError('the disk is full')\n"
        "    return step(self, batch, index)\n"
        "DetectorModule.training_step = raising\n"
        "if __name__ == '__main__':\n"
        "    from brainuad.cli.train import main\n"
        "    sys.exit(main())\n"
    )
    out = base / "raising"
    begun = time.time()
    line = command(base, out, *RUN, script=script)
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=commands.without_coverage(),
    )
    assert done.returncode != 0
    assert time.time() - begun < 90  # start included
    assert done.stderr.count("the disk is full") == 1
    assert "Traceback" not in done.stderr
    assert_gone(out, 10)
