"""MOOD: the brains of the Medical Out-of-Distribution challenge, 800 healthy young adults.

Where: https://www.synapse.org/mood (Synapse syn21343101), after registration. Licence: by the
challenge's terms; the brains come from the Human Connectome Project.

Layout: `brain/brain_train/00000.nii.gz` …, 256×256×256, brain-extracted, T1. The few labelled toy
cases (`brain/toy/`) and the abdomens are not listed. Not verified against a download; if your copy
shows another contrast, say so with `sequence=T2w`.

Split: all are for training and validation; the challenge's test set stays hidden.
"""

import re
from pathlib import Path

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError

from .dataset import Dataset
from .layout import checked, folders

LAYOUT = "brain/brain_train/00000.nii.gz"

_NAME = re.compile(r"^(\d{5})\.nii(?:\.gz)?$")


def find(root: Path, sequence: str = "T1w") -> list[RawScan]:
    """List the training brains, all healthy.

    Args:
        root: folder that holds `brain_train`, or `brain_train` itself.
        sequence: sequence of the scans.

    Raises:
        InputError: no scan found.
    """
    parents = folders(root, "brain_train", LAYOUT)
    if not parents and root.absolute().name == "brain_train":
        parents = [root]
    if len(parents) > 1:
        raise InputError(f"{root}: holds {parents[0]} and {parents[1]}; give one of them")
    scans = [
        RawScan(subject=f"mood{match[1]}", sequence=sequence, image=path, healthy=True)
        for folder in parents
        for path in sorted(folder.iterdir())
        if (match := _NAME.match(path.name))
    ]
    return checked(scans, root, LAYOUT)


DATASET = Dataset(
    name="mood",
    title="MOOD: Medical Out-of-Distribution Analysis Challenge, brain",
    pathology="healthy",
    sequences=("T1w",),
    homepage="http://medicalood.dkfz.de/web/",
    licence="by the challenge's terms",
    access="Make a Synapse account, join the challenge (synapse.org/mood) and accept its terms.",
    citation="Zimmerer et al., IEEE TMI 2022, doi:10.1109/TMI.2022.3170077",
    split="all 800 for training and validation; the test set is hidden",
    layout=LAYOUT,
    find=find,
    options={"sequence": "what the scans are, when not T1w"},
)
