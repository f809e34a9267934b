"""Arrays are made once, and a damaged or missing cache only costs time."""

import numpy as np
import pytest

from brainuad.machine.cache import cache_folder, kept_arrays
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.volumes.template import load_template


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(calls):
    def make():
        calls.append(1)
        return {"a": np.arange(3.0), "b": np.eye(2, dtype=np.float32)}

    return make


def test_arrays_are_made_once(folder):
    calls = []
    first, again = (kept_arrays("x", "numpy", made(calls)) for _ in range(2))
    assert len(calls) == 1
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array, strict=True)
    kept_arrays("y", "numpy", made(calls))
    assert len(calls) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"half"])
def test_a_damaged_file_is_made_anew(folder, content):
    calls = []
    kept_arrays("x", "numpy", made(calls))
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:200] if content == b"half" else content)
    for _ in range(2):
        assert kept_arrays("x", "numpy", made(calls))["a"].tolist() == [0, 1, 2]
    assert len(calls) == 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "file" / "cache"))
    calls = []
    for _ in range(2):
        assert kept_arrays("x", "numpy", made(calls))["a"].tolist() == [0, 1, 2]
    assert len(calls) == 2


def test_the_folder_is_where_caches_belong(monkeypatch, tmp_path):
    monkeypatch.delenv("BRAINUAD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "brainuad"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "brainuad"


@pytest.mark.slow
def test_template_and_atlas_are_kept_as_they_were_made(folder):
    found = []
    for _ in range(2):
        load_template.cache_clear()
        load_brain_atlas.cache_clear()
        found.append((load_template(3.0), load_brain_atlas()))
    assert len(list(folder.iterdir())) == 2
    (template, atlas), (template_again, atlas_again) = found
    for name in ("affine", "brain", "grey", "white", "csf", "ventricles", "deep_grey"):
        np.testing.assert_array_equal(
            getattr(template, name), getattr(template_again, name), strict=True
        )
    np.testing.assert_array_equal(atlas.image.array, atlas_again.image.array, strict=True)
    np.testing.assert_array_equal(atlas.image.affine, atlas_again.image.affine, strict=True)
    np.testing.assert_array_equal(atlas.brain_mask, atlas_again.brain_mask, strict=True)
