"""Words of the command line of `brainuad-predict`: models, scans and folder of the results."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brainuad.errors import InputError
from brainuad.machine.limits import require_folder, require_whole
from brainuad.machine.text import say
from brainuad.shipped import DEFAULT, DEMO, SENSITIVITY, is_shipped, models, resolved

if TYPE_CHECKING:
    from brainuad.cohorts.scans import Found


class Asked(NamedTuple):
    """Request of the command line for one sequence.

    Attributes:
        models: paths of the models.
        sequence: sequence of scans whose name does not state it; None for the model's.
        scans: place of the scans.
        out: folder of the results.
        choices: arguments of `brainuad.load`.
        listed: list of the scans; None where they are not listed yet.
    """

    models: list[Path]
    sequence: str | None
    scans: Path
    out: Path
    choices: dict[str, Any]
    listed: "Found | None" = None


def asked_of(arguments: argparse.Namespace, listed: "Found | None" = None) -> list[Asked]:
    """Return the requests; of models that come with brainuad, one for each sequence found.

    Args:
        arguments: words and options of `brainuad-predict`.
        listed: list of the scans; None to list them here.

    Raises:
        InputError: wrong words, no such model, or scans of no known sequence.
    """
    from brainuad.model.known import number_or_name

    word, scans, out, changes = sort_words(arguments.words, arguments.model)
    require_whole(arguments.jobs, 1, "--jobs")
    require_folder(out)
    given = [word or DEFAULT, *arguments.also]
    sequences, listed = _sequences(given, scans, out, arguments.sequence, listed)
    paths = [[resolved(model, sequence) for model in given] for sequence in sequences]
    if word is None:
        say(f"model: {DEFAULT}, which comes with brainuad, because none was named")
    threshold = None if arguments.threshold is None else number_or_name(arguments.threshold)
    if arguments.sensitivity is not None:
        if not all(map(is_shipped, paths[0])) or threshold is not None:
            raise InputError(
                "--sensitivity is for the models that come with brainuad, without --threshold; "
                "use --threshold NUMBER"
            )
        threshold = SENSITIVITY[arguments.sensitivity]
    choices = {
        "device": arguments.device,
        "threshold": threshold,
        "samples": arguments.samples,
        "precision": arguments.precision,
        "preparation": changes,
    }
    return [
        Asked(own, arguments.sequence, scans, out, {**choices, "sequence": name}, listed)
        for own, name in zip(paths, sequences, strict=True)
    ]


def sort_words(words: Sequence[str], model: str | None) -> tuple[str | None, Path, Path, list[str]]:
    """Return model (None for the one that comes with brainuad), scans, folder, and changes.

    Raises:
        InputError: too few or too many words.
    """
    # An existing path is a place, even with a = in its name.
    changes = [word for word in words if "=" in word and not Path(word).exists()]
    places = [word for word in words if word not in changes]
    if model is not None and len(places) == 2:
        places = [model, *places]
    elif model is not None and len(places) == 3:
        raise InputError(f"two models, {places[0]} and --model {model}; leave one out")
    if len(places) not in (2, 3):
        raise InputError(
            f"found {len(places)} words ({' '.join(places) or 'none'}); give SCANS and OUT, or "
            "MODEL SCANS OUT (words with = are changes of the preparation)"
        )
    scans, out = (Path(word) for word in places[-2:])
    if str(scans) == "demo" and not scans.exists():
        scans = DEMO
    return (places[0] if len(places) == 3 else None), scans, out, changes


def _sequences(
    given: Sequence[str | Path],
    scans: Path,
    out: Path,
    told: str | None,
    listed: "Found | None",
) -> "tuple[list[str | None], Found | None]":
    """Return the sequences to predict, one model for each: the given one, or those of the scans.

    None stands for the sequence of models that are files.
    """
    from brainuad.inference.find_scans import counted, sequences_in

    named = {str(model) for model in given}
    known = [name for model in models() if {model.name} == named for name in model.takes]
    if told is not None or not known or any(Path(model).exists() for model in given):
        return [told], listed
    counts, listed = counted(listed) if listed else sequences_in(scans, out)
    found: list[str | None] = [sequence for sequence in known if counts[sequence]]
    choices = " or ".join(known)
    if counts[""]:
        raise InputError(
            f"{scans}: of {counts['']} scans the name tells no sequence; say --sequence "
            f"{choices}, or whatever they are"
        )
    if not found:
        have = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        raise InputError(
            f"{scans}: no {choices} scan, which {' '.join(named)} is for (found: "
            f"{have or 'none'}); list the scans in a CSV with their sequence if their names mislead"
        )
    return found, listed
