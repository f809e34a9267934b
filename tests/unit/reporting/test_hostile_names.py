"""Names and words of strangers in pages, pictures and the terminal."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from tiny import a_record, write_tiny_cohort

from brainuad.cohorts.manifest import write_cohort
from brainuad.model.card import Card
from brainuad.model.export import model_card
from brainuad.records.summary import Result
from brainuad.reporting.attempt import attempt
from brainuad.reporting.drawing import curves, plots
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.flags import Flag
from brainuad.reporting.pages.quality import write_quality
from brainuad.reporting.pages.render import Link, Plot, Table, environment, render
from brainuad.reporting.tables import summary_table, to_markdown

IMAGE = 's"><img src=x onerror=alert(1)>'
SCRIPT = "s'\"><script>alert(1)</script>"
MATHS = "$x^$"
TEMPLATES = [name for name in environment().list_templates() if name.endswith(".html")]


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.scripts, self.handlers, self.images = 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.images += [value for name, value in attrs if tag == "img" and name == "src"]


def _harmless(text):
    page = _Page(text)
    return page.scripts == 1 and not page.handlers and "x" not in page.images


@pytest.mark.parametrize("name", [IMAGE.replace("/", ""), "s'\"><svg onload=alert(1)>"])
def test_the_quality_page_runs_no_script_of_a_name(tmp_path, name):
    cohort = write_tiny_cohort(tmp_path / "cohort", train=1, val=0, test=0, sick=0)
    scans = [replace(cohort.scans[0], subject=name)]
    info = {"flags": {f"{name}_T2w": [SCRIPT]}, "failures": [(name, SCRIPT)], "name": SCRIPT}
    cohort = write_cohort(cohort.root, scans, info)
    records = {(name, "T2w"): a_record(name, quality={"brain_ml": 1.0}, notes=(SCRIPT,))}
    text = write_quality(cohort, records, None).read_text()
    assert _harmless(text)
    (link,) = re.findall(r'<a href="#(scan-\d+)"', text)
    assert f'id="{link}"' in text


@pytest.mark.parametrize("word", [IMAGE, SCRIPT, f"1 [{SCRIPT}]"])
def test_every_piece_of_a_page_escapes_what_it_takes(word):
    pieces = environment().get_template("pieces.html").module
    body = "".join(
        (
            pieces.table(Table([word], [[word, Link(word, word)]], word, own=word)),
            pieces.picture(Picture(b"", 1, 1), word),
            pieces.plots([Plot("", word)]),
            pieces.flags([Flag(word, word)]),
        )
    )
    page = render("page.html", title=word, subtitle=word)
    assert _harmless(page.replace("<main>", f"<main>{body}"))


def test_the_templates_mark_nothing_as_safe_but_drawings():
    texts = {name: environment().loader.get_source(environment(), name)[0] for name in TEMPLATES}
    safe = {name: text.count("|safe") for name, text in texts.items() if "|safe" in text}
    assert safe == {"pieces.html": 2}
    assert environment().autoescape is True


def test_the_page_allows_its_own_script_alone():
    policy = re.search(
        r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"',
        render("page.html", title="", subtitle=""),
    )
    (scripts,) = re.findall(r"script-src ([^;]+)", policy[1])
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", scripts)


@pytest.mark.parametrize("word", [f"{MATHS} {SCRIPT}", "$\\frac$"])
def test_figures_draw_any_name(word):
    line = np.linspace(0, 1, 5)
    drawn = [
        curves.precision_recall([curves.Curve(word, line, line)]),
        curves.training_curve(word, {word: ([0, 1], [1.0, 2.0])}),
        curves.strips(word, {word: {word: [0.1, 0.2]}}, (0, 1)),
        plots.bands({word: np.random.default_rng(0).random((3, 100))}),
        plots.against_volume({word: [(1.0, 0.5)]}),
        plots.paired([word, word], line, line, word),
        plots.calibration({word: (line + 0.1, np.stack([line, line]))}),
    ]
    assert all("<script" not in svg for svg in drawn)


def test_the_table_of_the_terminal_takes_any_name():
    row = Result("v1[/draft][bold]\x1b[31m", "all", "none", "auprc", 3, 0.5, 0.1, 0.4, 0.6)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table([row], "[/x]"))
    assert r"v1[/draft][bold]\x1b[31m" in console.export_text()


def test_markdown_tables_and_the_model_card_hold_no_html():
    assert "<" not in to_markdown(["method"], [[SCRIPT]])
    card = Card(
        *({}, {}, {}, IMAGE, None),
        **{"name": SCRIPT, "cohort": f"{SCRIPT}\n# forged", "threshold": 0.5, "licence": SCRIPT},
        **{"weights_sha256": "0", "format": "2", "split_hash": "`<b>"},
    )
    text = model_card(card)
    assert "<" not in text
    assert "# forged" not in text.splitlines()


def test_a_page_that_fails_is_a_warning(capsys):
    def fail():
        raise ValueError("mathtext\n\x1b[31mfailed")

    attempt(fail, "report:")
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err
        == r"warning: no page (ValueError: mathtext \x1b[31mfailed); the results are complete"
        + "\n"
    )
