"""The Dockerfile and the Apptainer definition are thin: both do the same, by one script."""

import re
import subprocess
from pathlib import Path

from tiny import ROOT

CONTAINERS = ROOT / "containers"
CALL = "PIP_NO_CACHE_DIR=1 sh /build/install.sh {} /build && rm -r /build"


def copied() -> list[tuple[str, str]]:
    """Return what the Dockerfile copies, as source and target; a folder's content goes into it."""
    found = []
    for line in (CONTAINERS / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            found += [(source, target) for source in sources]
    return found


def environment() -> dict[str, str]:
    """Return the variables that the Dockerfile sets."""
    (line,) = re.findall("^ENV (.*)", (CONTAINERS / "Dockerfile").read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for word in line.split())


def test_both_copy_the_same_and_call_the_script_in_the_same_way():
    docker = (CONTAINERS / "Dockerfile").read_text()
    definition = (CONTAINERS / "brainuad.def").read_text()
    files = definition.split("%files\n")[1].split("\n\n")[0]
    assert [tuple(line.split()) for line in files.splitlines()] == copied()
    assert all((ROOT / source).exists() for source, _ in copied())
    assert "RUN " + CALL.format(chr(34) + "$VARIANT" + chr(34)) in docker
    assert CALL.format("{{ VARIANT }}") in definition
    (base,) = re.findall("^FROM (.*)", docker, re.MULTILINE)
    assert f"From: {base}\n" in definition
    for name, value in environment().items():
        assert f"{name}={value}" in definition


def test_the_user_of_the_image_is_not_root():
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", (CONTAINERS / "Dockerfile").read_text(), re.M)


def test_the_script_is_read_by_a_shell_and_refuses_other_variants(tmp_path):
    script = CONTAINERS / "install.sh"
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    words = ["sh", str(script), "rocm", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "install.sh: rocm: use cpu or cuda"


def test_torch_is_pinned_alike_for_people_and_containers():
    lock = (ROOT / ".ci" / "lock.txt").read_text().splitlines()
    assert set(Path(ROOT / "constraints.txt").read_text().split()) <= set(lock)


def test_the_citation_names_the_version_of_the_package():
    from brainuad import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
