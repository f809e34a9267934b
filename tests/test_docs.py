"""Commands, options and links of the documentation exist, and its example runs."""

import json
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from method_tester import SIZE, MethodTester, train
from tiny import ROOT

import brainuad.methods
from brainuad.metrics import registry
from brainuad.shipped import models

PAGES = ROOT / "docs"
DOCS = sorted(PAGES.rglob("*.md"))
NOTEBOOKS = sorted(PAGES.rglob("*.ipynb"))
CONFIGS = ROOT / "configs"
PLACEHOLDER = re.compile("[A-Z]+")


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=lambda path: path.name
)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", t).strip().lower().replace(" ", "-") for t in titles}
            assert anchor in anchors, link


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_commands_of_the_documentation_exist(path):
    text = path.read_text()
    setup, makefile = (ROOT / "setup.cfg").read_text(), (ROOT / "Makefile").read_text()
    for command in set(re.findall(r"\bbrainuad-[a-z]+", text)):
        assert f"{command} =" in setup, command
    for extra in set(re.findall(r"'\.\[(\w+)\]'", text)):
        assert re.search(rf"^{extra} =", setup, re.MULTILINE), extra
    for target in set(re.findall(r"^make (\w+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    files = re.findall(r"python ([\w/]+\.py)|`(\w+/[\w/]+\.(?:py|yaml|sbatch))`", text)
    for script in {name for pair in files for name in pair if name} - EXAMPLE_FILES:
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_options_of_the_documentation_exist(path):
    for group, option in set(re.findall(r"(?<![\w./])([\w/]+)=(\w+)", path.read_text())):
        if (CONFIGS / group).is_dir() and not PLACEHOLDER.fullmatch(option):
            assert (CONFIGS / group / f"{option}.yaml").is_file(), f"{group}={option}"


def test_every_page_is_in_the_index():
    index = (PAGES / "index.md").read_text()
    pages = {path.relative_to(PAGES).as_posix() for path in DOCS} - {"index.md"}
    assert pages <= set(re.findall(r"\((\S+\.md)\)", index))


def test_every_page_is_in_the_navigation_of_the_site():
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    pages = {path.relative_to(PAGES).with_suffix(".md").as_posix() for path in DOCS + NOTEBOOKS}
    assert pages == set(re.findall(r"[\w/-]+\.md", nav.replace("docs/hooks.py", "")))


def test_every_shipped_model_has_a_card_with_its_figures():
    cards = (PAGES / "explanation" / "model-cards.md").read_text().split("\n## ")[1:]
    known = {card.split("\n")[0]: card for card in cards}
    assert set(known) == {f"{model.name.title()}, {model.sequence}" for model in models()}
    for model in models():
        card = known[f"{model.name.title()}, {model.sequence}"]
        for fact in (model.file, f"{model.size:,} bytes", model.sha256, *model.untested):
            assert fact in card
        for licence in (model.licence, model.data_licence):
            assert licence in card
        for scores in model.scores.values():
            row = f"| {scores['people']} | {scores['AP']:.3f} | {scores['Dice']:.3f} |"
            assert row in card
        for part in ("Intended use", "Training data", "Figures", "Limits"):
            assert f"**{part}.**" in card


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


EXAMPLE_FILES = {
    "configs/experiment/denoising.yaml",
    "configs/model/denoising.yaml",
    "src/brainuad/methods/denoising.py",
    "tests/unit/methods/test_denoising.py",
}
"""Files of the method that add-a-method.md makes."""


@pytest.mark.slow
def test_the_example_method_keeps_the_contract(tmp_path, monkeypatch):
    text = (PAGES / "how-to" / "add-a-method.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    model, experiment = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    module = ModuleType("brainuad.methods.denoising")
    exec(compile(code, "denoising.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(brainuad.methods, "denoising", module, raising=False)
    for kind, content in (("model", model), ("experiment", experiment)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "denoising.yaml").write_text(content)
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        search = f"hydra.searchpath=[file://{tmp_path}]"
        cfg = compose(
            "train", [search, "experiment=denoising", f"data.slice_size={SIZE}", "name=denoising"]
        )
    MethodTester().check_all(train(cfg, tmp_path))


def test_the_example_score_is_a_metric():
    text = (PAGES / "how-to" / "add-a-score.md").read_text()
    function, record = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)[:2]
    names: dict = {}
    exec(function, names)
    (metric,) = eval(f"({record})", {**vars(registry), "voxel": SimpleNamespace(**names)})
    truth = np.zeros((4, 4, 4), bool)
    truth[:2] = True
    case = registry.MaskCase(~truth & False, truth, ~truth | truth, (1.0, 1.0, 1.0))
    assert metric.function(case) == 1
    assert metric.needs == "mask"
