"""The page of changes: what a record says, escaped, and what it leaves out when anonymous."""

import json

import numpy as np
import pytest

from brainuad.reporting.drawing.changes import draw_changes
from brainuad.reporting.pages.changes import write_changes_page

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def out(tmp_path):
    brain = np.ones((20, 24, 16), np.float32)
    gained = np.zeros(brain.shape, bool)
    gained[5:9, 5:9, 6:9] = True
    picture = draw_changes(brain, brain, gained, ~gained & False, 1.0)
    assert picture.jpeg.startswith(b"\xff\xd8")
    volumes = {"first_mm3": 0, "second_mm3": 1250, "gained_mm3": 1250, "lost_mm3": 0}
    states = {"n_new": 1, "n_grown": 0, "n_shrunk": 0, "n_vanished": 0, "n_stable": 1}
    change = {"change": 1, "state": "new", **volumes, "first_parts": 0, "second_parts": 1}
    change |= {"x_mm": -31.2, "y_mm": 4.0, "z_mm": 17.4}
    record = {
        "pair": {"scan_id": HOSTILE, **states, **volumes},
        "changes": [change, change | {"change": 2, "state": "stable"}],
        "picture": [picture.width, picture.height],
    }
    folder = tmp_path / "changes"
    folder.mkdir()
    (folder / "scan.json").write_text(json.dumps(record))
    (folder / "scan.jpg").write_bytes(picture.jpeg)
    return tmp_path


def test_a_pair_has_its_numbers_its_picture_and_an_escaped_name(out):
    page = write_changes_page(out).read_text()
    assert "1 new, 1 stable" in page
    assert "1.25 ml gained, 0.00 ml lost" in page
    assert "0 → 1" in page
    assert "-31, 4, 17" in page
    assert "data:image/jpeg" in page
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    # A stable finding is no change.
    assert page.count(">new<") == 1
    assert ">stable<" not in page


def test_an_anonymous_page_has_neither_name_nor_picture_nor_place(out):
    page = write_changes_page(out, anonymous=True).read_text()
    assert "1.25 ml gained" in page
    assert "pair 1" in page
    for hidden in ("alert(1)", "data:image/jpeg", "-31, 4, 17"):
        assert hidden not in page
