"""BraTS 2020: gliomas, four registered sequences, brain-extracted at 1 mm.

Where: https://www.med.upenn.edu/cbica/brats2020/data.html, after registration; mirrored on Kaggle.
Licence: free for research with citation; the Kaggle mirror says CC0, which the organisers do not.

Layout: `MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_flair.nii` (or
`.nii.gz`), likewise `t1`, `t1ce`, `t2` and the label `seg` (1 necrosis, 2 oedema, 4 enhancing;
every class is lesion here). The validation cases `BraTS20_Validation_001` come without a label.
The label of case 355 is named `W39_1998.09.19_Segm.nii` in the Kaggle mirror. Not verified against
a download.

Split: 369 training and 125 unlabelled validation cases are the challenge's. Detection trained on
healthy brains uses the labelled cases for its test (and some for thresholds), in shares that
differ from paper to paper, so the split stays empty.
"""

from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders, nifti, patient

LAYOUT = "BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii"
SEQUENCES = {"T1w": "t1", "T1c": "t1ce", "T2w": "t2", "FLAIR": "flair"}
CASES = "BraTS20_*_[0-9]*"


def find(root: Path) -> list[RawScan]:
    """List the scans of all cases, with the label of those that have one.

    Raises:
        InputError: no case found.
    """
    return checked(
        (
            scan
            for folder in folders(root, CASES, LAYOUT)
            for scan in patient(
                folder.name,
                folder,
                {name: f"{folder.name}_{suffix}" for name, suffix in SEQUENCES.items()},
                nifti(folder, f"{folder.name}_seg") or _misnamed(folder),
                "tumour",
            )
        ),
        root,
        LAYOUT,
    )


def _misnamed(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*_Segm.nii*") if path.is_file())
    return found[0] if found else None


DATASET = Dataset(
    name="brats2020",
    title="BraTS 2020: Multimodal Brain Tumor Segmentation Challenge",
    pathology="tumour",
    sequences=tuple(SEQUENCES),
    homepage="https://www.med.upenn.edu/cbica/brats2020/data.html",
    licence="research use with citation, by the challenge's terms",
    access="Register at the homepage (CBICA image processing portal) and ask for the 2020 data.",
    citation="Menze et al., IEEE TMI 2015; Bakas et al., Scientific Data 2017; Bakas et al., "
    "arXiv:1811.02629",
    split="369 labelled, 125 unlabelled; the labelled ones are the test of healthy-trained methods",
    layout=LAYOUT,
    find=find,
)
