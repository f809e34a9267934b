"""BraTS 2023, adult glioma (GLI): four registered sequences, brain-extracted at 1 mm.

The cases are those of BraTS 2021 under new names. The other tasks of 2023 (MET metastases, MEN
meningioma, PED children, SSA Africa) have the same layout: `task=MET` lists one of them instead.

Where: https://www.synapse.org/brats2023 (Synapse syn51156910), after registration. Licence: by the
challenge's terms.

Layout: `BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz`, likewise `t1c`, `t2w`, `t2f` and the
label `seg` (1 necrosis, 2 oedema, 3 enhancing; every class is lesion here). Names without the
label were verified against an example case. The last three digits count the visits of a person;
the first visit that is there is listed, so that a subject stays one person with one scan of a
sequence.

Split: 1251 training and 219 unlabelled validation cases are the challenge's; see BraTS 2021.
"""

import re
from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders, nifti, patient

LAYOUT = "BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz"
SEQUENCES = {"T1w": "t1n", "T1c": "t1c", "T2w": "t2w", "FLAIR": "t2f"}

_CASE = re.compile(r"^(BraTS-[A-Z]+-\d+)-(\d+)$")


def find(root: Path, task: str = "GLI") -> list[RawScan]:
    """List the scans of every person's first visit, with its label when it has one.

    Args:
        root: folder of the cases, or up to three above.
        task: task of the challenge, as the case names spell it.

    Raises:
        InputError: no case found, or the same case twice.
    """
    scans: list[RawScan] = []
    visits: dict[str, str] = {}
    # By visit, wherever the folders lie.
    for folder in sorted(folders(root, f"BraTS-{task}-*", LAYOUT), key=lambda path: path.name):
        match = _CASE.match(folder.name)
        if match is None:
            continue
        found = patient(
            match[1],
            folder,
            {name: f"{folder.name}-{suffix}" for name, suffix in SEQUENCES.items()},
            nifti(folder, f"{folder.name}-seg"),
            "tumour",
        )
        if found and visits.setdefault(match[1], match[2]) == match[2]:
            scans += found
    return checked(scans, root, LAYOUT.replace("GLI", task))


DATASET = Dataset(
    name="brats2023",
    title="BraTS 2023 adult glioma (GLI)",
    pathology="tumour",
    sequences=tuple(SEQUENCES),
    homepage="https://www.synapse.org/brats2023",
    licence="by the challenge's terms",
    access="Make a Synapse account, join the challenge at the homepage and accept its terms.",
    citation="Baid et al., arXiv:2107.02314; Menze et al., IEEE TMI 2015; Bakas et al., "
    "Scientific Data 2017",
    split="1251 labelled, 219 unlabelled; the labelled ones are the test of healthy-trained "
    "methods",
    layout=LAYOUT,
    find=find,
    options={"task": "MET, MEN, PED or SSA instead of GLI"},
)
