"""The documentation site builds strictly, runs its notebooks, and loads nothing from elsewhere."""

import importlib.util
import logging
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import without_coverage
from tiny import ROOT

REPOSITORY = "https://example.org/team/brainuad"
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers.python", "nbclient", "ipykernel")


class _Page(HTMLParser):
    """What a page loads and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given.get("href") or "")
        self.loads += [given["src"]] if given.get("src") else []


@pytest.fixture(scope="module")
def hooks():
    """The hooks of the site; skips where its packages are missing, except in CI."""
    missing = [name for name in NEEDED if not _installed(name)]
    if missing:
        assert "CI" not in os.environ, missing
        pytest.skip(f"no {', '.join(missing)} here; pip install -e '.[docs]'")
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def site(hooks, tmp_path_factory) -> Path:
    """The site as CI publishes it; the build fails on a broken link, nav or cell."""
    out = tmp_path_factory.mktemp("site")
    words = ["build", "--quiet", "--strict", "--site-dir", out]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT,
        env=without_coverage() | {"REPOSITORY_URL": REPOSITORY, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.site
def test_notebooks_show_their_findings(site):
    findings = (site / "notebooks" / "findings.html").read_text()
    assert "data:image/jpeg;base64," in findings
    assert "demo_FLAIR.nii.gz" in findings
    assert "<td>left</td>" in findings
    training = (site / "notebooks" / "training.html").read_text()
    assert "data:image/jpeg;base64," in training
    # A row of scores per patient, from the pivot of scores.csv.
    assert training.count("<th>patient1</th>") == training.count("<th>patient2</th>") == 1
    for text in (findings, training):
        assert "Traceback" not in text
        assert len(text) < 600_000


@pytest.mark.site
def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loads = _Page(path.read_text()).loads
        assert loads
        assert not [one for one in loads if one.startswith(("http:", "https:", "//"))], path
    for path in site.rglob("*.css"):
        assert "@import" not in path.read_text()


@pytest.mark.site
def test_links_out_of_the_pages_lead_to_the_repository(site):
    assert f"{REPOSITORY}/blob/main/experiments/README.md" in (
        _Page((site / "index.html").read_text()).links
    )
    for path in site.rglob("*.html"):
        links = _Page(path.read_text()).links
        assert not [
            link for link in links if link.endswith((".md", ".ipynb")) and "/blob/" not in link
        ]
        for link in links:
            if link.startswith(f"{REPOSITORY}/blob/main/"):
                file = link.removeprefix(f"{REPOSITORY}/blob/main/").partition("#")[0]
                assert (ROOT / file).exists(), link


@pytest.mark.site
def test_the_reference_has_the_public_interface(site):
    text = (site / "reference" / "model.html").read_text()
    for name in ("api.load", "model.Model.load", "predict.predict_raw", "prediction.Prediction"):
        assert f'id="brainuad.model.{name}"' in text
    assert 'id="brainuad.preparation.transforms.brain.SkullStripd"' in (
        (site / "reference" / "preparation.html").read_text()
    )


@pytest.mark.parametrize(
    ("link", "address", "expected"),
    [
        ("[a `b`](../../LICENSE)", REPOSITORY, f"[a `b`]({REPOSITORY}/blob/main/LICENSE)"),
        (
            "[a](../../README.md#use)",
            f"{REPOSITORY}/",
            f"[a]({REPOSITORY}/blob/main/README.md#use)",
        ),
        ("[a](../../LICENSE)", None, "a"),
        ("[a](../notebooks/findings.ipynb)", None, "[a](../notebooks/findings.md)"),
        ("[a](train.md#3)", None, "[a](train.md#3)"),
        ("[a](https://a.org/b) [c](#d)", None, "[a](https://a.org/b) [c](#d)"),
        ("```\n[a](../../LICENSE)\n```", None, "```\n[a](../../LICENSE)\n```"),
        ("![a](../../x.png)", None, "![a](../../x.png)"),
    ],
)
def test_links_of_a_page(hooks, link, address, expected, caplog):
    config = SimpleNamespace(docs_dir=str(ROOT / "docs"), repo_url=address)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/predict.md"))
    with caplog.at_level(logging.WARNING):
        assert hooks.on_page_markdown(link, page=page, config=config, files=[]) == expected
    assert not caplog.records


@pytest.mark.parametrize("link", ["../../gone.md", "../../../outside.md"])
def test_a_link_to_nothing_is_a_warning_that_ends_a_strict_build(hooks, link, caplog):
    config = SimpleNamespace(docs_dir=str(ROOT / "docs"), repo_url=None)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/predict.md"))
    hooks.on_page_markdown(f"[a]({link})", page=page, config=config, files=[])
    (record,) = caplog.records
    assert record.name.startswith("mkdocs.")
    assert link in record.getMessage()


def test_a_cell_that_fails_ends_the_build(hooks, tmp_path):
    import nbformat
    from mkdocs.exceptions import PluginError

    cells = [nbformat.v4.new_code_cell("%%bash\nfalse")]
    path = tmp_path / "bad.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(PluginError, match="bad.ipynb"):
        hooks.notebook_page(path, execute=True)
    assert hooks.notebook_page(path, execute=False) == "```bash\nfalse\n```"
