"""ATLAS v2.0: stroke, T1 with manual lesion labels, in MNI space.

Where: https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html, after filling in a form that
sends the password of the encrypted archive. Licence: by the data use agreement there.

Layout, of 655 labelled training scans, 1 mm, skull present, faces removed:
`Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz` and
beside it `sub-r001s001_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz`. The
300 cases below `Testing/` have no label. Not verified against a download.

The raw release (no `space-` in the names) is found too when its label has the same ending.

Split: the challenge's is for supervised methods; methods trained on healthy brains test on
(part of) the labelled scans. The split stays empty.
"""

import re
from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset
from .layout import checked, folders

LAYOUT = "Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-..._T1w.nii.gz"

_T1 = re.compile(r"^(sub-(r\d+)s\d+)_(ses-\w+?)(?:_space-\w+?)?_T1w\.nii(?:\.gz)?$")


def find(root: Path) -> list[RawScan]:
    """List the first session's T1 of every patient; the site is the cohort, `R001`.

    Raises:
        InputError: no scan found.
    """
    scans = []
    sessions: dict[str, str] = {}
    for folder in folders(root, "sub-r*/ses-*/anat", LAYOUT):
        for image in sorted(folder.glob("sub-*_T1w.nii*")):
            match = _T1.match(image.name)
            if match is None or sessions.setdefault(match[1], match[3]) != match[3]:
                continue
            masks = sorted(folder.glob(f"{image.name.split('_T1w.nii')[0]}_label-*_mask.nii*"))
            scans.append(
                RawScan(
                    subject=match[1],
                    sequence="T1w",
                    image=image,
                    healthy=False,
                    lesion_mask=masks[0] if masks else None,
                    site=match[2].upper(),
                    pathology="stroke",
                )
            )
    return checked(scans, root, LAYOUT)


DATASET = Dataset(
    name="atlas2",
    title="ATLAS v2.0: Anatomical Tracings of Lesions After Stroke",
    pathology="stroke",
    sequences=("T1w",),
    homepage="https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html",
    licence="by its data use agreement",
    access="Fill in the form at the homepage; the password of the archive comes by mail.",
    citation="Liew et al., Scientific Data 2022, doi:10.1038/s41597-022-01401-7",
    split="655 labelled, 300 unlabelled; the labelled ones are the test of healthy-trained methods",
    layout=LAYOUT,
    find=find,
)
