"""The command: run every method on the same cohorts, then write tables and figures."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainuad.benchmark.cohorts import MAKERS
from brainuad.benchmark.plan import Maker, Plan, Run, cohort_folder, make_plan, read_settings
from brainuad.cli.error_line import BAD_INPUT, SOME_FAILED, STOPPED, run_cli
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.text import one_line, say

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = """examples:
  {command} --list
  {command} --size small --methods intensity strega
  {command} --size small --seeds 0 1 2 max_epochs=10
  {command} --size full --job 7   # one run of --list, for a job array
  {command} --tables-only --difficulty

Repeating the command continues: finished runs are kept, and an interrupted run resumes at its last
epoch. A run that fails is listed at the end, with exit status 3, and does not stop the others.
"""


@dataclass(frozen=True)
class Study:
    """A benchmark with its own settings.

    Attributes:
        command: words that start it; help and tables name them.
        settings: default settings file; None if the user must name one.
        out: default folder of tables and figures.
        makers: functions that make cohorts, by the name that `prepare` gives in the settings.
        section: returns a further section of `results.md` from the statistics and the settings.
    """

    command: str = "python -m brainuad.benchmark"
    settings: Path | None = None
    out: Path = Path("benchmark")
    makers: Mapping[str, Maker] = field(default_factory=lambda: MAKERS)
    section: Callable[["pd.DataFrame", dict[str, Any]], str] | None = None


def main(argv: Sequence[str] | None = None, study: Study | None = None) -> int:
    """Run a study; returns the exit status."""
    study = study or Study()
    # argparse would read options after --methods as methods.
    words = list(sys.argv[1:] if argv is None else argv)
    options = [word for word in words if "=" in word and not word.startswith("-")]
    words = [word for word in words if word not in options]
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--settings", type=Path, default=study.settings)
    path = first.parse_known_args(words)[0].settings
    settings: dict[str, Any] = {"sizes": {}, "methods": {}, "cohorts": {}}
    try:
        if path is not None:
            settings = read_settings(path)
        elif not {"-h", "--help", "--version"} & set(words):
            raise InputError("--settings FILE is missing; docs/benchmark.md shows an example")
    except InputError as error:
        say(f"error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    parser = _parser(study, settings)
    parser.set_defaults(options=options, content=settings, study=study)
    return run_cli(_main, parser, words)


def _parser(study: Study, settings: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=study.command,
        description="Run every method on the same cohorts; write the tables that compare them.",
        epilog=EXAMPLE.format(command=study.command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = ("sizes", "methods", "cohorts")
    names = {kind: ", ".join(settings[kind]) or "see the settings" for kind in kinds}
    parser.add_argument("--settings", type=Path, help="file with methods, sizes and cohorts")
    parser.add_argument("--size", default="small", help=f"{names['sizes']} (small)")
    parser.add_argument("--methods", nargs="+", default=[], help=names["methods"])
    parser.add_argument("--cohorts", nargs="+", default=[], help=names["cohorts"])
    parser.add_argument("--sequences", nargs="+", default=[], help="default: those of the cohorts")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="default: the size's")
    parser.add_argument("--runs", type=Path, help="parent of the run folders (the size's)")
    parser.add_argument("--out", type=Path, help=f"folder of tables and figures ({study.out})")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the runs and their numbers")
    what.add_argument("--job", "--only", type=int, metavar="N", help="do run N alone, no tables")
    what.add_argument("--tables-only", action="store_true", help="train nothing")
    parser.add_argument(
        "--difficulty",
        action="store_true",
        help="also score each model on synthetic lesions of known size, contrast and place",
    )
    parser.usage = "%(prog)s [options] [key=value ...]"
    return parser


def _main(arguments: argparse.Namespace) -> int:
    study: Study = arguments.study
    plan = make_plan(
        arguments.content,
        arguments.size,
        cohorts=arguments.cohorts,
        methods=arguments.methods,
        sequences=arguments.sequences,
        seeds=arguments.seeds,
        options=arguments.options,
        folder=arguments.runs,
        only_read=arguments.tables_only,
    )
    if arguments.list:
        _show(plan)
        return 0
    if not plan.runs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in plan.skipped.items())
        raise InputError(f"nothing to run; {reasons or 'no cohort has that sequence'}")
    if arguments.job is not None:
        return _one(plan, arguments.job, study)
    failures = Failures() if arguments.tables_only else _all(plan, study)
    if arguments.difficulty:
        from brainuad.benchmark.difficulty import measure

        failures += measure(plan.runs)
    own = study.out if arguments.size == "small" else study.out / arguments.size
    try:
        _tables(plan, arguments.out or own, study)
    finally:
        for name, reason in failures:
            say(f"failed: {name}: {reason}", file=sys.stderr)
    return SOME_FAILED if failures else 0


def _show(plan: Plan) -> None:
    for number, run in enumerate(plan.runs):
        begun = "begun" if (run.out / "config.yaml").is_file() else "-"
        say(f"{number:4d}  {'finished' if run.is_finished else begun:8s}  {run.name}")
    for name, reason in plan.skipped.items():
        say(f"   -  left out  {name}: {reason}")


def _all(plan: Plan, study: Study) -> Failures:
    """Do the runs that are not finished; return those that failed."""
    failures = Failures()
    for name, reason in plan.skipped.items():
        say(f"{name} is left out: {reason}")
    for number, run in enumerate(plan.runs):
        say(f"[{number + 1}/{len(plan.runs)}] {run.name}", flush=True)
        if run.is_finished:
            say("finished already")
            continue
        try:
            command = _command(run, plan, study)
        except (InputError, OSError, subprocess.CalledProcessError) as error:
            failures.append((run.name, one_line(error)))
            continue
        status = subprocess.run(command, check=False).returncode
        if status in (STOPPED, 130):
            raise KeyboardInterrupt
        if status == SOME_FAILED:
            failures.append((run.name, "some subjects, see its provenance.json"))
        elif status != 0:
            failures.append((run.name, f"exit status {status}, see above"))
    return failures


def _one(plan: Plan, number: int, study: Study) -> int:
    """Do one run alone, as a job of an array."""
    if not 0 <= number < len(plan.runs):
        raise InputError(f"there is no run {number}: the plan has 0 to {len(plan.runs) - 1}")
    run = plan.runs[number]
    say(f"run {number}: {run.name}", flush=True)
    if run.is_finished:
        say("finished already")
        return 0
    command = _command(run, plan, study)
    # The run replaces this process, so that it receives the signals of SLURM.
    os.execv(command[0], command)


def _command(run: Run, plan: Plan, study: Study) -> list[str]:
    """Return the command of a run; its cohort is made first, if `prepare` is given."""
    source = cohort_folder(run, plan.folder, study.makers)
    if run.model_of is None:
        return run.command(source)
    model = run.model_of / "model.ckpt"
    if not model.is_file():
        raise InputError(f"{model}: no such model; it comes with the run of the other cohort")
    command = [sys.executable, "-m", "brainuad.benchmark.transfer", str(run.model_of)]
    return [*command, str(source), str(run.out), *run.options]


def _tables(plan: Plan, out: Path, study: Study) -> None:
    from brainuad.benchmark.figures import write_figures
    from brainuad.benchmark.scores import pooled, read_runs, results
    from brainuad.benchmark.tables import write_tables

    found = read_runs(plan.runs)
    if not found.runs:
        raise InputError(f"no run of {len(plan.runs)} is finished: train some first (--list)")
    found = pooled(found, plan.settings["cohorts"])
    table = results(found, plan.settings["baseline"])
    section = study.section(table, plan.settings) if study.section else ""
    write_tables(found, table, plan.settings, out, study.command, section)
    write_figures(found, table, plan.settings, out / "figures")
    say((out / "results.md").read_text(encoding="utf-8"))
