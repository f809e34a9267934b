"""No text promises more of a preset than its row in docs/explanation/presets.md holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRESETS = sorted(
    path.stem
    for path in (ROOT / "configs" / "experiment").glob("*.yaml")
    if not path.stem.endswith("_small")
)
TABLE = ROOT / "docs" / "explanation" / "presets.md"
WORDS = {"published": "ublished but for", "scaled": "scaled", "after": "fter "}
"""What the head of a preset says, by its word."""

TEXTS = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "configs/**/*.yaml", "experiments/**/*.md")
    for path in ROOT.glob(pattern)
    if path != TABLE
)


def rows() -> dict[str, str]:
    """Word of each preset."""
    found = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", cells[0]) if len(cells) == 3 else ():
            found[name] = cells[1]
            assert cells[2] or cells[1] == "ours", name
    return found


def test_every_row_has_a_preset():
    assert set(rows()) <= set(PRESETS)
    assert set(rows().values()) == {*WORDS, "ours"}


@pytest.mark.parametrize("name", PRESETS)
def test_the_head_of_a_preset_carries_its_word(name):
    text = (ROOT / "configs" / "experiment" / f"{name}.yaml").read_text()
    head = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    word = rows().get(name)
    if word is None:
        # A new preset says it in its head until it has a row.
        assert any(one in head or one.capitalize() in head for one in (*WORDS.values(), "ours"))
        return
    if word in WORDS:
        assert WORDS[word] in head or WORDS[word].capitalize() in head, head
    if word != "published":
        assert "ublished but for" not in head


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_as_published_is_said_of_published_presets_alone(path):
    published = [name for name, word in rows().items() if word == "published"]
    for line in path.read_text().splitlines():
        if "as published" in line.lower():
            named = set(re.findall(r"\b[a-z_0-9]+\b", line)) | {path.stem}
            assert named & set(published), f"{path.name}: {line.strip()[:200]}"
