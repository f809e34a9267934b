"""ISLES 2022: acute and sub-acute ischaemic stroke, DWI, ADC and FLAIR of 250 patients.

Where: https://zenodo.org/records/7960856, no registration. Licence CC BY 4.0.

Layout: `sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_{dwi,adc}.nii.gz`,
`…/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz` and the label
`derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz`; in some releases
the patients lie below `rawdata/`. Not verified against a download, as are the address and name of
the archive.

The label lies on the grid of the DWI, which the ADC shares. The FLAIR has another grid and is not
registered to it, so it is listed without a label: to score on FLAIR, resample the label through a
registration of your own.

Split: the 150 test patients of the challenge are not public; all 250 are the test of methods
trained on healthy brains. The split stays empty.
"""

from pathlib import Path

from brainuad.cohorts.scans import RawScan

from .dataset import Dataset, Download
from .layout import checked, folders, nifti

LAYOUT = (
    "sub-strokecase0001/ses-0001/{dwi,anat}/ and "
    "derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz"
)
SEQUENCES = {"DWI": ("dwi", "dwi"), "ADC": ("dwi", "adc"), "FLAIR": ("anat", "FLAIR")}
LABELLED = ("DWI", "ADC")


def find(root: Path) -> list[RawScan]:
    """List all patients' scans; the label goes with DWI and ADC only.

    Raises:
        InputError: no scan found.
    """
    scans = []
    for session in folders(root, "sub-strokecase*/ses-*", LAYOUT):
        subject = session.parent.name
        stem = f"{subject}_{session.name}"
        mask = _mask(session, stem)
        for sequence, (kind, suffix) in SEQUENCES.items():
            if path := nifti(session / kind, f"{stem}_{suffix}"):
                scans.append(
                    RawScan(
                        subject=subject,
                        sequence=sequence,
                        image=path,
                        healthy=False,
                        lesion_mask=mask if sequence in LABELLED else None,
                        pathology="stroke",
                    )
                )
    return checked(scans, root, LAYOUT)


def _mask(session: Path, stem: str) -> Path | None:
    data = session.parent.parent
    # `derivatives` is beside the patients, or beside `rawdata`.
    for base in (data, data.parent):
        inner = base / "derivatives" / session.parent.name / session.name
        if path := nifti(inner, f"{stem}_msk"):
            return path
    return None


_URL = "https://zenodo.org/records/7960856/files"
# As github.com/constantinpape/torch-em, torch_em/data/datasets/medical/isles.py, has it.
_SHA256 = "f374895e383f725ddd280db41ef36ed975277c33de0e587a631ca7ea7ad45d6b"

DATASET = Dataset(
    name="isles2022",
    title="ISLES 2022: Ischemic Stroke Lesion Segmentation",
    pathology="stroke",
    sequences=tuple(SEQUENCES),
    homepage="https://zenodo.org/records/7960856",
    licence="CC BY 4.0",
    access="Free download without registration.",
    citation="Hernandez Petzsche et al., Scientific Data 2022, doi:10.1038/s41597-022-01875-5",
    split="250 public patients, all for testing",
    layout=LAYOUT,
    find=find,
    files=(Download(f"{_URL}/ISLES-2022.zip", "ISLES-2022.zip", _SHA256),),
)
