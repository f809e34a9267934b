"""Open MS data of Ljubljana (3D-MR-MS): multiple sclerosis, labels by three raters' consensus.

Where: https://lit.fe.uni-lj.si/en/research/resources/, mirrored by
https://github.com/muschellij2/open_ms_data. Licence CC BY.

Cross-sectional (`openms`), 30 patients in folders `patientNN`, in any of these forms:

- official: `patient01_{T1W,T1WKS,T2W,FLAIR,consensus_gt,brainmask}.nii.gz`, on the FLAIR's grid;
- mirror, `raw` and `coregistered`: the same names without `patient01_`; the raw ones lie on grids
  of their own and have no brain mask;
- mirror, `MNI`: `{T1,T1POST,T2,FLAIR,GOLD_STANDARD}` with or without the mirror's long suffix
  (`_N4_noneck_..._regtoMNI`), brain-extracted.

The label lies on the FLAIR's grid, so it is given to the sequences that share that grid, by their
headers. Give the folder of one form; patients found in two are refused. The short MNI names and
the mirror's longitudinal raw names were verified against files, the others are by the read-me.

Longitudinal (`openms_longitudinal`), 20 patients with two visits, `study1_FLAIR.nii.gz` and so on.
Its `gt.nii.gz` marks only the lesions that *changed* between the visits. Stable lesions, the most,
are not in it: it is no label for detection, and is not listed. The first visit is listed as not
healthy and without a label, for looking at, not for scoring. A brain mask is given where its grid
fits (`brainmask.nii.gz`, coregistered).

Split: none official; all patients are the test of methods trained on healthy brains.
"""

from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders, nifti, same_grid

LAYOUT = "patient01/{T1W,T1WKS,T2W,FLAIR,consensus_gt}.nii.gz, or T1, T1POST, T2, GOLD_STANDARD"
LONGITUDINAL_LAYOUT = "patient01/study1_{T1W,T2W,FLAIR}.nii.gz"
SEQUENCES = {"T1w": ("T1W", "T1"), "T1c": ("T1WKS", "T1POST"), "T2w": ("T2W", "T2")}
LABELS = ("consensus_gt", "GOLD_STANDARD")

_NAMES = {**SEQUENCES, "FLAIR": ("FLAIR",)}
_PATIENTS = "patient[0-9]*"


def find(root: Path) -> list[RawScan]:
    """List the cross-sectional patients' scans; label and brain mask where the grid fits.

    Raises:
        InputError: no patient found, a patient in two forms, or an unreadable header.
    """
    scans = []
    for folder in folders(root, _PATIENTS, LAYOUT):
        label = _first(folder, LABELS)
        brain = _first(folder, ("brainmask",))
        scans += [
            _scan(folder.name, sequence, path, label, brain)
            for sequence, names in _NAMES.items()
            if (path := _first(folder, names))
        ]
    return checked(scans, root, LAYOUT)


def find_longitudinal(root: Path) -> list[RawScan]:
    """List the first visits, without a label.

    Subjects are called `longitudinal_patientNN`: they are not the cross-sectional patients of
    these numbers, and one cohort may hold both.

    Raises:
        InputError: no patient found, a patient in two forms, or an unreadable header.
    """
    scans = []
    for folder in folders(root, _PATIENTS, LONGITUDINAL_LAYOUT):
        brain = _first(folder, ("brainmask",))
        scans += [
            _scan(f"longitudinal_{folder.name}", sequence, path, None, brain)
            for sequence, names in _NAMES.items()
            if (path := _first(folder, tuple(f"study1_{name}" for name in names)))
        ]
    return checked(scans, root, LONGITUDINAL_LAYOUT)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The file of one of these names, plain, after the patient's name or with a long suffix."""
    for name in names:
        for stem in (name, f"{folder.name}_{name}"):
            if path := nifti(folder, stem):
                return path
        if long := sorted(folder.glob(f"{name}_N4_*regtoMNI.nii*")):
            return long[0]
    return None


def _scan(
    subject: str, sequence: str, image: Path, label: Path | None, brain: Path | None
) -> RawScan:
    return RawScan(
        subject=subject,
        sequence=sequence,
        image=image,
        healthy=False,
        brain_mask=brain if brain and same_grid(image, brain) else None,
        lesion_mask=label if label and same_grid(image, label) else None,
        pathology="ms",
    )


DATASET = Dataset(
    name="openms",
    title="3D-MR-MS, cross-sectional (Ljubljana)",
    pathology="ms",
    sequences=tuple(_NAMES),
    homepage="https://lit.fe.uni-lj.si/en/research/resources/",
    licence="CC BY",
    access="Download from the homepage, or clone github.com/muschellij2/open_ms_data.",
    citation="Lesjak et al., Neuroinformatics 2018, doi:10.1007/s12021-017-9348-7",
    split="none official; all 30 patients for testing",
    layout=LAYOUT,
    find=find,
)
LONGITUDINAL = replace(
    DATASET,
    name="openms_longitudinal",
    title="Longitudinal MS (Ljubljana), first visits, no label for detection",
    sequences=("T1w", "T2w", "FLAIR"),
    citation="Lesjak et al., Neuroinformatics 2016, doi:10.1007/s12021-016-9301-1",
    split="none; its label marks changes between visits only, so it cannot score a detector",
    layout=LONGITUDINAL_LAYOUT,
    find=find_longitudinal,
)
