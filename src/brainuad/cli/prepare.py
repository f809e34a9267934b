"""Make cohorts from raw heads, or the embedded phantom.

brainuad-prepare SOURCE OUT
brainuad-prepare phantom OUT
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.error_line import run_cli
from brainuad.cohorts.account import write_aside
from brainuad.cohorts.find import find_all
from brainuad.cohorts.manifest import MANIFEST, read_cohort
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError, PartialFailure
from brainuad.machine.failures import Failures
from brainuad.machine.files import until_still
from brainuad.machine.limits import require_folder, require_whole
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say
from brainuad.preparation.from_folder import look_over
from brainuad.settings.compose import compose_preparation
from brainuad.settings.instantiate import PREPARATION, instantiate

if TYPE_CHECKING:
    from omegaconf import DictConfig

PHANTOMS = ("train", "val", "test", "tumour", "ms", "stroke")

EXAMPLES = """examples:
  brainuad-prepare scans/ cohorts/mine --dry-run               # which file is what
  brainuad-prepare scans/ cohorts/mine --jobs 4
  brainuad-prepare bids/ cohorts/mine sequence=FLAIR preparation.steps.spacing_mm=2
  brainuad-prepare brains.csv cohorts/mine preparation=extracted preparation/normalise=nyul
  brainuad-prepare --explain preparation=deformable
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-prepare`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["phantom"]:
        return _phantom_main(words[1:])
    if "--explain" in words:
        return _explain_main(words)
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare",
        description="Make a cohort folder from raw heads: reorient, extract the brain, correct the "
        "bias field, register to the atlas, resample, normalise. Look at OUT/qc.html afterwards. "
        "'brainuad-prepare phantom --help' makes the embedded cohort.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", type=Path, help="NIfTI file or folder, CSV, BIDS dataset, DICOM series folders"
    )
    parser.add_argument("out", type=Path, help="cohort folder, new or to complete")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    hidden = "write qc.html without pictures, names, notes and steps; scans are numbered"
    parser.add_argument("--anonymous", action="store_true", help=hidden)
    parser.add_argument(
        "--dry-run", action="store_true", help="list how each file is read, and stop"
    )
    parser.add_argument(
        "--allow-unused", action="store_true", help="ignore masks that belong to nobody"
    )
    parser.add_argument(
        "--explain", action="store_true", help="print the steps, without SOURCE and OUT"
    )
    _add_overrides(parser)
    return run_cli(_prepare, parser, words)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="setting, see docs/options.md"
    )


def _explain_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare --explain",
        description="Print the steps of a preparation in order: each a MONAI transform, with its "
        "parameters and its effect on grid and intensities.",
        epilog="example: brainuad-prepare --explain preparation.steps.spacing_mm=2",
    )
    parser.add_argument("--explain", action="store_true", help=argparse.SUPPRESS)
    _add_overrides(parser)
    return run_cli(_explain, parser, words)


def _explain(arguments: argparse.Namespace) -> int:
    from brainuad.preparation.explain import as_text, explained

    # SOURCE and OUT are ignored, so that --explain can be added to any command line.
    overrides = [word for word in arguments.overrides if "=" in word]
    cfg = compose_preparation(overrides).preparation
    steps, normalise = (
        instantiate(part, packages=PREPARATION) for part in (cfg.steps, cfg.normalise)
    )
    say(as_text(explained(steps, normalise)))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from brainuad.preparation.cohort import prepare_cohort
    from brainuad.preparation.explain import explained
    from brainuad.preparation.one_space import with_shared_grids
    from brainuad.preparation.planned_grids import require_grids
    from brainuad.preparation.records import key_of, read_record, record_path
    from brainuad.preparation.skullstrip.extracted import Extracted
    from brainuad.reporting.attempt import attempt
    from brainuad.reporting.pages.quality import write_quality

    cfg = compose_preparation(arguments.overrides)
    source, out = arguments.source, arguments.out
    require_whole(arguments.jobs, 1, "--jobs")
    _require_split(cfg)
    require_folder(out)
    have_temporary(out)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if (source / MANIFEST).is_file():
        raise InputError(f"{source}: is a prepared cohort already; train on it with data.source=")
    steps = instantiate(cfg.preparation.steps, packages=PREPARATION)
    normalise = instantiate(cfg.preparation.normalise, packages=PREPARATION)
    brains = isinstance(steps.skullstrip, Extracted)
    found = find_all(source, cfg.sequence, extracted=brains, out=out)
    raw = assign_splits(
        found.scans, cfg.seed, cfg.val_fraction, cfg.test_fraction, folds=cfg.folds, fold=cfg.fold
    )
    option = "" if arguments.allow_unused else "--allow-unused"
    look_over(found, raw, source, option, whole=arguments.dry_run)
    require_grids(raw, steps)
    if arguments.dry_run:
        return 0
    # Errors of a step come before any scan is read.
    explained(steps, normalise)
    steps, lines = with_shared_grids(raw, steps)
    for line in lines:
        say(line)
    said = explained(steps, normalise)
    cohort = prepare_cohort(
        raw,
        steps,
        normalise,
        instantiate(cfg.preparation.limits, packages=PREPARATION),
        out,
        source,
        arguments.jobs,
        lines,
    )
    write_aside(found, out, source)

    def page() -> Path:
        whole = read_cohort(out)
        records = {key_of(scan): read_record(record_path(scan, out)) for scan in whole.scans}
        return write_quality(whole, records, steps.load_atlas(), said, arguments.anonymous)

    flags = cohort.record.flags
    say(f"{cohort.root}: {len(cohort.scans)} scans, {len(flags)} flagged, see {MANIFEST}")
    failures = Failures(cohort.record.failures)
    # Of all scans in the folder, also those of other commands.
    manifest = out / MANIFEST
    attempt(lambda: until_still(manifest.read_bytes, page), "look at", bool(failures))
    if failures:
        raise PartialFailure(failures)
    return 0


def _require_split(cfg: "DictConfig") -> None:
    """Refuse shares and folds that no cohort can be split by.

    Raises:
        InputError: naming the setting.
    """
    for name in ("val_fraction", "test_fraction"):
        value = cfg[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise InputError(f"{name} is {value!r}; use a share from 0 up to less than 1")
    for name, least in {"seed": 0, "folds": 1, "fold": 0}.items():
        require_whole(cfg[name], least, name)


def _phantom_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare phantom",
        description="Make the embedded cohort of synthetic brains.",
        epilog="example: brainuad-prepare phantom cohorts/phantom --spacing-mm 3 --train 8",
    )
    parser.add_argument("out", type=Path, help="cohort folder to make")
    parser.add_argument("--spacing-mm", type=float, default=2.0, choices=(1.0, 2.0, 3.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequences", nargs="+", default=["T1w", "T2w", "FLAIR"])
    for split in PHANTOMS:
        parser.add_argument(f"--{split}", type=int, help=f"number of {split} subjects")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    return run_cli(_phantom, parser, words)


def _phantom(arguments: argparse.Namespace) -> int:
    from brainuad.synthetic.phantom import write_phantom_cohort

    require_whole(arguments.jobs, 1, "--jobs")
    require_folder(arguments.out)
    have_temporary(arguments.out)
    counts = {
        name: getattr(arguments, name) for name in PHANTOMS if getattr(arguments, name) is not None
    }
    cohort = write_phantom_cohort(
        arguments.out,
        seed=arguments.seed,
        spacing_mm=arguments.spacing_mm,
        sequences=tuple(arguments.sequences),
        jobs=arguments.jobs,
        **counts,
    )
    say(f"{cohort.root}: {len(cohort.scans)} scans, see {MANIFEST}")
    return 0
