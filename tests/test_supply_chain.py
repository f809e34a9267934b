"""What comes from elsewhere: by https, with its hash; CI may read and no more."""

import re
from pathlib import Path

import pytest
import yaml

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


def test_the_licences_of_others_are_named():
    notice = (ROOT / "NOTICE").read_text()
    for name in ("NiiVue", "MNI152", "LGPL", "GPL-3.0"):
        assert name in notice.replace("Niivue", "NiiVue")
    assert "NOTICE" in (ROOT / "setup.cfg").read_text()
    assert "private" in (ROOT / "SECURITY.md").read_text()
