"""The install script of the containers, in a new Debian that is then used as a container is.

The root is made by debootstrap and entered by chroot: read-only, without network, as a user without
a name. Run by `.ci/container`, or `make container` as root.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bare_machine import refusal, run_bare
from test_container_files import copied, environment
from tiny import ROOT

pytestmark = [pytest.mark.container, pytest.mark.uncounted]

RELEASE, MIRROR = "bookworm", "http://deb.debian.org/debian"

INSTALL = """
set -eu
root=$1 variant=$2
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# Names, certificates, packages and settings of pip, as Docker's build has the network.
touch "$root/etc/resolv.conf"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
for folder in /etc/ssl/certs /opt/wheels /root/.cache/pip; do
    if [ -d "$folder" ]; then
        mkdir -p "$root/lent$folder"
        mount --bind "$folder" "$root/lent$folder"
    fi
done
exec chroot "$root" sh /build/install.sh "$variant" /build
"""


def _skip(reason: str) -> None:
    if os.environ.get("BRAINUAD_REQUIRE_CONTAINER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Iterator[Path]:
    """A Debian in which the install script has run, on what the Dockerfile copies."""
    if refusal():
        _skip(refusal())
    if not shutil.which("debootstrap"):
        _skip("needs debootstrap; apt-get install debootstrap")
    root = tmp_path_factory.mktemp("debian")
    # In a mount namespace, because it leaves /proc mounted.
    words = ["unshare", "--mount", "debootstrap", "--variant=minbase", RELEASE, str(root), MIRROR]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        _skip(f"debootstrap finds no Debian at {MIRROR}: {made.stdout.splitlines()[-1:]}")
    root.chmod(0o755)
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    for source, target in copied():
        found = subprocess.run([*listed, source], capture_output=True, text=True, check=True).stdout
        for name in filter(None, found.split("\0")):
            inside = Path(name).relative_to(source) if (ROOT / source).is_dir() else Path(name).name
            place = root / target.lstrip("/") / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    env |= {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
    if os.environ.get("PIP_CERT", "").startswith("/etc/ssl/certs/"):
        env["PIP_CERT"] = f"/lent{os.environ['PIP_CERT']}"
    if Path("/opt/wheels").is_dir():
        # The registries of this machine have no index of torch's own.
        env |= {"PIP_FIND_LINKS": "/lent/opt/wheels", "TORCH_INDEX": ""}
    if Path("/root/.cache/pip").is_dir():
        env["PIP_CACHE_DIR"] = "/lent/root/.cache/pip"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", INSTALL, "install", root, "cpu"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(root / "build")
    yield root
    shutil.rmtree(root, ignore_errors=True)


def _use(root: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    set_to = environment()
    path = set_to.pop("PATH")
    env = [f"{name}={value}" for name, value in set_to.items()]
    done = run_bare(words, out, root, "/results", path, env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _mask(out: Path) -> nib.Nifti1Image:
    (path,) = out.glob("*/*_mask.nii.gz")
    return nib.load(path)


def test_the_model_inside_marks_the_head_inside(root, tmp_path):
    done = _use(root, tmp_path / "out", "brainuad-predict", "demo", "/results")
    assert "1 done" in done.stdout
    assert not done.stderr
    assert np.asanyarray(_mask(tmp_path / "out").dataobj).any()
    left = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert not left


def test_a_real_head_is_marked(root, real_data, tmp_path):
    scan = real_data / "raw_heads" / "flair_adult" / "FLAIR.nii.gz"
    (tmp_path / "out").mkdir()
    shutil.copy(scan, tmp_path / "out")
    words = ("brainuad-predict", "/results/FLAIR.nii.gz", "/results/found")
    assert "1 done" in _use(root, tmp_path / "out", *words).stdout
    assert _mask(tmp_path / "out" / "found").shape == nib.load(scan).shape


def test_nothing_can_be_written_but_the_results_and_there_is_no_network(root, tmp_path):
    said = _use(root, tmp_path / "out", "sh", "-c", "id -u; echo ${HOME-none}; cat /proc/net/dev")
    assert said.stdout.splitlines()[:2] == ["54321", "none"]
    assert {line.split(":")[0].strip() for line in said.stdout.splitlines()[4:]} == {"lo"}
    tried = "for i in / /tmp /opt/brainuad/cache /results; do touch $i/x || true; done"
    said = _use(root, tmp_path / "out", "sh", "-c", tried)
    assert said.stderr.count("Read-only file system") == 3
    assert (tmp_path / "out" / "x").is_file()


def test_every_file_is_read_by_any_user(root):
    files = (path for path in (root / "opt/brainuad").rglob("*") if not path.is_symlink())
    assert not [path for path in files if not path.stat().st_mode & 0o4]
