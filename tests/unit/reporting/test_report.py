"""`brainuad-report`: its exit status, its one-line errors, its choice of subjects."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from brainuad.cli import report
from brainuad.cli.report import main
from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.reporting.pages.report import make_report
from brainuad.reporting.pages.subjects import choose


def test_choose_takes_turns_among_pathologies():
    def scan(name: str, pathology: str) -> Scan:
        path = Path(name)
        return Scan(name, "T2w", path, path, not pathology, "test", pathology=pathology)

    scans = [scan("h0", "")] + [scan(f"t{i}", "tumour") for i in range(5)] + [scan("m0", "ms")]
    assert [s.subject for s in choose(scans, 4)] == ["t0", "t1", "m0", "h0"]
    assert [s.subject for s in choose(scans, 9)][-1] == "h0"
    assert choose(scans, 0) == []


def test_write_is_atomic(run_folder: Path, monkeypatch: pytest.MonkeyPatch):
    (run_folder / "report.html").write_text("old")
    monkeypatch.setattr("brainuad.machine.files.os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_report(run_folder)
    assert (run_folder / "report.html").read_text(encoding="utf-8") == "old"
    assert not [path for path in run_folder.iterdir() if path.name.startswith(".")]


def test_command(run_folder: Path, capsys: pytest.CaptureFixture):
    assert main([str(run_folder), "--subjects", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(run_folder / "report.html")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda run: run / "nowhere", "no such folder"),
        (lambda run: run / "prepared", "not a run folder"),
    ],
)
def test_no_run_folder_is_one_line(run_folder: Path, capsys, make, words: str):
    assert main([str(make(run_folder))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
    with pytest.raises(InputError):
        main([str(make(run_folder)), "--debug"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("summary.json", "{", "not valid JSON"),
        ("summary.json", "[]", "expected a JSON object"),
        ("scores.csv", "a,b\n1,2\n", "no column subject"),
        ("curves.npz", "nothing", "not readable"),
    ],
)
def test_damaged_files_are_named(run_folder: Path, capsys, name: str, content: str, words: str):
    (run_folder / name).write_text(content)
    assert main([str(run_folder)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert str(run_folder / name) in error


def test_negative_count(run_folder: Path, capsys):
    assert main([str(run_folder), "--subjects", "-1"]) == 2
    assert "--subjects is -1" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys, brainuad.cli.report as r\n"
        "try: r.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "example:" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
    assert report.SUBJECTS == 24


@pytest.mark.slow
def test_an_anonymous_report_tells_no_names_and_no_places(run_folder: Path, tiny_cohort, page_of):
    page = page_of(run_folder, nameless=True)
    names = [scan.subject for scan in tiny_cohort.scans]
    words = [*names, str(tiny_cohort.root), tiny_cohort.name, str(run_folder)]
    found = [word for word in words if re.search(rf"\b{re.escape(word)}\b", page.text)]
    assert found == []
    assert page.pictures() == []
    assert "anonymous" in page.prose
    assert "precision" in page.prose
    assert names[-1] in page_of(run_folder).text


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"results": [1]}, {"results": {}}, {"results": [{"method": 1}]}, {"thresholds": {"a": "b"}}],
)
def test_a_summary_of_another_kind_is_one_line(run_folder: Path, capsys, change):
    path = run_folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main([str(run_folder)]) == (0 if change == {"results": {}} else 2)
    assert "internal" not in capsys.readouterr().err


def test_a_summary_with_words_for_numbers_is_one_line(run_folder: Path, capsys):
    path = run_folder / "summary.json"
    found = json.loads(path.read_text())
    found["results"][0]["n"] = "many"
    path.write_text(json.dumps(found))
    assert main([str(run_folder)]) == 2
    assert "summary.json: not a summary of brainuad" in capsys.readouterr().err
