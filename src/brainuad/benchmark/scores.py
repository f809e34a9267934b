"""Scores of the finished runs, and tests of each method against the baseline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from brainuad.benchmark.groups import METRICS, members
from brainuad.benchmark.plan import Run
from brainuad.evaluation.scoring import NO_LESION
from brainuad.machine.read import read_json
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.records.run import RunRecord
from brainuad.reporting.comparison.runs import SIGNIFICANT

GAP = "gap"
"""The optimism gap: ⌈Dice⌉, whose threshold the test labels chose, less Dice at the healthy one."""

SHOWN = (*METRICS.values(), GAP)

VARIANTS = {"scan": "Dice, scan", "fixed": "Dice, fixed", "mebin": "Dice, MEBin"}
"""Threshold variants without labels beside the headline's, with their names in the tables."""

PROMISED = {"healthy": "fpr", "scan": "fpr_scan"}
"""Thresholds with an expected false-positive rate, and the columns of the measured rates."""

TESTED = ("AP", "Dice")
"""Differences to the baseline are tested in these."""

TESTS = ("difference", "p", "p_holm", "p_least", "verdict")

ORACLE = "oracle_reconstruction"
POOLED = "all sequences"
POOLED_GROUPS = ("all", "bright", "iso", "dark")
"""Groups that are also pooled over sequences: by contrast they are small in each."""

BEATS, SAME, BELOW = "beats", "not told apart", "BELOW"
TOO_FEW = "too few to tell"
"""Verdict where no outcome at all could be significant."""


