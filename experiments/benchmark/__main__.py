"""Every method on the same cohorts, and the tables and figures that compare them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from brainuad.cli.error_line import BAD_INPUT, SOME_FAILED, STOPPED, run_cli
from brainuad.errors import InputError
from experiments.benchmark.plan import SETTINGS, Plan, Run, cohort_folder, make_plan, read_settings
from experiments.runs import ROOT

HERE = Path(__file__).parent
EXAMPLE = """examples:
  python -m experiments.benchmark --list
  python -m experiments.benchmark --size small --cohorts embedded --methods intensity strega
  python -m experiments.benchmark --size small --seeds 0 1 2 max_epochs=10
  python -m experiments.benchmark --size full --job 7   # one run of --list, as in an array
  python -m experiments.benchmark --tables-only --difficulty

The same command again goes on: finished runs are kept, interrupted ones go on where they were. A
run that fails is listed at the end, with exit status 3, and does not stop the others.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    # Taken out by hand: behind --methods, options would be methods.
    words = list(sys.argv[1:] if argv is None else argv)
    options = [word for word in words if "=" in word and not word.startswith("-")]
    words = [word for word in words if word not in options]
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--settings", type=Path, default=SETTINGS)
    try:
        settings = read_settings(first.parse_known_args(words)[0].settings)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--settings", type=Path, help="methods and cohorts of your own")
    parser.add_argument("--size", default="small", help=f"of {', '.join(settings['sizes'])}")
    parser.add_argument("--methods", nargs="+", default=[], help=", ".join(settings["methods"]))
    parser.add_argument("--cohorts", nargs="+", default=[], help=", ".join(settings["cohorts"]))
    parser.add_argument("--sequences", nargs="+", default=[], help="those of the cohorts")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="those of the size")
    parser.add_argument("--runs", type=Path, help="folder of the run folders (that of the size)")
    parser.add_argument("--out", type=Path, help="folder of tables and figures (beside this file)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the runs and their numbers")
    what.add_argument("--job", "--only", type=int, metavar="N", help="do run N alone, no tables")
    what.add_argument("--tables-only", action="store_true", help="train nothing")
    parser.add_argument(
        "--difficulty",
        action="store_true",
        help="also paint lesions of known size, contrast and place for each model, for the figure",
    )
    parser.set_defaults(options=options, content=settings)
    parser.usage = "%(prog)s [options] [key=value ...]"
    return run_cli(_main, parser, words)


def _main(arguments: argparse.Namespace) -> int:
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
        return _one(plan, arguments.job)
    failures = [] if arguments.tables_only else _all(plan)
    if arguments.difficulty:
        from experiments.benchmark.difficulty import measure

        failures += measure(plan.runs)
    out = arguments.out or (HERE if arguments.size == "small" else HERE / arguments.size)
    try:
        _tables(plan, out)
    finally:
        for name, reason in failures:
            print(f"failed: {name}: {reason}", file=sys.stderr)
    return SOME_FAILED if failures else 0


def _show(plan: Plan) -> None:
    for number, run in enumerate(plan.runs):
        folder = ROOT / run.out
        begun = "begun" if (folder / "config.yaml").is_file() else "-"
        print(f"{number:4d}  {'finished' if run.is_finished else begun:8s}  {run.name}")
    for name, reason in plan.skipped.items():
        print(f"   -  left out  {name}: {reason}")


def _all(plan: Plan) -> list[tuple[str, str]]:
    """Does what is left to do; the runs that failed, and why."""
    failures = []
    for name, reason in plan.skipped.items():
        print(f"{name} is left out: {reason}")
    for number, run in enumerate(plan.runs):
        print(f"[{number + 1}/{len(plan.runs)}] {run.name}", flush=True)
        if run.is_finished:
            print("finished already")
            continue
        try:
            command = _command(run, plan)
        except (InputError, OSError, subprocess.CalledProcessError) as error:
            failures.append((run.name, " ".join(str(error).split())))
            continue
        status = subprocess.run(command, check=False, cwd=ROOT).returncode
        if status in (STOPPED, 130):
            raise KeyboardInterrupt
        if status == SOME_FAILED:
            failures.append((run.name, "some subjects, see its provenance.json"))
        elif status != 0:
            failures.append((run.name, f"exit status {status}, see above"))
    return failures


def _one(plan: Plan, number: int) -> int:
    """One run alone, as a job of an array."""
    if not 0 <= number < len(plan.runs):
        raise InputError(f"there is no run {number}: the plan has 0 to {len(plan.runs) - 1}")
    run = plan.runs[number]
    print(f"run {number}: {run.name}", flush=True)
    if run.is_finished:
        print("finished already")
        return 0
    command = _command(run, plan)
    os.chdir(ROOT)
    # In this process's place, so that a signal of SLURM reaches the training and nobody else.
    os.execv(command[0], command)


def _command(run: Run, plan: Plan) -> list[str]:
    """What does a run; makes its cohort, where that is one to make."""
    from experiments.benchmark.cohorts import MAKERS
    from experiments.real.cohorts import MAKERS as OF_REAL_PEOPLE

    source = cohort_folder(run, plan.folder, MAKERS | OF_REAL_PEOPLE)
    if run.model_of is None:
        return run.command(source)
    model = ROOT / run.model_of / "model.ckpt"
    if not model.is_file():
        raise InputError(f"{model}: no such model; it comes with the run of the other cohort")
    command = [sys.executable, "-m", "experiments.benchmark.transfer", str(run.model_of)]
    return [*command, str(source), str(run.out), *run.options]


def _tables(plan: Plan, out: Path) -> None:
    from experiments.benchmark.figures import write_figures
    from experiments.benchmark.scores import pooled, read_runs, results
    from experiments.benchmark.tables import write_tables

    found = read_runs(plan.runs)
    if not found.runs:
        raise InputError(f"no run of {len(plan.runs)} is finished: train some first (--list)")
    found = pooled(found, plan.settings["cohorts"])
    table = results(found, plan.settings["baseline"])
    write_tables(found, table, plan.settings, out)
    write_figures(found, table, plan.settings, out / "figures")
    print((out / "results.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
