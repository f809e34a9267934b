"""Pairs of scans of one person from two visits, compared, and the two tables of all pairs."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from brainuad import __version__
from brainuad.changes.compare import COLUMNS as CHANGE_COLUMNS
from brainuad.changes.compare import Compare, Comparison
from brainuad.changes.matching import STATES
from brainuad.changes.visit import Visit
from brainuad.cohorts.people import PersonKey, person_key
from brainuad.cohorts.words import canonical
from brainuad.errors import InputError
from brainuad.inference.find_scans import Wanted
from brainuad.inference.records import read_all, record_path
from brainuad.machine.failures import Failures
from brainuad.machine.files import atomic_path, remove, write_json, write_text
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.read import read_json
from brainuad.machine.text import csv_text
from brainuad.reporting.drawing.changes import draw_changes
from brainuad.volumes.nifti import read_mask, read_volume, write_like
from brainuad.volumes.planes import is_slice
from brainuad.volumes.read import read_native

PAIRS, CHANGES = "pairs.csv", "changes.csv"
BASELINE, FOLDER = "baseline", "changes"
"""Folders in OUT: results of the first visit, records and pictures of the pairs."""

MASKS = ("new", "grown")
"""States whose tissue is written on the grid of the second scan."""

PAIR_COLUMNS = (
    *("scan_id", "subject", "sequence", "first_image", "second_image"),
    *(f"n_{state}" for state in STATES),
    *("first_mm3", "second_mm3", "gained_mm3", "lost_mm3"),
    *(f"{state}_mask" for state in MASKS),
)


class Pair(NamedTuple):
    """Scans of one person and sequence from two visits."""

    first: Wanted
    second: Wanted


def paired(first: Iterable[Wanted], second: Iterable[Wanted]) -> tuple[list[Pair], Failures]:
    """Return the pairs, and the scans that have no partner with the reason.

    A single scan of a sequence at both visits makes a pair, whatever the names are. Others are
    paired by subject.
    """
    pairs, alone = [], Failures()
    visits = [_by_sequence(scans) for scans in (first, second)]
    for sequence in sorted(visits[0].keys() | visits[1].keys()):
        one, two = (visit.get(sequence, []) for visit in visits)
        if len(one) == len(two) == 1:
            pairs.append(Pair(one[0], two[0]))
            continue
        people = [_by_person(scans) for scans in (one, two)]
        for person in dict.fromkeys([*people[1], *people[0]]):
            own = [group.get(person, []) for group in people]
            if len(own[0]) == len(own[1]) == 1:
                pairs.append(Pair(own[0][0], own[1][0]))
                continue
            counts = f"{len(own[0])} at the first visit, {len(own[1])} at the second"
            name = (own[1] or own[0])[0].scan_id
            alone.append((name, f"not compared: scans of {sequence} are {counts}; give one each"))
    return pairs, alone


def _by_sequence(scans: Iterable[Wanted]) -> dict[str, list[Wanted]]:
    found: dict[str, list[Wanted]] = defaultdict(list)
    for item in scans:
        found[canonical(item.scan.sequence)].append(item)
    return found


def _by_person(scans: Sequence[Wanted]) -> dict[PersonKey, list[Wanted]]:
    found: dict[PersonKey, list[Wanted]] = defaultdict(list)
    for item in scans:
        found[person_key(item.subject)].append(item)
    return found


def compare_pairs(pairs: Sequence[Pair], out: Path, compare: Compare) -> Failures:
    """Compare pairs of predicted scans and write their files, then both tables.

    A pair is compared again only where a scan, its prediction or the version has changed. A pair of
    which a scan failed is left out: its reason is listed there.

    Args:
        pairs: pairs of this command.
        out: folder of the results of the second visit; the first visit's are in `BASELINE`.
        compare: the comparison.
    """
    failures = Failures()
    for pair in pairs:
        records, own = _records(pair, out), _record_path(out, pair)
        if records is None:
            remove(own)
            continue
        stamp = fingerprint(__version__, compare, *(record["stamp"] for record in records))
        if _done(own, out, stamp):
            continue
        remove(own)
        with failures.catching(pair.second.scan_id, pair.second.scan.image):
            first = _visit(records[0]["subject"], out / BASELINE, pair.first)
            second = _visit(records[1]["subject"], out, pair.second)
            _write(pair, records, out, stamp, compare(first, second), second)
    _write_tables(out)
    return failures


def _records(pair: Pair, out: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the records of both scans; None where one has no prediction."""
    paths = (record_path(out / BASELINE, pair.first), record_path(out, pair.second))
    if not all(path.is_file() for path in paths):
        return None
    first, second = (read_json(path) for path in paths)
    failed = any(record["subject"]["status"] == "failed" for record in (first, second))
    return None if failed else (first, second)


