"""Measure time and peak memory of `make demo` from an empty clone, install included.

    python experiments/benchmarks/demo.py

Clones the committed state into a temporary folder, runs it there and prints seconds, the peak
of the resident memory of all its processes together, and the share of each stage.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Entry point; returns the exit status of `make demo`."""
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "brainuad"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        start = time.perf_counter()
        process = subprocess.Popen(
            ["make", "demo"],
            cwd=clone,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        peak, output, installed = 0, b"", None
        while process.poll() is None:
            peak = max(peak, session_memory(process.pid))
            output += process.stdout.read() or b""
            if installed is None and (clone / ".venv" / "installed").exists():
                installed = time.perf_counter() - start
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        output += process.stdout.read() or b""
        text = output.decode(errors="replace")
        print(text[-2000:])
        print(f"make demo: {seconds:.0f} s, of it install {installed or 0:.0f} s")
        print(f"peak memory of all processes: {peak / 1e9:.2f} GB")
        for title, taken in re.findall(r"([a-z][\w ]+?) ━+ 100% (\d:\d\d:\d\d)", text):
            print(f"  {title}: {taken}")
        return process.returncode


def session_memory(session: int) -> int:
    """Resident bytes of every process of a session, shared pages counted once for each."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The fields follow the command's name, which is in brackets and may hold spaces.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


if __name__ == "__main__":
    sys.exit(main())
