"""Healthy people in BIDS form: OASIS-3, Cam-CAN, HCP, AOMIC and the like.

Where: OASIS-3 https://www.oasis-brains.org (form, own terms of use); Cam-CAN
https://camcan-archive.mrc-cbu.cam.ac.uk/dataaccess/ (form, own terms); HCP
https://www.humanconnectome.org (account, own terms; its native layout is not BIDS, convert first).

Layout: `sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR,PDw}.nii.gz` and optionally `participants.tsv`. Of a
subject the first session with a scan counts, of a sequence the first run. OASIS-3 is in BIDS form
only when fetched so (`download_oasis_scans_bids`); not verified against a download.

With `column` and `value`, only the people of whom `participants.tsv` says so are listed
(`column=diagnosis value=control`); the others are left out, not listed as ill: without lesion
labels nothing can be scored on them. Without these options everybody counts as healthy, so give
them for every data set that holds patients (OASIS-3 does, by its clinical tables).

Split: none official; drawn by seed.
"""

import re
from pathlib import Path

from brainuad.cohorts.find import RawScan
from brainuad.errors import InputError
from brainuad.machine.read import read_table
from data_prep.dataset import Dataset
from data_prep.layout import checked, folders, natural

LAYOUT = "sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR,PDw}.nii.gz"
SEQUENCES = ("T1w", "T2w", "FLAIR", "PDw")
TABLE = "participants.tsv"

_NAME = re.compile(
    r"^(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9]+)*"
    rf"_({'|'.join(SEQUENCES)})\.nii(?:\.gz)?$"
)


def find(root: Path, column: str = "", value: str = "") -> list[RawScan]:
    """Lists the first session of every healthy person.

    Args:
        root: the BIDS data set, with the `sub-*` folders in it.
        column: of `participants.tsv`, that tells who is healthy; empty when all are.
        value: what it says of the healthy.

    Raises:
        InputError: no scan, or no table to choose by.
    """
    if bool(column) != bool(value):
        raise InputError("give column and value together, as in column=diagnosis value=control")
    anatomies = [
        path
        for pattern in ("sub-*/anat", "sub-*/ses-*/anat")
        for path in folders(root, pattern, LAYOUT, depth=0)
    ]
    table = _table(root)
    wanted = _wanted(table, root, column, value) if column else None
    scans: dict[tuple[str, str], RawScan] = {}
    sessions: dict[str, str] = {}
    for folder in sorted(anatomies, key=natural):
        for path in sorted(folder.iterdir(), key=natural):
            match = _NAME.match(path.name)
            if match is None or (wanted is not None and match[1] not in wanted):
                continue
            if sessions.setdefault(match[1], match[2] or "") != (match[2] or ""):
                continue
            site = table.get(match[1], {}).get("site") or ""
            scan = RawScan(match[1], match[3], path, healthy=True, site=site)
            scans.setdefault((scan.subject, scan.sequence), scan)
    if wanted and not scans and anatomies:
        raise InputError(f"{root}: no scan of a subject with {column} {value!r} in {TABLE}")
    return checked(scans.values(), root, LAYOUT)


def _table(root: Path) -> dict[str, dict[str, str]]:
    """Rows of `participants.tsv` by subject; empty when there is none."""
    path = root / TABLE
    if not path.is_file():
        return {}
    _, rows = read_table(path, "save it as tab-separated values in UTF-8", "\t")
    if rows and "participant_id" not in rows[0]:
        raise InputError(f"{path}: no column participant_id; found {', '.join(rows[0])}")
    # Some tables leave out the `sub-` that the standard asks for.
    return {"sub-" + row["participant_id"].strip().removeprefix("sub-"): row for row in rows}


def _wanted(table: dict[str, dict[str, str]], root: Path, column: str, value: str) -> set[str]:
    path = root / TABLE
    if not table:
        raise InputError(f"{path}: not there or empty; leave column and value out, or add it")
    columns = list(next(iter(table.values())))
    if column not in columns:
        raise InputError(f"{path}: no column {column!r}; found {', '.join(columns)}")
    found = {name for name, row in table.items() if (row[column] or "").strip() == value}
    if not found:
        said = sorted({(row[column] or "").strip() for row in table.values()})[:10]
        raise InputError(f"{path}: nobody has {column} {value!r}; found {', '.join(said)}")
    return found


DATASET = Dataset(
    name="bids_healthy",
    title="Healthy people in BIDS form (OASIS-3, Cam-CAN, HCP, AOMIC, ...)",
    pathology="healthy",
    sequences=SEQUENCES,
    homepage="https://bids.neuroimaging.io",
    licence="that of the data set",
    access="OASIS-3: form at oasis-brains.org; Cam-CAN: form at camcan-archive.mrc-cbu.cam.ac.uk; "
    "HCP: account at humanconnectome.org.",
    citation="that of the data set; LaMontagne et al. 2019 (OASIS-3), Taylor et al. 2017 "
    "(Cam-CAN), Van Essen et al. 2013 (HCP)",
    split="none official; drawn by seed",
    layout=LAYOUT,
    find=find,
    options={
        "column": "of participants.tsv, that tells who is healthy",
        "value": "what it says of the healthy",
    },
)
