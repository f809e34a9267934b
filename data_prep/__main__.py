"""The command line of the data sets.

`python -m brainuad.data_prep`, or `python -m data_prep` in the root of the repository.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainuad.cli.error_line import run_cli
from brainuad.errors import InputError, PartialFailure
from brainuad.machine.text import say

from .dataset import Dataset, has_label, person_of, with_splits, write_rows
from .registry import DATASETS, get

PROGRAM = f"python -m {__package__}"
EXAMPLES = """example, from nothing to a cohort:
  python -m data_prep show ixi
  python -m data_prep download ixi data/ixi
  python -m data_prep unpack data/ixi/IXI-T1.tar data/ixi/IXI-T1
  python -m data_prep rows ixi data/ixi data/ixi.csv
  brainuad-prepare data/ixi.csv cohorts/ixi

patients, without those who have no label:
  python -m data_prep rows brats2021 data/brats brats.csv --labelled

label maps of heads, from which scans of any sequence are synthesised:
  python -m data_prep anatomies SynthSeg/data/training_label_maps data/bank
  python -m data_prep anatomies data/maps data/bank --lesions ms=data/masks

options of a data set and a published split:
  python -m data_prep rows bids_healthy data/camcan camcan.csv column=group value=control
  python -m data_prep rows ixi data/ixi data/ixi.csv ages=20-60 --splits published.csv

a 2D benchmark, whose rows are slices:
  python -m data_prep rows bmad data/bmad bmad.csv
  brainuad-train data=slices data.source=bmad.csv
