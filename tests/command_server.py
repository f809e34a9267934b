"""Runs scripts in forks of a process that has imported what all of them import.

    python tests/command_server.py

Reads requests from standard input, a line of JSON each: `argv`, `cwd`, `env` (or null), and the
files `stdout` and `stderr`. Answers with the exit status, as `subprocess` counts it.
`tests/commands.py` talks to it. A fresh interpreter takes some seven seconds for PyTorch,
Lightning and MONAI alone.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import sys
import threading
import traceback

# By name: an unused import is taken out by ruff.
LIBRARIES = ("hydra", "lightning.pytorch", "monai.networks.nets", "monai.transforms", "pandas")
LIBRARIES += ("SimpleITK", "matplotlib.pyplot", "skimage.filters")
for name in (*LIBRARIES, "brainuad.training.run"):
    importlib.import_module(name)
# Beside this file; a script below has its own folder in place of this one on the path.
from quick_hydra import quicken  # noqa: E402

quicken()


def run(argv: list[str]) -> int:
    """Run a script as `python` does and return its exit status."""
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> None:
    """End a fork as Python does, but do not take its modules apart, which takes two seconds."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Entry point; ends with its input."""
    # The garbage collector of a fork need not look at them, nor copy their pages.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            for name, fd in (("stdout", 1), ("stderr", 2)):
                os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(request["cwd"])
            if request["env"] is not None:
                os.environ.clear()
                os.environ.update(request["env"])
            leave(run(request["argv"]))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)


if __name__ == "__main__":
    main()
