"""Freed memory is kept: pages that were filled once are not filled again."""

import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
from brainuad.machine.memory import keep_memory

kept = keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(4):
    before = faults()
    b"x" * 2**26  # 16,384 pages
print(kept, faults() - before)
"""


def _count(**environment: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is asked")
def test_pages_are_found_again():
    kept, faults = _count()
    assert kept == "True"
    assert int(faults) < 1000


@pytest.mark.parametrize("setting", [{"BRAINUAD_KEEP_MEMORY": "0"}, {"MALLOC_ARENA_MAX": "2"}])
def test_the_user_has_the_last_word(setting):
    kept, faults = _count(**setting)
    assert kept == "False"
    assert int(faults) > 10_000 or platform.libc_ver()[0] != "glibc"