""".replace("python -m data_prep", PROGRAM)


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        help: description in a few words.
        run: the parsed arguments to the exit status.
        arguments: name to the options of `add_argument`.
    """

    help: str
    run: Callable[[argparse.Namespace], int]
    arguments: dict[str, dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m brainuad.data_prep`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if word != "--debug"), "")
    if name not in COMMANDS:
        outer = argparse.ArgumentParser(
            prog=PROGRAM,
            description="Public data sets: turn the official download into rows for "
            "brainuad-prepare, or for data=slices.\n\ncommands:\n"
            + "\n".join(f"  {key:<11}{command.help}" for key, command in COMMANDS.items()),
            epilog=EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        outer.add_argument("command", choices=COMMANDS, help="see COMMAND --help")
        outer.parse_args(words)
        outer.error("the command comes first")
    # A parser a command instead of subparsers: these do not go with words and options mixed.
    words.remove(name)
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} {name}", description=command.help)
    for word, options in command.arguments.items():
        parser.add_argument(word, **options)
    return run_cli(command.run, parser, words)


def _list(arguments: argparse.Namespace) -> int:
    lines = [("NAME", "PATHOLOGY", "SEQUENCES", "DOWNLOAD")]
    for item in DATASETS.values():
        access = "free" if item.files else "ask"
        lines.append((item.name, item.pathology, " ".join(item.sequences), access))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for line in lines:
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    item = get(arguments.name)
    say(item.title)
    for key in ("pathology", "homepage", "licence", "access", "citation", "split", "layout"):
        say(f"  {key + ':':<11}{getattr(item, key)}")
    for key, meaning in item.options.items():
        say(f"  option:    {key}=...  {meaning}")
    for file in item.files:
        say(f"  file:      {file.url}")
    for trap in item.traps:
        say(f"  trap:      {trap}")
    say(f"  rows:      {_reader(item)}")
    return 0


def _reader(item: Dataset) -> str:
    """Return the name of the command that reads the rows."""
    return (
        "slices, for data=slices data.source=CSV" if item.slices else "scans, for brainuad-prepare"
    )


def _rows(arguments: argparse.Namespace) -> int:
    item = get(arguments.name)
    scans: list[Any] = [*item.find(arguments.root, **_options(item, arguments.options))]
    if arguments.splits:
        scans = with_splits(scans, arguments.splits)
    # A patient without a label can be looked at, but brainuad-evaluate refuses to score it.
    unlabelled = [scan for scan in scans if scan.healthy is False and not has_label(scan)]
    if arguments.labelled:
        left_out = {id(scan) for scan in unlabelled}
        scans = [scan for scan in scans if id(scan) not in left_out]
        if not scans:
            raise InputError(f"{arguments.root}: no scan has a lesion label; drop --labelled")
    write_rows(scans, arguments.out)
    counts = ", ".join(f"{n} {name}" for name, n in Counter(s.sequence for s in scans).items())
    what, people = ("slices", "people") if item.slices else ("scans", "subjects")
    say(
        f"{arguments.out}: {len({person_of(s) for s in scans})} {people}, {counts}; "
        f"{sum(map(has_label, scans))} {what} with a lesion label"
    )
    if unlabelled and not arguments.labelled:
        so = "only whole images can be scored" if item.slices else "they cannot be scored"
        say(
            f"{len(unlabelled)} {what} of patients have no lesion label, so {so}; "
            "--labelled leaves them out"
        )
    return 0


def _options(item: Dataset, words: Sequence[str]) -> dict[str, str]:
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in item.options:
            known = ", ".join(f"{name}=..." for name in item.options) or "none"
            raise InputError(f"{word}: not an option of {item.name}; options are: {known}")
        options[key] = value
    return options


def _download(arguments: argparse.Namespace) -> int:
    from .download import download

    item = get(arguments.name)
    if not item.files:
        raise InputError(
            f"{item.name} is not free to download by a program. {item.access} "
            f"See {item.homepage}; licence: {item.licence}"
        )
    say(f"licence: {item.licence}; cite: {item.citation}")
    for file in item.files:
        say(download(file, arguments.folder))
    return 0


def _unpack(arguments: argparse.Namespace) -> int:
    from .unpack import unpack

    count = unpack(arguments.archive, arguments.folder)
    say(f"{arguments.folder}: {count} files of {arguments.archive}")
    return 0


def _anatomies(arguments: argparse.Namespace) -> int:
    from .anatomies import make_bank

    lesions = []
    for word in arguments.lesions:
        kind, equals, folder = word.partition("=")
        if not equals:
            raise InputError(f"--lesions {word}: write KIND=FOLDER, such as ms=masks/")
        lesions.append((kind, Path(folder)))
    options = {"spacing_mm": arguments.spacing_mm, "lesions": lesions}
    failures = make_bank(arguments.source, arguments.out, **options)
    if failures:
        raise PartialFailure(failures)
    return 0


NAME: dict[str, Any] = {"name": {"help": "data set, see 'list'"}}
COMMANDS = {
    "list": Command("the data sets", _list, {}),
    "show": Command("licence, access, layout, options and citation of one", _show, NAME),
    "rows": Command(
        "write the CSV that brainuad-prepare reads, or data=slices",
        _rows,
        {
            **NAME,
            "root": {"type": Path, "help": "folder of the unpacked download"},
            "out": {"type": Path, "help": "CSV to write"},
            "options": {"nargs": "*", "metavar": "key=value", "help": "see 'show NAME'"},
            "--splits": {"type": Path, "help": "CSV with the columns subject and split"},
            "--labelled": {
                "action": "store_true",
                "help": "leave out patients' scans without a lesion label",
            },
        },
    ),
    "download": Command(
        "fetch the files of a free data set; goes on where it was cut off",
        _download,
        {**NAME, "folder": {"type": Path, "help": "folder for the archives"}},
    ),
    "unpack": Command(
        "unpack a tar or zip archive, nothing outside the folder",
        _unpack,
        {"archive": {"type": Path}, "folder": {"type": Path}},
    ),
    "anatomies": Command(
        "make a bank of anatomies from label maps of heads",
        _anatomies,
        {
            "source": {"type": Path, "help": "folder of label maps (NIfTI)"},
            "out": {"type": Path, "help": "folder of the bank"},
            "--lesions": {
                "action": "append",
                "default": [],
                "metavar": "KIND=FOLDER",
                "help": "lesion masks in MNI152 space: stroke, ms or wmh; may be repeated",
            },
            "--spacing-mm": {"type": float, "default": 2.0, "help": "voxel edge (default: 2)"},
        },
    ),
}

if __name__ == "__main__":
    sys.exit(main())
