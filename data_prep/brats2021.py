"""BraTS 2021: gliomas, four registered sequences, brain-extracted at 1 mm.

Where: https://www.synapse.org/brats2021 (Synapse syn25829067), after registration. Licence: by the
challenge's terms, CC BY-NC-SA for the copy at The Cancer Imaging Archive.

Layout: `BraTS2021_00000/BraTS2021_00000_flair.nii.gz`, likewise `t1`, `t1ce`, `t2` and the label
`seg` (1 necrosis, 2 oedema, 4 enhancing; every class is lesion here). Validation cases come
without a label. Several cases may be one person at different times, which the names do not tell.
Not verified against a download.

Split: 1251 training and 219 unlabelled validation cases are the challenge's. Detection trained on
healthy brains uses labelled cases for its test (and some for thresholds, for example 100 and 1151),
in shares that differ from paper to paper, so the split stays empty.
"""

from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders, nifti, patient

LAYOUT = "BraTS2021_00000/BraTS2021_00000_{flair,t1,t1ce,t2,seg}.nii.gz"
SEQUENCES = {"T1w": "t1", "T1c": "t1ce", "T2w": "t2", "FLAIR": "flair"}


def find(root: Path) -> list[RawScan]:
    """List the scans of all cases, with the label of those that have one.

    Raises:
        InputError: no case found.
    """
    return checked(
        (
            scan
            for folder in folders(root, "BraTS2021_[0-9]*", LAYOUT)
            for scan in patient(
                folder.name,
                folder,
                {name: f"{folder.name}_{suffix}" for name, suffix in SEQUENCES.items()},
                nifti(folder, f"{folder.name}_seg"),
                "tumour",
            )
        ),
        root,
        LAYOUT,
    )


DATASET = Dataset(
    name="brats2021",
    title="BraTS 2021: RSNA-ASNR-MICCAI Brain Tumor Segmentation Challenge",
    pathology="tumour",
    sequences=tuple(SEQUENCES),
    homepage="https://www.synapse.org/brats2021",
    licence="by the challenge's terms; CC BY-NC-SA at The Cancer Imaging Archive",
    access="Make a Synapse account, join the challenge at the homepage and accept its terms.",
    citation="Baid et al., arXiv:2107.02314; Menze et al., IEEE TMI 2015; Bakas et al., "
    "Scientific Data 2017",
    split="1251 labelled, 219 unlabelled; the labelled ones are the test of healthy-trained "
    "methods",
    layout=LAYOUT,
    find=find,
)
