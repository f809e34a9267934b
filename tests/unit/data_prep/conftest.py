"""The folder `data_prep` is not installed: put the repository's root on the path."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tiny import ROOT

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def touch(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Makes empty files of the given names below a folder and returns that folder."""

    def make(names: Iterable[str]) -> Path:
        root = tmp_path / "download"
        root.mkdir(exist_ok=True)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return make
