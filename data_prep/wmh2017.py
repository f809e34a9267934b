"""WMH 2017: white-matter hyperintensities, the MICCAI challenge.

T1 and FLAIR of 60 training and 110 test patients of three hospitals and five scanners; T1 is
registered to the FLAIR, both bias-corrected, faces removed, skull present.

Where: https://doi.org/10.34894/AECRSD (DataverseNL). Licence CC BY-NC 4.0.

Layout: `Utrecht/0/pre/{T1,FLAIR}.nii.gz` and `Utrecht/0/wmh.nii.gz`, likewise `Singapore/50/…` and
`Amsterdam/GE3T/100/…`, below `training/` and `test/`. The folder of the first challenge release
(`GE3T/100/…` without `Amsterdam`) is found as well. Not verified against a download.

The label has two classes: 1 is white-matter hyperintensity, 2 is other pathology (infarcts and so
on). The challenge leaves class 2 out of its scores, counting it neither way. `brainuad` takes every
class above 0 as lesion, which suits detection of anything abnormal, but its figures are then not
those of the challenge. To score as it does, make class 2 to 0 in copies of the labels, and leave
its voxels out.

Split: the challenge's own, for supervised methods. Everybody has lesions, so all are the test of
methods trained on healthy brains (papers use the 60 training cases); the split stays empty.
"""

from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders, nifti, patient

LAYOUT = "Utrecht/0/pre/{T1,FLAIR}.nii.gz and Utrecht/0/wmh.nii.gz, likewise the other sites"
SEQUENCES = {"T1w": "T1", "FLAIR": "FLAIR"}

_OUTER = ("training", "test")


def find(root: Path) -> list[RawScan]:
    """List the scans of all sites; subjects are named by site and number.

    Raises:
        InputError: no case found.
    """
    scans = []
    for pre in folders(root, "pre", LAYOUT, depth=5):
        case = pre.parent
        # With the root's own name, so that the root may be one site's folder.
        parts = [root.absolute().name, *case.parent.relative_to(root).parts]
        site = _site(parts)
        scans += patient(
            f"{site}_{case.name}", pre, SEQUENCES, nifti(case, "wmh"), "wmh", site=site
        )
    return checked(scans, root, LAYOUT)


def _site(parts: list[str]) -> str:
    """`Utrecht`, or hospital and scanner as in `Amsterdam_GE3T`."""
    inner = parts[1:]
    for outer in _OUTER:
        if outer in inner:
            inner = inner[inner.index(outer) + 1 :]
    return "_".join(inner) or parts[0]


DATASET = Dataset(
    name="wmh2017",
    title="WMH Segmentation Challenge, MICCAI 2017",
    pathology="wmh",
    sequences=tuple(SEQUENCES),
    homepage="https://wmh.isi.uu.nl",
    licence="CC BY-NC 4.0",
    access="Download from https://doi.org/10.34894/AECRSD after accepting the terms.",
    citation="Kuijf et al., IEEE TMI 2019, doi:10.1109/TMI.2019.2905770",
    split="60 training, 110 test cases of the challenge; all have lesions, so all are for testing",
    layout=LAYOUT,
    find=find,
)
