"""Finished runs of a benchmark, with known scores."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from brainuad.benchmark.plan import make_plan
from brainuad.benchmark.scores import Found, read_runs
from brainuad.evaluation.results import COLUMNS

METHODS = {"intensity": 0.0, "good": 0.3, "bad": -0.1, "like": None}
"""How much better than the baseline; None: now better, now worse."""


def a_benchmark() -> dict[str, Any]:
    """Settings: two sequences of an embedded cohort, and one that needs what is not there."""
    line = {"small": "intensity model.equalise=false", "full": "madad_paper"}
    return {
        "baseline": "intensity",
        "methods": dict.fromkeys(METHODS, line) | {"intensity": line | {"learns": False}},
        "sizes": {
            "small": {"runs": "runs/b", "seeds": [0], "options": ["a=1"]},
            "full": {"runs": "runs/f", "seeds": [0, 1], "options": ["a=2"]},
        },
        "cohorts": {
            "embedded": {
                "title": "Embedded",
                "sequences": ["T2w", "FLAIR"],
                "options": ["a=3"],
                "methods": {"good": {"small": ["a=4"]}},
            },
            "absent": {"title": "Absent", "sequences": ["T2w"], "needs": "no/such/folder"},
            "real": {"title": "Real", "sequences": ["T2w"], "prepare": "real_t1", "real": True},
        },
    }


def write_run(
    folder: Path, method: str, sequence: str, seed: int, subjects: int, shift: float | None
) -> None:
    """A finished run: AP and Dice around those of the baseline, ⌈Dice⌉ 0.05 above its Dice."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(subjects):
        more = shift if shift is not None else (0.02 + 0.001 * number) * (-1) ** number
        ap = 0.3 + 0.01 * number + more * (1 + 0.01 * number) + 0.001 * seed
        pathology = ("tumour", "ms", "stroke")[number % 3]
        contrast = (2.0, 0.1)[number % 2]
        facts = [f"p{number:02d}", "phantom", sequence, method, pathology, contrast, "native"]
        for threshold, metric, value in (
            ("none", "auprc", ap),
            ("healthy", "dice", ap + 0.1),
            ("oracle", "dice", ap + 0.15),
            ("none", "lesion_ml", 1.0 + number),
        ):
            rows.append([*facts, threshold, "", metric, value])
    healthy = ["h0", "phantom", sequence, method, "", "", "native", "healthy", 0.5, "fpr_healthy"]
    rows.append([*healthy, 0.01])
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "scores.csv", index=False)
    record = {"method": method, "parameters": 7, "fit_s": 61.0, "wall_time_per_volume_s": 0.5}
    record |= {"peak_memory_bytes": 3 * 2**20, "device": "cpu", "threads": 1, "command": "train.py"}
    (folder / "provenance.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": 5}}))
    (folder / "report.html").write_text("")


def found_runs(
    settings: dict[str, Any], folder: Path, subjects: int = 24, seeds: tuple[int, ...] = (0,)
) -> Found:
    """Every method on both sequences, read."""
    plan = make_plan(settings, "small", cohorts=["embedded"], seeds=seeds, folder=folder)
    for run in plan.runs:
        shift = METHODS[run.method]
        write_run(run.out, run.method, run.sequence, run.seed, subjects, shift)
    return read_runs(plan.runs)
