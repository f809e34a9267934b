"""A made-up run folder and a reader of the page made from it."""

import csv
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.reporting.pages.report import make_report
from brainuad.volumes.nifti import read_volume, write_volume

COLUMNS = [
    *("subject", "cohort", "sequence", "method", "pathology", "contrast", "space"),
    *("threshold", "threshold_value", "metric", "value"),
]
METHODS = ("strega", "intensity")
HOSTILE = "<script>alert(1)</script> & co"


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that are not closed."""

    VOID = frozenset({"meta", "img", "br", "input", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def prose(self) -> str:
        return " ".join(" ".join(self.words).split())

    def pictures(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture
def read_page() -> Callable[[str], Page]:
    """Reads a page or a piece of one."""
    return Page


@pytest.fixture
def page_of() -> Callable[..., Page]:
    """Makes the report of a run folder and reads it."""

    def read(run: Path, **options: int) -> Page:
        return Page(make_report(run, **options).read_text(encoding="utf-8"))

    return read


@pytest.fixture
def hostile() -> str:
    """Text that must never become markup."""
    return HOSTILE


@pytest.fixture
def run_folder(tiny_cohort: Cohort, tmp_path: Path) -> Path:
    """A run folder of the tiny cohort, with every file that a run leaves."""
    run = tmp_path / "run"
    test = tiny_cohort.select("test", "T2w")
    rows, rng = [], np.random.default_rng(0)
    for scan in test:
        image = read_volume(scan.image)
        for name, array in (
            ("anomaly", image.array**2),
            ("reconstruction", image.array * 0.9),
            ("mask", image.array > 0.7),
        ):
            dtype = np.uint8 if name == "mask" else np.float32
            path = run / "prepared" / f"{scan.subject}_{name}.nii.gz"
            write_volume(path, array, image.affine, dtype)
        for method in METHODS:
            scores = [("auprc", "none"), ("dice", "healthy"), ("dice", "oracle_subject")]
            if scan.healthy:
                scores = [("fpr_healthy", "healthy")]
            for metric, threshold in scores:
                rows.append(_score_row(scan, method, metric, threshold, rng.random()))
    for method in METHODS:
        row = _score_row(test[0], method, "auprc", "none", 0.4321)
        rows.append({**row, "subject": "(pooled)", "pathology": "", "contrast": ""})
    with (run / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _write_summary(run, failures=[])
    provenance = {
        "command": "train.py experiment=strega_paper",
        "commit": "abc123",
        "dirty": True,
        "versions": {"torch": "2.9.9"},
        "cohort": {"name": "tiny", "path": str(tiny_cohort.root), "split_hash": "f00"},
        "sequence": "T2w",
        "method": "strega",
        "parameters": 1234567,
        "notes": [HOSTILE],
    }
    (run / "provenance.json").write_text(json.dumps(provenance))
    (run / "config.yaml").write_text("name: strega\nurl: <a href='http://x'>\n")
    recall = np.linspace(1, 0, 50)
    curves = {}
    for method in METHODS:
        curves[f"{method}/recall"], curves[f"{method}/precision"] = recall, 1 - 0.9 * recall
        curves[f"{method}/pr_threshold"] = np.linspace(0, 1, 50)
    np.savez(run / "curves.npz", **curves)
    (run / "metrics.csv").write_text(
        "epoch,step,train/loss_step,train/loss_epoch,val/loss\n"
        "0,1,9.0,,\n0,2,,0.75,\n0,2,,,0.8\n1,4,,0.5,\n1,4,,,0.625\n"
    )
    return run


def _score_row(scan: Scan, method: str, metric: str, threshold: str, value: float) -> dict:
    return {
        "subject": scan.subject,
        "cohort": "tiny",
        "sequence": "T2w",
        "method": method,
        "pathology": scan.pathology,
        "contrast": scan.contrast or "",
        "space": "native",
        "threshold": threshold,
        "threshold_value": 0.5,
        "metric": metric,
        "value": value,
    }


def _write_summary(run: Path, failures: list[list[str]]) -> None:
    results = [
        {
            "method": method,
            "group": group,
            "threshold": threshold,
            "metric": metric,
            "n": 2,
            "mean": mean,
            "std": 0.1,
            "ci_low": mean - 0.05,
            "ci_high": mean + 0.05,
            "undefined": 0,
        }
        for method, mean in (("strega", 0.6172), ("intensity", 0.5391))
        for group, metric, threshold in (
            ("all", "dice", "healthy"),
            ("all", "dice", "oracle"),
            ("all", "auprc", "none"),
            ("healthy", "fpr_healthy", "healthy"),
        )
    ]
    summary = {
        "cohort": "tiny",
        "sequence": "T2w",
        "space": "native",
        "thresholds": {"strega": 0.45, "intensity": 0.8},
        "results": results,
        "failures": failures,
    }
    (run / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def write_summary() -> Callable[..., None]:
    """Writes `summary.json` of a run folder with given failures."""
    return _write_summary
