"""ATLAS 2.0 and ISLES 2022: BIDS names, labels beside the scan or below derivatives."""

import pytest

from brainuad.errors import InputError
from data_prep import atlas2, isles2022

SPACE = "space-MNI152NLin2009aSym"


def _atlas(subject, session="ses-1", part="Training", label=True):
    cohort = subject[4:8].upper()
    stem = f"{part}/{cohort}/{subject}/{session}/anat/{subject}_{session}_{SPACE}"
    return [f"{stem}_T1w.nii.gz"] + [f"{stem}_label-L_desc-T1lesion_mask.nii.gz"] * label


def test_atlas_subjects_sites_and_labels(touch):
    root = touch(
        [
            *_atlas("sub-r001s001"),
            *_atlas("sub-r052s002"),
            *_atlas("sub-r003s004", part="Testing", label=False),
        ]
    )
    scans = {s.subject: s for s in atlas2.find(root)}
    assert {name: s.site for name, s in scans.items()} == {
        "sub-r001s001": "R001",
        "sub-r052s002": "R052",
        "sub-r003s004": "R003",
    }
    for name, scan in scans.items():
        assert (scan.sequence, scan.healthy, scan.pathology) == ("T1w", False, "stroke")
        assert scan.image.name == f"{name}_ses-1_{SPACE}_T1w.nii.gz"
    assert scans["sub-r003s004"].lesion_mask is None
    label = scans["sub-r001s001"].lesion_mask
    assert label.name == f"sub-r001s001_ses-1_{SPACE}_label-L_desc-T1lesion_mask.nii.gz"
    assert label.is_file()


def test_atlas_lists_the_first_session(touch):
    root = touch([*_atlas("sub-r001s001", "ses-2"), *_atlas("sub-r001s001", "ses-1")])
    (scan,) = atlas2.find(root)
    assert scan.image.parent.parent.name == "ses-1"


def test_atlas_skips_a_patient_with_only_a_label(touch):
    root = touch([_atlas("sub-r001s001")[1], *_atlas("sub-r001s002")])
    assert [s.subject for s in atlas2.find(root)] == ["sub-r001s002"]
    with pytest.raises(InputError, match="no scan of this data set"):
        atlas2.find(root / "Training" / "R001" / "sub-r001s001")


def _isles(number, words=("dwi", "adc", "FLAIR", "msk"), above=""):
    subject = f"sub-strokecase{number:04d}"
    stem = f"{subject}_ses-0001"
    folders = {
        "dwi": f"{above}{subject}/ses-0001/dwi",
        "adc": f"{above}{subject}/ses-0001/dwi",
        "FLAIR": f"{above}{subject}/ses-0001/anat",
        "msk": f"derivatives/{subject}/ses-0001",
    }
    return [f"ISLES-2022/{folders[word]}/{stem}_{word}.nii.gz" for word in words]


@pytest.mark.parametrize("above", ["", "rawdata/"])
def test_isles_labels_go_with_the_diffusion_scans_only(touch, above):
    root = touch(_isles(1, above=above) + _isles(2, above=above))
    scans = isles2022.find(root)
    assert {(s.subject, s.sequence) for s in scans} == {
        (f"sub-strokecase000{n}", sequence) for n in (1, 2) for sequence in ("DWI", "ADC", "FLAIR")
    }
    for scan in scans:
        assert (scan.healthy, scan.pathology) == (False, "stroke")
        if scan.sequence == "FLAIR":
            assert scan.lesion_mask is None
        else:
            assert scan.lesion_mask.name == f"{scan.subject}_ses-0001_msk.nii.gz"
            assert scan.lesion_mask.is_file()


def test_isles_lists_what_is_there(touch):
    root = touch(_isles(1, ("adc",)) + _isles(2, ("msk",)))
    (scan,) = isles2022.find(root)
    assert (scan.subject, scan.sequence, scan.lesion_mask) == ("sub-strokecase0001", "ADC", None)
