"""Finds raw scans in what people have: a file, a folder, a table, a BIDS dataset, DICOM series.

Every command that takes scans calls `find_all`. Names are read by `brainuad.cohorts.records` alone.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.choose import choose
from brainuad.cohorts.dicom import dicom_records
from brainuad.cohorts.doubt import settle
from brainuad.cohorts.filename import is_image, stem_of
from brainuad.cohorts.health import ill_people, participants
from brainuad.cohorts.identity import Key, key_of, name_people
from brainuad.cohorts.pairing import pair, sort_out
from brainuad.cohorts.records import Record, read_alone, read_record
from brainuad.cohorts.rows import TABLES
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.table import from_table
from brainuad.cohorts.tree import Aside, Tree, is_there, natural, walk
from brainuad.cohorts.words import PLAIN, canonical
from brainuad.errors import InputError
from brainuad.volumes.plane_files import TAKEN_BY, is_plane_file

_OURS = frozenset(PLAIN.values())
_NOT_RAW = frozenset({"code", "sourcedata", "stimuli", "phenotype"})
_MADE = re.compile(r"(?:i?y_|[mwrs]{0,3}[cp][0-6]|[mwrs]{1,3}|ples_[a-z]+_m?)")
"""Prefixes that SPM, CAT and LST put before a name."""


def find_raw(source: Path, sequence: str, every: bool = False) -> list[RawScan]:
    """List the scans of a source; see `find_all`.

    Raises:
        InputError: as `find_all`, or a mask belongs to nobody.
    """
    found = find_all(source, sequence, every)
    if not every:
        refuse_unused(found)
    return found.scans


def find_all(
    source: Path,
    sequence: str = "",
    every: bool = False,
    *,
    also: Collection[str] = (),
    extracted: bool = False,
    out: Path | None = None,
) -> Found:
    """List the scans of a source, and account for every other file.

    In a folder, `sub1_T1w.nii.gz` and `sub1/T1.nii.gz` are both subject `sub1`, sequence `T1w`;
    `sub1_lesion.nii.gz` (or `_seg`) and `sub1_brain_mask.nii.gz` are its masks. Names of BIDS,
    FSL, dcm2niix, BraTS, IXI, OASIS, ADNI and UK Biobank are read as their makers mean them. A
    person is healthy who has no lesion label, and is no patient by `participants.tsv`, by a folder
    or by a table. A table has a column `image` and optionally every other field of `RawScan`.

    Args:
        source: a NIfTI file, a folder, or a `.csv` or `.tsv` file.
        sequence: sequence of a scan whose name or row does not state it.
        every: list further visits, runs and scans of one sequence too.
        also: sequences to list beside those of the presets, such as `DWI`.
        extracted: whether brains without a skull are wanted where both are there.
        out: folder of the command's results, which are no input.

    Raises:
        InputError: nothing there, or names that allow two readings.
    """
    if source.is_file() and is_image(source.name):
        return _from_file(source, sequence)
    if source.is_file() and source.name.lower().endswith(TABLES):
        return from_table(source, sequence, every)
    if source.is_file() and is_plane_file(source.name):
        raise InputError(f"{source}: a 2D image, no volume of a head; {TAKEN_BY}")
    if source.is_file():
        # numpy comes with it.
        from brainuad.volumes.read import refuse_dicom_file

        refuse_dicom_file(source)
    if not source.is_dir():
        raise InputError(
            f"{source}: neither a folder nor a NIfTI or .csv file; check the path (data.source)"
        )
    tree = walk(source, out)
    asked = {canonical(name) for name in (sequence, *also)} | _OURS
    return _from_tree(tree, sequence, every, extracted, asked)


def is_bids(source: Path) -> bool:
    """Return whether a folder is a BIDS dataset."""
    return (source / "dataset_description.json").is_file() or any(source.glob("sub-*/"))


def refuse_unused(found: Found, option: str = "--allow-unused") -> None:
    """Refuse files that their owner means to be used and that cannot be.

    Args:
        found: scans of a source.
        option: setting by which the user continues without them.

    Raises:
        InputError: there are any: the first, and how many more.
    """
    wanted = [aside for aside in found.aside if aside.wanted]
    if wanted:
        first = wanted[0]
        more = f" ({len(wanted) - 1} more of the kind)" if len(wanted) > 1 else ""
        raise InputError(f"{first.path}: {first.reason}{more}; {option} goes on without it")


def refuse_missing(found: Found) -> None:
    """Refuse a list that names files which are not there; a dead link fails when its turn comes.

    Raises:
        InputError: the first, and how many more.
    """
    named = [p for s in found.scans for p in (s.image, s.brain_mask, s.lesion_mask) if p]
    missing = [path for path in named if not is_there(path)]
    if missing:
        more = f" ({len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: no such file{more}; mend the path in the table")


def _from_file(source: Path, sequence: str) -> Found:
    record = read_alone(source)
    subject = record.subject or "subject"
    told = record.sequence or sequence
    scan = RawScan(subject=subject, sequence=told, image=source, healthy=True, split="test")
    return Found("a NIfTI file", [scan], assumed=set() if record.sequence else {source})


def _from_tree(
    tree: Tree, sequence: str, every: bool, extracted: bool, asked: Collection[str]
) -> Found:
    bids = is_bids(tree.root)
    found = Found("a BIDS dataset" if bids else "NIfTI files", bids=bids, aside=list(tree.aside))
    images, used = _images(tree, found)
    scans, masks, left = sort_out(settle([read_record(path, tree.root) for path in images]))
    found.aside += left
    series, slices, wrong = dicom_records(tree)
    used |= slices
    found.aside += wrong
    scans = _known(scans, found, asked, bids)
    series = _known(series, found, asked, False)
    scans = [replace(scan, sequence=scan.sequence or sequence) for scan in scans]
    series = [replace(scan, sequence=scan.sequence or sequence) for scan in series]
    scans += _unconverted(series, scans, found)
    if series and not images:
        found.kind = "DICOM series"
    names = name_people(scans, every)
    taken, left = choose(scans, names, every, extracted)
    found.aside += left
    pairs = pair(scans, {scan.path for scan in taken}, masks)
    found.aside += pairs.aside
    people = participants(tree, used, found)
    ill = ill_people(scans, pairs.ill, people, tree.root)
    again = _repeated(taken) if every else set()
    for record in taken:
        key = key_of(record)
        found.scans.append(
            RawScan(
                subject=names[key],
                sequence=record.sequence,
                image=record.path,
                healthy=key not in ill,
                # Which of several it belongs to, nobody knows.
                brain_mask=None if record.path in again else pairs.brain.get(record.path),
                lesion_mask=pairs.lesion.get(record.path),
                pathology=ill.get(key, ""),
            )
        )
        if record.session:
            found.visits[record.path] = record.session
    found.assumed &= {scan.image for scan in found.scans}
    _account(tree, used | set(images), found)
    if not found.scans:
        _nothing(tree, bids, found)
    return found


def _images(tree: Tree, found: Found) -> tuple[list[Path], set[Path]]:
    """NIfTI files, of a pair the `.img`; and the `.hdr` files that belong to one."""
    images, headers = [], set()
    for files in tree.folders.values():
        names = {path.name.lower() for path in files}
        for path in files:
            lower = path.name.lower()
            if lower.endswith(".hdr"):
                if lower[:-4] + ".img" in names:
                    headers.add(path)
                else:
                    found.aside.append(Aside(path, "a header without its .img file"))
            elif lower.endswith(".img") and lower[:-4] + ".hdr" not in names:
                found.aside.append(Aside(path, "voxels without their .hdr file", wanted=True))
            elif is_image(lower):
                images.append(path)
    return images, headers


def _known(
    scans: Sequence[Record], found: Found, asked: Collection[str], bids: bool
) -> list[Record]:
    """Return scans of the requested sequences; the others are put aside."""
    kept = []
    stems: dict[Path, set[str]] = {}
    for scan in scans:
        stems.setdefault(scan.path.parent, set()).add(stem_of(scan.path))
    for scan in scans:
        part = scan.name.entities.get("part", "mag")
        if scan.derived:
            found.aside.append(Aside(scan.path, "a derivative, and no scan as it came"))
        elif bids and _NOT_RAW.intersection(scan.path.parts):
            found.aside.append(Aside(scan.path, "no raw scan of the BIDS dataset"))
        elif _is_made_of_another(scan.path, stems):
            found.aside.append(Aside(scan.path, "made of another scan by SPM or CAT, by its name"))
        elif part != "mag":
            found.aside.append(Aside(scan.path, f"a {part} image, not a magnitude (part-{part})"))
        elif scan.sequence and scan.sequence not in asked:
            reason = (
                f"{scan.sequence}: not a sequence that is asked for; list it in a CSV to use it"
            )
            found.aside.append(Aside(scan.path, reason))
        elif bids and not scan.sequence:
            found.aside.append(Aside(scan.path, "its name tells no sequence in a BIDS dataset"))
        else:
            if not scan.sequence:
                found.assumed.add(scan.path)
            kept.append(scan)
    return kept


def _is_made_of_another(path: Path, stems: dict[Path, set[str]]) -> bool:
    """Return whether a name is another scan's with a prefix of SPM: `c1`, `wm`, `mwp1`, …."""
    stem = stem_of(path)
    match = _MADE.match(stem)
    if match is None:
        return False
    # `s1` is no smoothed `1`.
    rests = [stem[end:] for end in range(1, match.end() + 1) if not stem[end : end + 1].isdigit()]
    near = [stems.get(folder, set()) for folder in (path.parent, path.parent.parent)]
    return any(rest in names for rest in rests for names in near)


