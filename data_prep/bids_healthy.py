"""Healthy people in BIDS form: OASIS-3, Cam-CAN, HCP, AOMIC and the like.

Where: OASIS-3 https://www.oasis-brains.org (form, own terms of use); Cam-CAN
https://camcan-archive.mrc-cbu.cam.ac.uk/dataaccess/ (form, own terms); HCP
https://www.humanconnectome.org (account, own terms; its native layout is not BIDS, convert first).

Layout: `sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR,PDw}.nii.gz` and optionally `participants.tsv`. Of a
subject the first session with a scan counts, of a sequence the first run. OASIS-3 is in BIDS form
only when fetched so (`download_oasis_scans_bids`); not verified against a download.

With `column` and `value`, only the people of whom `participants.tsv` says so are listed
(`column=diagnosis value=control`); the others are left out, not listed as ill: without lesion
labels nothing can be scored on them. Without these options everybody counts as healthy whom
no column such as `group` or `diagnosis` and no lesion label makes a patient. Give them for every
data set that says it in other words (OASIS-3 does, in its clinical tables).

Split: none official; drawn by seed.
"""

from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.find import find_all, is_bids
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.read import read_table

from .dataset import Dataset
from .layout import checked

LAYOUT = "sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR,PDw}.nii.gz"
SEQUENCES = ("T1w", "T2w", "FLAIR", "PDw")
TABLE = "participants.tsv"


def find(root: Path, column: str = "", value: str = "") -> list[RawScan]:
    """List the first session of every healthy person.

    Args:
        root: the BIDS data set, with the `sub-*` folders in it.
        column: column of `participants.tsv` that states who is healthy; empty when all are.
        value: value of the column for healthy people.

    Raises:
        InputError: no scan, or no table to choose by.
    """
    if bool(column) != bool(value):
        raise InputError("give column and value together, as in column=diagnosis value=control")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected the unpacked download with {LAYOUT}")
    table = _table(root)
    wanted = _wanted(table, root, column, value) if column else None
    if not is_bids(root):
        raise InputError(f"{root}: no BIDS data set; expected {LAYOUT}")
    # Whom the table calls a patient is none of the healthy, whatever other columns say.
    listed = find_all(root).scans
    scans = [
        replace(
            scan, healthy=True, pathology="", site=table.get(scan.subject, {}).get("site") or ""
        )
        for scan in listed
        if (scan.healthy if wanted is None else scan.subject in wanted)
        and scan.sequence in SEQUENCES
        and scan.lesion_mask is None
    ]
    if wanted and not scans and listed:
        raise InputError(f"{root}: no scan of a subject with {column} {value!r} in {TABLE}")
    return checked(scans, root, LAYOUT)


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
