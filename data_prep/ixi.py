"""IXI: about 600 healthy people from three London hospitals.

T1, T2 and PD whole heads as scanned (T2 and PD share a grid, T1 has its own), besides MRA and DTI,
which are not listed here.

Where: https://brain-development.org/ixi-dataset/, no registration. Licence CC BY-SA 3.0.

Layout: `IXI-T1.tar`, `IXI-T2.tar` and `IXI-PD.tar` hold files side by side, named
`IXI012-HH-1211-T1.nii.gz`: subject, site (HH Hammersmith, Philips 3 T; Guys, Philips 1.5 T; IOP
Institute of Psychiatry, GE 1.5 T), scan number, sequence. The spreadsheet `IXI.xls` is read for
its ages only when it was saved as `IXI.csv` in the root.

Split: there is no official one. The literature draws its own by seed (for example 358 of 560 for
training in several papers of one group), so the split stays empty unless a list is given.

Not verified against a download: the CSV's column names (`IXI_ID`, `AGE`) are those of `IXI.xls`.
"""

import re
from pathlib import Path

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.read import read_table

from .dataset import Dataset, Download
from .layout import checked, folders, natural

LAYOUT = "IXI-T1/IXI012-HH-1211-T1.nii.gz, likewise T2 and PD, unpacked from the tar files"
SEQUENCES = {"T1": "T1w", "T2": "T2w", "PD": "PDw"}
SHEET = "IXI.csv"

_NAME = re.compile(r"^(IXI\d+)-(HH|Guys|IOP)-\d+-(T1|T2|PD)\.nii(?:\.gz)?$")
_URL = "https://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI"
# SHA-256 and bytes as downloaded on 2026-10-01 by github.com/MedARC-AI/brainmarks-smri,
# scripts/ixi; the files are of 2014 and have no checksums of their own.
_KNOWN = {
    "T1": ("56bbe911fbe967f7d1b830a552995263bdba281e0a6eb78e62f1c38d88a946a9", 4840816640),
    "T2": ("39af50f87be8f7d0be2f166a64f5f59b5e43577255eb5613553dae37c348c2e4", 3853445120),
    "PD": ("c00124d2409b68f9800938ede547cff71cafb0d51e19bd5138d85a4c4e144130", 4068966400),
}


def find(root: Path, ages: str = "") -> list[RawScan]:
    """List the scans, all healthy.

    Args:
        root: folder of the unpacked tar files.
        ages: `20-60` keeps the people of that age in years, both ends included, by `IXI.csv`.

    Raises:
        InputError: no scan, or no ages to choose by.
    """
    parents = [root, *folders(root, "*", LAYOUT, depth=1)]
    paths = sorted((path for folder in parents for path in folder.glob("IXI*.nii*")), key=natural)
    if not paths and any(root.glob("IXI*.tar")):
        raise InputError(
            f"{root}: the tar files are not unpacked; run python -m data_prep unpack "
            f"{root / 'IXI-T1.tar'} {root / 'IXI-T1'}"
        )
    scans = []
    for path in paths:
        if match := _NAME.match(path.name):
            scans.append(
                RawScan(
                    subject=match[1],
                    sequence=SEQUENCES[match[3]],
                    image=path,
                    healthy=True,
                    site=match[2],
                )
            )
    scans = checked(scans, root, LAYOUT)
    return _of_age(scans, root / SHEET, ages) if ages else scans


def read_ages(sheet: Path) -> dict[str, float]:
    """Subject to age in years, of those whose age is known.

    A person may have several lines; the first with an age counts.

    Raises:
        InputError: no such file or columns.
    """
    if not sheet.is_file():
        raise InputError(f"{sheet}: not there; save IXI.xls as this CSV file to choose by age")
    header, rows = read_table(sheet)
    if not {"IXI_ID", "AGE"} <= set(header):
        raise InputError(f"{sheet}: columns are {header}; need IXI_ID and AGE")
    ages: dict[str, float] = {}
    for row in rows:
        try:
            number, age = int(float(row["IXI_ID"])), float(row["AGE"])
        except (OverflowError, ValueError):
            continue
        ages.setdefault(f"IXI{number:03d}", age)
    return ages


def _of_age(scans: list[RawScan], sheet: Path, wanted: str) -> list[RawScan]:
    match = re.fullmatch(r"(\d+)-(\d+)", wanted)
    if match is None:
        raise InputError(f"ages is {wanted!r}; write it as in ages=20-60")
    low, high = int(match[1]), int(match[2])
    ages = read_ages(sheet)
    kept = [scan for scan in scans if low <= ages.get(scan.subject, -1) <= high]
    if not kept:
        raise InputError(f"{sheet}: no scan of a person aged {low} to {high}; change ages")
    return kept


DATASET = Dataset(
    name="ixi",
    title="IXI: Information eXtraction from Images",
    pathology="healthy",
    sequences=tuple(SEQUENCES.values()),
    homepage="https://brain-development.org/ixi-dataset/",
    licence="CC BY-SA 3.0",
    access="Free download without registration.",
    citation="IXI data set, brain-development.org (EPSRC GR/S21533/02)",
    split="none official; drawn by seed, healthy people for training",
    layout=LAYOUT,
    find=find,
    options={"ages": "20-60 keeps people of that age, by IXI.csv"},
    files=tuple(
        Download(f"{_URL}/IXI-{name}.tar", f"IXI-{name}.tar", *known)
        for name, known in _KNOWN.items()
    ),
)