@dataclass(frozen=True)
class Scored:
    """A finished run with its records.

    Attributes:
        run: run of the plan.
        folder: run folder.
    """

    run: Run
    folder: Path

    @cached_property
    def record(self) -> RunRecord:
        """The record of the run."""
        path = self.folder / "provenance.json"
        return RunRecord.from_json(read_json(path), str(path))

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the resolved configuration."""
        return yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Found:
    """Scores of all finished runs.

    Attributes:
        runs: finished runs.
        missing: names of the other runs.
        table: one row per run and subject with a lesion: `cohort`, `sequence`, `method`, `seed`,
            `subject`, `pathology`, `contrast`, `volume_ml` and the columns `SHOWN` and those of
            `VARIANTS`, NaN where a run has no such threshold.
        healthy: one row per run and healthy test subject, with the share of its brain that each
            variant of `PROMISED` marks.
    """

    runs: tuple[Scored, ...]
    missing: tuple[str, ...]
    table: pd.DataFrame
    healthy: pd.DataFrame


def read_runs(runs: Iterable[Run]) -> Found:
    """Read the finished runs; the scores of the oracle reconstruction come from the first."""
    scored, missing, tables, healthy = [], [], [], []
    with_oracle: set[tuple[str, str]] = set()
    for run in runs:
        folder = run.out
        if not run.is_finished:
            missing.append(run.name)
            continue
        scored.append(Scored(run, folder))
        scores = pd.read_csv(folder / "scores.csv", keep_default_na=True)
        names = [run.method]
        if ORACLE in set(scores.method) and (run.cohort, run.sequence) not in with_oracle:
            with_oracle.add((run.cohort, run.sequence))
            names.append(ORACLE)
        for name in names:
            own = scores[scores.method == name]
            of = {"cohort": run.cohort, "sequence": run.sequence, "method": name, "seed": run.seed}
            tables.append(_lesions(own).assign(**of))
            healthy.append(_healthy(own).assign(**of))
    key = ["cohort", "sequence", "method", "seed", "subject", "person"]
    empty = [*key, *SHOWN, *PROMISED.values()]
    return Found(
        tuple(scored),
        tuple(missing),
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=empty),
        pd.concat(healthy, ignore_index=True) if healthy else pd.DataFrame(columns=empty),
    )


def pooled(found: Found, cohorts: dict[str, Any]) -> Found:
    """Add the cohorts that the settings `pool`: the subjects of several cohorts together.

    Only methods that were run on all of these cohorts are included, so that every mean is over the
    same subjects as the baseline's.
    """
    table, healthy = [found.table], [found.healthy]
    for name, cohort in cohorts.items():
        parts = cohort.get("pool", [])
        for rows, into in ((found.table, table), (found.healthy, healthy)):
            own = rows[rows.cohort.isin(parts)]
            everywhere = own.groupby(["sequence", "method"]).cohort.transform("nunique")
            own = own[everywhere == len(parts)]
            named = {
                key: own.cohort + "/" + own[key] for key in ("subject", "person") if key in own
            }
            into.append(own.assign(cohort=name, **named))
    return replace(found, table=pd.concat(table), healthy=pd.concat(healthy))


def _lesions(scores: pd.DataFrame) -> pd.DataFrame:
    sick = scores[scores.pathology.notna() & (scores.pathology != NO_LESION)]
    variants = {(variant, "dice"): name for variant, name in VARIANTS.items()}
    wanted = {**METRICS, **variants, ("none", "lesion_ml"): "volume_ml"}
    key = list(zip(sick.threshold, sick.metric, strict=True))
    sick = sick.assign(metric=[wanted.get(k) for k in key])
    # Means and tests are over persons; several scans of a person are averaged.
    sick = sick.assign(person=sick.get("person", sick.subject))
    facts = ["subject", "person", "pathology", "contrast"]
    rows = sick[sick.metric.notna()].set_index([*facts, "metric"]).value.unstack("metric")
    rows = rows.reindex(columns=list(wanted.values())).reset_index()
    return rows.assign(**{GAP: rows["⌈Dice⌉"] - rows["Dice"]})


def _healthy(scores: pd.DataFrame) -> pd.DataFrame:
    rows = scores[(scores.metric == "fpr_healthy") & scores.threshold.isin(list(PROMISED))]
    shares = rows.set_index(["subject", "threshold"]).value.unstack("threshold")
    return shares.reindex(columns=list(PROMISED)).rename(columns=PROMISED).reset_index()


def results(found: Found, baseline: str) -> pd.DataFrame:
    """Return one row per cohort, sequence, group, method and metric of `SHOWN` and `VARIANTS`.

    Columns: `mean`, `low` and `high` (95 % bootstrap interval over subjects, a subject's mean over
    seeds), `seeds` and `seeds_sd` (of the means over subjects). Tested metrics also have the paired
    `difference` to the baseline, `p`, Holm's `p_holm` over the methods, `p_least` (the smallest
    p_holm that so few subjects allow) and the `verdict`.
    """
    rows = []
    for (cohort, sequence), part in found.table.groupby(["cohort", "sequence"], sort=False):
        for group, member in members(part).items():
            rows += _group(part[member], baseline, cohort, sequence, group)
    for cohort, part in found.table.groupby("cohort", sort=False):
        if part.sequence.nunique() < 2:
            continue
        by_sequence = [(own, members(own)) for _, own in part.groupby("sequence", sort=False)]
        for group in POOLED_GROUPS:
            pooled = pd.concat([own[groups[group]] for own, groups in by_sequence])
            # Only methods with all sequences, as the baseline has them.
            seen = part.groupby("method").sequence.nunique()
            pooled = pooled[pooled.method.map(seen) == part.sequence.nunique()]
            rows += _group(pooled, baseline, cohort, POOLED, group)
    table = pd.DataFrame(rows)
    # The baseline alone is tested against nothing.
    return table if "verdict" in table else table.assign(**dict.fromkeys(TESTS))


def _group(
    part: pd.DataFrame, baseline: str, cohort: str, sequence: str, group: str
) -> list[dict[str, Any]]:
    """Return the rows of one group of subjects."""
    methods = list(dict.fromkeys(part.method))
    tested = [m for m in methods if m not in (baseline, ORACLE)] if baseline in methods else []
    rows = []
    measured = [name for name in VARIANTS.values() if name in part and part[name].notna().any()]
    for metric in (*SHOWN, *measured):
        # First the mean over seeds, then over the scans of a person. Bootstrap and tests are over
        # persons, who have several scans in the pooled groups.
        scan = ["method", "sequence", "subject", "person"]
        scans = part.groupby(scan, sort=False)[metric].mean()
        pairs = {m: _paired(scans, m, baseline) for m in tested} if metric in TESTED else {}
        ps = {m: paired_wilcoxon(d, np.zeros_like(d)) for m, d in pairs.items()}
        adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
        for method in methods:
            summary = summarise(scans[method].groupby("person").mean().to_numpy(float))
            by_seed = _by_seed(part[part.method == method], metric)
            row = {"cohort": cohort, "sequence": sequence, "group": group, "method": method}
            row |= {"metric": metric, "n": summary.n, "mean": summary.mean}
            row |= {"low": summary.ci_low, "high": summary.ci_high, "seeds": len(by_seed)}
            row["seeds_sd"] = by_seed.std(ddof=1) if len(by_seed) > 1 else np.nan
            if method in pairs:
                least = min(1.0, len(pairs) * smallest_p(len(pairs[method])))
                difference = float(np.mean(pairs[method])) if len(pairs[method]) else np.nan
                row |= {"difference": difference, "p": ps[method], "p_holm": adjusted[method]}
                row |= {"p_least": least, "verdict": verdict(difference, adjusted[method], least)}
            rows.append(row)
    return rows


def _by_seed(own: pd.DataFrame, metric: str) -> pd.Series:
    """Return the mean over subjects for each seed whose scans were all scored."""
    counts = own.groupby("seed").size()
    whole = own[own.seed.isin(counts[counts == counts.max()].index)]
    return whole.groupby(["seed", "person"])[metric].mean().groupby("seed").mean()


def _paired(scans: pd.Series, method: str, baseline: str) -> np.ndarray:
    """Return one difference to the baseline per subject, over the scans that both scored."""
    difference = (scans[method] - scans[baseline]).dropna()
    return difference.groupby("person").mean().to_numpy(float)


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p of a signed-rank test of `n` pairs: all of one sign."""
    return min(1.0, 2.0 ** (1 - n))


