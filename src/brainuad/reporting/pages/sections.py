"""Sections of the report about one run: each function makes one part of the page."""

from collections.abc import Mapping
from typing import Any

from brainuad.cohorts.names import POOLED
from brainuad.machine.text import without_home
from brainuad.reporting.drawing import curves as figures
from brainuad.reporting.pages import html
from brainuad.reporting.pages.html import Markup
from brainuad.reporting.run_folder import CONTROL, RunFolder
from brainuad.reporting.tables import (
    COMPANIONS,
    VARIANTS,
    columns_of,
    group_rows,
    summary_rows,
    untold_note,
)

MAX_TRAINING_PLOTS = 6
_BY_GROUP = (
    ("AP by group of subjects", "none", "auprc"),
    ("Dice at the healthy threshold by group of subjects", "healthy", "dice"),
)
_HEADLINES = (
    ("Dice", "dice", "healthy", ("all",), "at the healthy threshold: the headline"),
    ("AP", "auprc", "none", ("all",), "average precision, no threshold"),
    ("⌈Dice⌉", "dice", "oracle", ("all",), "oracle: threshold chosen on test labels"),
    ("Healthy FPR", "fpr_healthy", "healthy", ("healthy", "all"), "false positives, healthy scans"),
)


def failures(run: RunFolder) -> str:
    """Return the failures and missing files, first on the page."""
    body = ""
    if run.failures:
        items = "".join(
            f"<li><b>{html.escape(subject)}</b>: {html.escape(reason)}</li>"
            for subject, reason in run.failures
        )
        count = len(run.failures)
        title = f"{count} subject{'s' * (count > 1)} failed, left out of everything below"
        body += f'<div class="alert" role="alert"><h2>{title}</h2><ul>{items}</ul></div>'
    return body + "".join(html.paragraph(text, "note") for text in run.absent)


def headline(run: RunFolder) -> str:
    """Four numbers of the run's method beside the control's."""
    cards: list[str] = []
    for title, metric, threshold, groups, note in _HEADLINES:
        own = run.result(run.method, metric, threshold, groups)
        if own is None:
            continue
        text = [note]
        control = run.result(CONTROL, metric, threshold, groups)
        if control is not None and run.method != CONTROL:
            text.append(Markup(f"<b>{CONTROL} control {control['mean']:.3f}</b>"))
        if own.get("ci_low") is not None and own.get("ci_high") is not None:
            text.append(f"95 % interval {own['ci_low']:.3f} to {own['ci_high']:.3f}")
        text.append(f"n = {own.get('n', '?')}")
        lines = Markup("<br>".join(html.escape(line) for line in text))
        cards.append(html.card(title, html.number(own["mean"]), lines, "" if cards else "lead"))
    return html.grid(cards, "cards") if cards else ""


def scores(run: RunFolder) -> str:
    """The summary table and how to read it."""
    results: list[dict[str, Any]] = run.summary.get("results") or []
    body = ""
    if results:
        space = run.summary.get("space")
        caption = "Test subjects, mean ± standard deviation, below it the 95 % interval"
        table = summary_rows(results, columns=columns_of(str(space)))
        body += _score_table(run, table, caption + f" ({space} space)" * bool(space))
        if note := untold_note(results):
            body += html.paragraph(note, "soft")
        body += _score_table(run, summary_rows(results, columns=VARIANTS), _promise(run))
        companions = summary_rows(results, columns=COMPANIONS)
        body += _score_table(
            run, companions, "At the healthy threshold: lesions, surfaces, subjects"
        )
        for title, threshold, metric in _BY_GROUP:
            # Healthy subjects have no lesion to find: a row of their own, the false positives.
            lesions = [row for row in results if row.get("group") != "healthy"]
            header, rows = group_rows(lesions, threshold, metric)
            found = [run.result(run.method, metric, threshold, (name,)) for name in header]
            header = [
                f"{name}, n = {row['n']}" if row else name
                for name, row in zip(header, found, strict=True)
            ]
            body += _score_table(run, (header, rows), title)
    else:
        body += html.paragraph("There are no scores: summary.json is missing or empty.", "note")
    body += html.details("How to read this", html.static("how_to_read.html"), shown=True)
    return html.section("Scores", body, anchor="scores")


def curves(run: RunFolder, share: float | None = None) -> str:
    """Precision against recall, and the scores subject by subject.

    Args:
        run: the run.
        share: share of the brain that is lesion, where that is known.
    """
    plots = []
    if found := run.curves():
        caption = (
            "All brain voxels of the test subjects with a lesion, pooled; the dot is "
            "the healthy threshold"
            + (
                "."
                if share is None
                else ", the line what a score without information reaches: "
                "the lesions' share of the brain in the subjects shown."
            )
        )
        plots.append(html.plot(figures.precision_recall(found, share), caption))
    note = "One dot a subject, the bar is the median; subjects with a lesion only."
    for title, metric, threshold in (("AP", "auprc", "none"), ("Dice", "dice", "healthy")):
        values = _by_pathology(run, metric, threshold)
        if values:
            label = title if metric == "auprc" else "Dice at the healthy threshold"
            plots.append(html.plot(figures.strips(label, values, (-0.02, 1.02)), note))
    body = html.grid(plots, "plots") if plots else ""
    if not found:
        words = "There are no precision–recall curves: curves.npz is missing."
        body += html.paragraph(words, "note")
    return html.section("Curves", body, anchor="curves")