def _record_path(out: Path, pair: Pair) -> Path:
    return out / FOLDER / f"{pair.second.scan_id}.json"


def _done(path: Path, out: Path, stamp: str) -> bool:
    if not path.is_file():
        return False
    try:
        record = read_json(path)
        files = [out / record["pair"][f"{state}_mask"] for state in MASKS]
        return record["stamp"] == stamp and all(file.is_file() for file in files)
    except (InputError, KeyError, TypeError):
        # A damaged record is made anew.
        return False


def _visit(row: dict[str, Any], out: Path, wanted: Wanted) -> Visit:
    image = read_native(out / row["image"])
    if is_slice(image.array):
        raise InputError(f"{row['image']}: a 2D image; two visits are compared in volumes")
    score = read_volume(out / row["anomaly"]).array
    brain, mask = (
        read_mask(path, like=image) for path in (out / wanted.file("brain"), out / row["mask"])
    )
    threshold = np.nan if row["threshold"] is None else float(row["threshold"])
    return Visit(image, brain, score, mask, threshold)


def _write(
    pair: Pair,
    records: Sequence[dict[str, Any]],
    out: Path,
    stamp: str,
    found: Comparison,
    second: Visit,
) -> None:
    """Write masks and picture of a pair, and its record last."""
    rows, wanted = [record["subject"] for record in records], pair.second
    native = out / rows[1]["image"]
    for state in MASKS:
        mask = found.in_second(state, second.image)
        write_like(out / wanted.file(state), mask, native, np.uint8)
    path = _record_path(out, pair)
    table = found.findings
    picture = draw_changes(
        *found.scans, found.tissue.gained, found.tissue.lost, float(found.halfway.grid.affine[0, 0])
    )
    with atomic_path(path.with_suffix(".jpg")) as temporary:
        temporary.write_bytes(picture.jpeg)
    summed = ("first_mm3", "second_mm3", "gained_mm3", "lost_mm3")
    row = {
        "scan_id": wanted.scan_id,
        "subject": wanted.subject,
        "sequence": rows[1]["sequence"],
        "first_image": rows[0]["image"],
        "second_image": rows[1]["image"],
        **{f"n_{state}": int((table["state"] == state).sum()) for state in STATES},
        **{name: float(table[name].sum()) for name in summed},
        **{f"{state}_mask": wanted.file(state) for state in MASKS},
    }
    changes = json.loads(table.to_json(orient="records", double_precision=6))
    size = (picture.width, picture.height)
    write_json(path, {"stamp": stamp, "pair": row, "changes": changes, "picture": size})


def _write_tables(out: Path) -> None:
    """Write `pairs.csv` and `changes.csv` of all records in `out`."""
    paths = sorted((out / FOLDER).glob("[!.]*.json"))
    records = read_all(paths, _checked, "delete it and compare its pair again")
    pairs = [pair for pair, _ in records]
    changes = [one for _, rows in records for one in rows]
    columns = ["scan_id", *CHANGE_COLUMNS]
    for name, rows, header in ((PAIRS, pairs, PAIR_COLUMNS), (CHANGES, changes, columns)):
        table = pd.DataFrame(rows, columns=list(header))
        write_text(out / name, csv_text(table, float_format="%.6g"))


def _checked(record: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the row of a pair, and those of its changes."""
    pair = dict(record["pair"])
    return pair, [{"scan_id": pair["scan_id"], **one} for one in record["changes"]]
