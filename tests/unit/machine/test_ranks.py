import os
import signal
import subprocess
import sys

import pytest
import torch

from brainuad.machine import ranks


def test_a_single_process_is_the_first_of_one():
    assert (ranks.rank(), ranks.count()) == (0, 1)
    assert ranks.share([1, 2, 3]) == ranks.gather([1, 2, 3]) == [1, 2, 3]
    value = torch.tensor(2.5)
    assert ranks.mean(value, 7) is value
    assert ranks.relative_share(4, torch.device("cpu")) == 1
    ranks.barrier()
    ranks.part()


@pytest.mark.slow
def test_what_the_first_decides_is_what_the_others_hear(tmp_path):
    assert ranks.decide(tmp_path, "folder", "runs/a") == "runs/a"
    program = (
        "import sys; from pathlib import Path; from brainuad.machine import ranks\n"
        "ranks.behave()\n"
        "print('nobody reads this')\n"
        "sys.stderr.write(ranks.decide(Path(sys.argv[1]), 'folder', 'runs/b'))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=os.environ | {"LOCAL_RANK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (other.stdout, other.stderr) == ("", "runs/a")


@pytest.mark.slow
def test_what_a_killed_process_decided_is_not_heard_by_a_later_one_and_goes(tmp_path):
    """In a container every first process has the same number."""
    program = (
        "import os, signal, sys; from pathlib import Path; from brainuad.machine import ranks\n"
        "number = os.getpid()\n"
        "os.getpid = lambda: 1\n"
        "ranks.decide(Path(sys.argv[1]), 'folder', sys.argv[2])\n"
        "print(*os.listdir(sys.argv[1]), flush=True)\n"
        "os.kill(number, signal.SIGKILL)"
    )
    left = []
    for word in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path, word],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        left.append(done.stdout.split())
    assert [len(names) for names in left] == [1, 1]
    assert left[0] != left[1]


@pytest.mark.slow
def test_two_ranks_weigh_their_samples_and_share_the_work(tmp_path):
    program = (
        "import sys, torch; from torch import distributed; from brainuad.machine import ranks\n"
        "rank = int(sys.argv[1])\n"
        "distributed.init_process_group('gloo', f'file://{sys.argv[2]}/meet', rank=rank,"
        " world_size=2)\n"
        "value = torch.tensor([1.0, 4.0][rank])\n"
        "mean = ranks.mean(value, [1, 3][rank]).item()\n"
        "own = float(ranks.relative_share([1, 3][rank], value.device))\n"
        "print(mean, own, ranks.share('abc'), ranks.gather(ranks.share('abc')))\n"
        "ranks.part()\n"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), tmp_path],
            env=os.environ | {"LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [job.communicate(timeout=120)[0].strip() for job in jobs]
    # (1 x 1 + 3 x 4) / 4; shares of 1 and 3 of a mean of 2.
    assert said == [
        "3.25 0.5 ['a', 'c'] ['a', 'c', 'b']",
        "3.25 1.5 ['b'] ['a', 'c', 'b']",
    ]
