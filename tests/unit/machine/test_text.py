"""Text of strangers is shown as text, wherever it goes."""

import ast
import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from brainuad.machine.text import (
    cell,
    csv_text,
    figure_text,
    markdown,
    one_line,
    say,
    visible,
    without_home,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\x9b31m", "a\rb", "\u202ea", "\x07", "\udcff", "\u2028"]
)
def test_control_characters_are_made_visible(capsys, text):
    assert visible(text).isprintable()
    assert "\n" not in one_line(f"a\nerror: forged{text}")
    say("before", text)
    said = capsys.readouterr().out
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def test_words_of_ours_stay_as_they_are():
    text = "⌈Dice⌉ – 3 mm³, Größe\u00a0α ≥ 1;\nnext\tline 😀"
    assert visible(text) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", '=cmd|"/c calc"!A0', "\t=1", "\r=1"]
)
def test_no_cell_is_a_formula(text):
    table = pd.DataFrame({"id": [text], "value": [-1.5], "count": pd.array([None], "Int64")})
    ((_, row),) = [list(csv.reader(io.StringIO(csv_text(table))))]
    assert row[0][0] not in "=+-@\t\r"
    assert row[1:] == ["-1.5", ""]
    assert cell("sub-01") == "sub-01"
    assert cell(-2.0) == -2.0


def test_markdown_holds_no_html_and_no_link():
    said = markdown("<img src=x onerror=1>|`a` [b](javascript:1)\n# c")
    assert not set("<>|`[]\n") & set(said)
    assert markdown("strega_paper, 3 mm") == "strega_paper, 3 mm"


@pytest.mark.parametrize("text", ["$x^$", "$\\frac{$", "a$b", "$$", "\\$x$"])
def test_a_figure_draws_the_characters(text):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0, 0, figure_text(text))
    buffer = io.StringIO()
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg")
    assert f">{text}</text>" in buffer.getvalue()


def test_the_home_folder_is_not_told(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert without_home("/home/somebody/a.nii: bad") == "~/a.nii: bad"


def test_all_that_is_printed_goes_through_one_function():
    """`print` alone shows escape codes; what is printed elsewhere names no strangers' words."""
    own = {"src/brainuad/machine/text.py", "src/brainuad/settings/moved.py"}
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")]:
        if str(path.relative_to(ROOT)) not in own:
            calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            assert not [n.lineno for n in calls if getattr(n.func, "id", "") == "print"], path
