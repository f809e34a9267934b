"""What changes a fingerprint, and what does not."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from brainuad.machine.fingerprint import fingerprint


@dataclass(frozen=True)
class One:
    """A step with a parameter."""

    size: float = 1.0
    path: Path | None = None


@dataclass(frozen=True)
class Other(One):
    """Another step with the same parameter."""


DIFFERENT = [
    (),
    (1,),
    (True,),
    ("1",),
    (None,),
    ((1,),),
    (1, 2),
    ((1, 2),),
    ("1, 2",),
    ("a", "b"),
    ("ab",),
    ("[1]",),
    (One(),),
    (One(2.0),),
    (Other(),),
    (One,),
    ({"size": 1.0, "path": None},),
    (np.zeros(2),),
    (np.zeros(2, np.float32),),
    (np.zeros((1, 2)),),
    (np.ones(2),),
    ([],),
    ({},),
    (b"1",),
    ("/none/a",),
    (Path("/none/a"),),
    (Path("/none/b"),),
]


def test_different_parts_have_different_fingerprints():
    found = [fingerprint(*parts) for parts in DIFFERENT]
    assert len(set(found)) == len(DIFFERENT)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in found)
    # It names files: it stays the same from one process and one version to the next.
    assert fingerprint("a", 1, 0.5, {"b": [None, True]}) == "0e0e3d57b0c753c9"


def test_equal_parts_have_one():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) == fingerprint((1, 2))
    assert fingerprint(One(1.0)) == fingerprint(One())
    assert fingerprint(np.arange(6).reshape(2, 3).T) == fingerprint(
        np.ascontiguousarray(np.arange(6).reshape(2, 3).T)
    )
    assert fingerprint(torch.ones(3, requires_grad=True)) == fingerprint(np.ones(3, np.float32))


def test_a_file_counts_by_place_size_and_time(tmp_path, monkeypatch):
    path = tmp_path / "a"
    found = {fingerprint(path)}
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    found.add(before := fingerprint(path))
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) == before
    monkeypatch.chdir(tmp_path)
    assert fingerprint(Path("a")) == before
    os.utime(path, ns=(2, 2))
    found.add(fingerprint(path))
    path.write_text("three")
    os.utime(path, ns=(2, 2))
    found.add(fingerprint(path))
    found.add(fingerprint(One(path=path)))
    folder = tmp_path / "folder"
    folder.mkdir()
    found.add(fingerprint(folder))
    (folder / "b").write_text("b")
    found.add(fingerprint(folder))
    assert len(found) == 7


@pytest.mark.parametrize("part", [object(), lambda: 1, partial(lambda: 1)])
def test_what_is_told_by_its_address_has_none(part):
    with pytest.raises(TypeError, match="no fingerprint"):
        fingerprint(part)
