"""Every key of the configurations is explained: beside it, or by the class that it configures."""

import importlib.util
import re

from tiny import ROOT

SPEC = importlib.util.spec_from_file_location("write_options", ROOT / "docs" / "write_options.py")
write_options = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(write_options)

ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \| (.*?) \| .* \|$", re.MULTILINE)


def test_every_key_has_a_meaning():
    unnamed = [key for key, _, meaning in ROW.findall(write_options.page()) if not meaning.strip()]
    assert not unnamed, f"write a comment beside {', '.join(unnamed)}"


def test_the_page_has_every_key_and_its_value():
    now, page = (
        ROW.findall(text) for text in (write_options.page(), write_options.PAGE.read_text())
    )
    new = {(key, value) for key, value, _ in now} ^ {(key, value) for key, value, _ in page}
    assert not new, f"run python docs/write_options.py: {sorted(new)[:5]}"


def test_every_group_is_on_the_page():
    folders = {path.parent.relative_to(ROOT / "configs").as_posix()
               for path in (ROOT / "configs").rglob("*.yaml")}  # fmt: skip
    assert folders - {".", "hydra", "experiment"} == set(write_options.GROUPS)


def test_every_file_says_what_it_is_for():
    silent = [file.name for file in write_options.CONFIGS.rglob("*.yaml")
              if len(write_options.head(file)) < 10]  # fmt: skip
    assert not silent, f"begin {', '.join(silent)} with a comment: what for, when to choose it"