def _unconverted(series: Sequence[Record], scans: Sequence[Record], found: Found) -> list[Record]:
    """DICOM series of which there is no NIfTI file already."""
    have = {(scan.person, scan.session, scan.sequence): scan for scan in scans}
    kept = []
    for record in series:
        if other := have.get((record.person, record.session, record.sequence)):
            found.aside.append(Aside(record.path, f"the DICOM series of {other.path.name}"))
        else:
            kept.append(record)
    return kept


def _repeated(taken: Sequence[Record]) -> set[Path]:
    """Scans beside which there is another one of the same person, visit and sequence."""
    groups: dict[tuple[Key, str, str], list[Path]] = {}
    for record in taken:
        groups.setdefault((key_of(record), record.session, record.sequence), []).append(record.path)
    return {path for paths in groups.values() if len(paths) > 1 for path in paths}


def _account(tree: Tree, used: set[Path], found: Found) -> None:
    """Put every remaining file aside, and sort."""
    said = used | {aside.path for aside in found.aside}
    for path in tree.files:
        if path not in said:
            found.aside.append(Aside(path, "no image"))
    found.aside.sort(key=lambda aside: natural(str(aside.path)))


def _nothing(tree: Tree, bids: bool, found: Found) -> None:
    """Refuse a source without a scan, with the first of the files that are none.

    Raises:
        InputError: always.
    """
    wanted = sorted(found.aside, key=lambda aside: not aside.wanted)
    some = "; ".join(f"{one.path.name}: {one.reason}" for one in wanted[:3])
    about = f" ({len(wanted)} files left aside: {some})" if wanted else ""
    if pictures := [path for path in tree.files if is_plane_file(path.name)]:
        raise InputError(
            f"{tree.root}: no NIfTI scan and no DICOM series found, but {len(pictures)} 2D images "
            f"such as {pictures[0].name}; {TAKEN_BY}"
        )
    if bids:
        raise InputError(
            f"{tree.root}: no sub-*/[ses-*/]anat/*_{{T1w,T2w,FLAIR,PDw,T2starw}}.nii.gz in this "
            f"BIDS dataset{about}; list the scans in a CSV instead"
        )
    raise InputError(
        f"{tree.root}: no NIfTI scan (.nii, .nii.gz, .img with .hdr) and no DICOM series found"
        f"{about}; check data.source"
    )
