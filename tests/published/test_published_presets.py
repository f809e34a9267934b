"""What all presets share."""

from pathlib import Path

import pytest
from released_values import preset

EXPERIMENTS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "configs" / "experiment").glob("*.yaml")
)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.endswith("_small")])
def test_a_preset_composes_under_its_own_name(name):
    assert preset(name).name == name