def training(run: RunFolder) -> str:
    """A plot a logged quantity."""
    if not run.history:
        words = "There are no training curves: metrics.csv is missing or empty, as it is for a "
        body: str = html.paragraph(words + "method that does not learn.", "note")
        return html.section("Training", body, anchor="training")
    shown = dict(list(run.history.items())[:MAX_TRAINING_PLOTS])
    plots = [html.plot(figures.training_curve(name, series)) for name, series in shown.items()]
    body = html.grid(plots, "plots")
    if rest := list(run.history)[MAX_TRAINING_PLOTS:]:
        body += html.paragraph(f"Also in metrics.csv: {', '.join(rest)}.", "soft")
    return html.section("Training", body + _checks(run.checks), anchor="training")


def _checks(checks: Mapping[str, Any]) -> str:
    """Sentences on an autoencoder and on repainting, and a table of all numbers."""
    if not checks:
        return ""
    body = ""
    own = {name.removeprefix("first_stage/"): value for name, value in checks.items()}
    if "psnr_db" in own:
        words = (
            f"The autoencoder reconstructs {own['subjects']:.0f} held-out healthy brains with PSNR "
            f"{own['psnr_db']:.1f} dB and SSIM {own['ssim']:.3f}"
        )
        poor = own["psnr_db"] < own["min_psnr_db"] or own["ssim"] < own["min_ssim"]
        if poor:
            words += (
                f", which is poor (wanted {own['min_psnr_db']:g} dB and {own['min_ssim']:g}): what "
                "it blurs cannot be told from a lesion"
            )
        body += html.paragraph(words + ".", "note" if poor else "")
    if "healthy_region_before" in own:
        body += html.paragraph(
            f"{own['healthy_region_before']:.1%} of held-out healthy brains are candidates for "
            f"repainting, {own['healthy_region_after']:.1%} after it (nothing would be right); "
            f"{own['images_a_slice']:.1f} images go through the network for a slice."
        )
    numbers = {name: value for name, value in checks.items() if isinstance(value, int | float)}
    rows = [[name, f"{value:.4g}"] for name, value in numbers.items()]
    caption = "Checks of the trained method on healthy scans (checks.json)."
    return body + html.table(["check", "value"], rows, caption=caption)


def what_ran(run: RunFolder) -> str:
    """Command, code, data, machine, configuration."""
    record = run.record
    commit = record.commit or "not known (installed without a checkout)"
    if record.dirty:
        commit = f"{commit}, with changes that are not committed"
    seconds, volume_s = record.duration_s, record.wall_time_per_volume_s
    facts = {
        "command": record.command,
        "commit": commit,
        "started": record.time_started,
        "took": None if seconds is None else f"{seconds:.0f} s",
        "time per volume": None if volume_s is None else f"{volume_s:.2f} s",
        "device": record.device,
        "Python": record.python,
        "seed": record.seed,
        "trainable parameters": _thousands(record.parameters),
        "cohort": record.cohort.name or run.summary.get("cohort"),
        "cohort folder": record.cohort.path,
        "split (SHA-256)": record.cohort.split_hash or run.summary.get("split_hash"),
        "checkpoint": record.checkpoint.path,
        "checkpoint (SHA-256)": record.checkpoint.sha256,
        "healthy thresholds": ", ".join(
            f"{name} –" if value is None else f"{name} {value:.4g}"
            for name, value in (run.summary.get("thresholds") or {}).items()
        ),
    }
    known = {k: without_home(value) for k, value in facts.items() if value not in (None, "")}
    body = f'<div class="wide">{html.definitions(known)}</div>'
    body += "".join(html.paragraph(note, "note") for note in record.notes)
    versions = record.versions
    body += html.details(
        "Versions", html.table(["package", "version"], versions.items(), "Versions")
    )
    if run.config:
        config = f'<pre tabindex="0">{html.escape(without_home(run.config))}</pre>'
        body += html.details("Resolved configuration (config.yaml)", config)
    else:
        body += html.paragraph("config.yaml is missing.", "note")
    return html.section("What ran", body, anchor="ran")


def _promise(run: RunFolder) -> str:
    """The caption of the table of thresholds."""
    alpha = run.summary.get("alpha")
    known = isinstance(alpha, int | float)
    promised = f", where healthy and scan promise at most {alpha:.3g}" if known else ""
    return f"By threshold: Dice, and the share of healthy test brains marked{promised}"


def _score_table(run: RunFolder, table: tuple[list[str], list[list[str]]], caption: str) -> str:
    """A row a method, the run's own marked; columns without a value are left out."""
    header, rows = table
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] != "–" for row in rows)]
    if len(kept) < 2:
        return ""
    cells = [[html.two_lines(row[i]) for i in kept] for row in rows]
    own = ["own" if row[0] == run.method else "" for row in rows]
    return html.table([header[i] for i in kept], cells, caption, row_class=own)


def _by_pathology(run: RunFolder, metric: str, threshold: str) -> dict[str, dict[str, list[float]]]:
    """Method to pathology to subjects' values; a subject without AP has no lesion."""
    sick = {s.subject for s in run.scores if s.metric == "auprc" and s.value == s.value}
    values: dict[str, dict[str, list[float]]] = {}
    for method in (run.method, CONTROL):
        for score in run.scores:
            wanted = (score.method, score.metric, score.threshold) == (method, metric, threshold)
            if wanted and score.subject in sick - {POOLED} and score.value == score.value:
                by_group = values.setdefault(method, {})
                by_group.setdefault(score.pathology or "lesion", []).append(score.value)
    return values


def _thousands(count: Any) -> str | None:
    return f"{count:,}" if isinstance(count, int) else None