def verdict(difference: float, p_holm: float, p_least: float) -> str:
    """Return the verdict of a method against the baseline.

    Args:
        difference: mean of method minus baseline; larger is better.
        p_holm: p after Holm's correction.
        p_least: smallest `p_holm` that the number of subjects allows.
    """
    if p_holm < SIGNIFICANT:
        return BEATS if difference > 0 else BELOW
    return TOO_FEW if p_least >= SIGNIFICANT else SAME


def costs(runs: Sequence[Scored]) -> pd.DataFrame:
    """Return time, memory and size of each run as recorded; one row per run."""
    rows = []
    for scored in runs:
        run, record, config = scored.run, scored.record, scored.config
        peak = record.peak_memory_bytes
        rows.append(
            {
                "cohort": run.cohort,
                "sequence": run.sequence,
                "method": run.method,
                "seed": run.seed,
                "experiment": run.experiment,
                "epochs": (config.get("trainer") or {}).get("max_epochs") if run.learns else None,
                "parameters": record.parameters,
                "training_s": _training(scored),
                "volume_s": record.wall_time_per_volume_s,
                "peak_memory_mib": None if peak is None else peak / 2**20,
                "device": record.device or None,
                "threads": record.threads,
            }
        )
    return pd.DataFrame(rows)


def _training(scored: Scored) -> float | None:
    """Return the seconds of training, of the run that trained the model."""
    run, record = scored.run, scored.record
    if run.trained_as is not None and (run.trained_as / "provenance.json").is_file():
        record = Scored(run, run.trained_as).record
    return record.fit_s if run.learns else None


def provenance(runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return the record of each run without times, which differ between repetitions."""
    return [
        {
            "run": scored.run.name,
            "command": scored.record.command,
            "commit": scored.record.commit,
            "dirty": scored.record.dirty,
            "versions": dict(scored.record.versions),
            "split": scored.record.cohort.split_hash,
            "weights": scored.record.checkpoint.sha256,
            "failures": [list(failure) for failure in scored.record.failures],
        }
        for scored in runs
    ]
