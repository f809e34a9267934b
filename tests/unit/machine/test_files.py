import json
import os

import pytest

from brainuad.machine.files import atomic_folder, atomic_path, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert os.listdir(tmp_path) == []
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("whole")
    assert (tmp_path / "f" / "a").read_text() == "whole"


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), (1.5, float("inf"))], "b": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, [1.5, None]], "b": None}
