"""Commands on a machine that lacks everything.

No network, no HOME, a user without a name, and a file system that is read-only but for one folder.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

USER = "54321"
"""Number that no machine has among its users."""

SCRIPT = """
set -eu
root=$1 out=$2 place=$3 more=$4; shift 4
mount --make-rprivate /
if [ "$root" != / ]; then
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
fi
mount --bind "$out" "${root%/}$place"
for folder in "$root" /tmp /var/tmp /home; do
    if mountpoint -q "$folder"; then mount -o remount,bind,ro "$folder"; fi
done
exec chroot "$root" setpriv --reuid "$0" --regid "$0" --clear-groups $more env -i "$@"
"""


@cache
def refusal() -> str:
    """Return why such a machine cannot be made here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("unshare", "setpriv", "chroot") if not shutil.which(name)]
    if lacking:
        return f"needs {', '.join(lacking)}"
    mounting = ["unshare", "--mount", "--net", "mount", "--make-rprivate", "/"]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    return f"namespaces are not permitted: {done.stderr.strip()}" if done.returncode else ""


def run_bare(
    words: Sequence[object],
    out: Path,
    root: Path = Path("/"),
    place: str = "",
    path: str = os.environ["PATH"],
    env: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command as such a machine would.

    Args:
        words: the command.
        out: the folder that can be written, made where it is needed.
        root: root of the machine. In this one's own, the user may read all files: environments
            often lie in root's home.
        place: absolute path of `out` in another root.
        path: PATH of the machine.
        env: further variables, as NAME=VALUE.
    """
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o777)
    inside = place or str(out)
    (root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
    own = root == Path("/")
    more = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search" if own else ""
    start = ["unshare", "--mount", "--net", "sh", "-c", SCRIPT, USER, root, out, inside, more]
    command = [*start, f"PATH={path}", *env, *words]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd="/", timeout=1800
    )
