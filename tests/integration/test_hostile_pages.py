"""Pages made of a stranger's names and words, in a real browser: no script of theirs runs."""

import csv
import json
from dataclasses import replace

import pytest
from tiny import a_record, write_tiny_cohort

from brainuad.cohorts.manifest import write_cohort
from brainuad.machine.files import write_text
from brainuad.reporting.pages.quality import write_quality
from brainuad.reporting.pages.render import Table, render
from brainuad.reporting.pages.report import make_report

RUNS = "window.struck = 1; alert(1)"
PAYLOADS = (
    f'"><script>{RUNS}</script>',
    f"'\"><img src=http://127.0.0.1:9/x onerror='{RUNS}'>",
    f"</style></title></script><svg onload='{RUNS}'>",
    f"<a href=\"javascript:{RUNS}\">x</a><iframe srcdoc=\"<script>parent.struck=1</script>\">",
    "<base href=http://127.0.0.1:9/><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
)  # fmt: skip
ALL = "".join(PAYLOADS)


def _quality(folder):
    cohort = write_tiny_cohort(folder / "cohort", train=2, val=0, test=0, sick=0)
    # A slash cannot be in a name: the payloads that can do without one.
    names = [f"s{RUNS.join(('<img src=x onerror=', '>'))}", f"s'\"><svg onload='{RUNS}'>"]
    scans = [replace(s, subject=name) for s, name in zip(cohort.scans, names, strict=True)]
    info = {"name": ALL, "flags": {f"{name}_T2w": list(PAYLOADS) for name in names}}
    cohort = write_cohort(cohort.root, scans, info | {"failures": [(ALL, ALL)]})
    records = {
        (name, "T2w"): a_record(name, quality={"brain_ml": 1.0}, notes=(ALL,)) for name in names
    }
    return write_quality(cohort, records, None)


def _report(folder):
    run = folder / "run"
    run.mkdir()
    row = {"method": ALL, "group": ALL, "threshold": "healthy", "metric": "dice", "n": 3}
    row |= {"mean": 0.5, "std": 0.1, "ci_low": 0.4, "ci_high": 0.6, "undefined": 0}
    summary = {"cohort": ALL, "sequence": ALL, "space": ALL, "thresholds": {ALL: 0.5}}
    summary |= {"results": [row, row | {"group": "all"}], "failures": [[ALL, ALL]]}
    (run / "summary.json").write_text(json.dumps(summary))
    record = dict.fromkeys(("command", "commit", "time_started", "device", "python"), ALL)
    record |= {"method": ALL, "sequence": ALL, "notes": [ALL], "versions": {ALL: ALL}}
    record |= {"cohort": {"name": ALL, "path": ALL, "split_hash": ALL}}
    (run / "provenance.json").write_text(json.dumps(record))
    (run / "config.yaml").write_text(ALL)
    with (run / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "method", "pathology", "threshold", "metric", "value"])
        writer.writerows([[f"{i}{ALL}", ALL, ALL, "healthy", "dice", 0.5] for i in range(3)])
        writer.writerows([[f"{i}{ALL}", ALL, ALL, "none", "auprc", 0.5] for i in range(3)])
    (run / "metrics.csv").write_text('epoch,"{}"\n0,1\n1,2\n'.format(ALL.replace('"', '""')))
    return make_report(run)


def _slipped_in(folder):
    """As if a template had forgotten to escape."""
    table = Table(["a", "b"], [["2", "x"], ["1", "y"]], "Table", sortable=True)
    page = render("anonymous_predictions.html", title="Title", subtitle="", scans=table)
    write_text(folder / "page.html", page.replace("<main>", "<main>" + "".join(PAYLOADS[:-1])))
    return folder / "page.html"


@pytest.mark.parametrize("make", [_quality, _report, _slipped_in])
def test_no_script_runs_but_the_pages_own(browser, tmp_path, make):
    path = make(tmp_path)
    page = browser.new_page()
    dialogs, requests = [], []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_timeout(500)
    assert page.evaluate("window.struck") is None
    assert dialogs == []
    # A blocked request may be reported, and goes nowhere.
    assert [url for url in requests if url.startswith("file:") and url != path.as_uri()] == []
    assert page.url == path.as_uri()
    if "<table data-sortable" in path.read_text():
        assert page.locator("th button").count() > 0
    page.close()
