"""Open MS data: official, mirrored and MNI names; a label only where its grid fits."""

from pathlib import Path

import numpy as np
import pytest

from brainuad.errors import InputError
from brainuad.volumes.nifti import read_label, read_volume, write_volume
from data_prep import openms

FINE, COARSE = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 3, 1])


def _write(path: Path, affine=FINE, shape=(4, 4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, np.zeros(shape, np.float32), affine)


def _by_sequence(scans):
    assert len({(s.subject, s.sequence) for s in scans}) == len(scans)
    return {s.sequence: s for s in scans}


def test_raw_sequences_get_the_label_only_on_the_grid_of_the_flair(tmp_path):
    folder = tmp_path / "raw" / "patient01"
    for name in ("FLAIR", "consensus_gt"):
        _write(folder / f"{name}.nii.gz")
    _write(folder / "T1W.nii.gz", COARSE)
    _write(folder / "T1WKS.nii.gz", FINE, (4, 4, 5))
    scans = _by_sequence(openms.find(tmp_path))
    assert set(scans) == {"T1w", "T1c", "FLAIR"}
    assert scans["FLAIR"].lesion_mask == folder / "consensus_gt.nii.gz"
    assert scans["T1w"].lesion_mask is None
    assert scans["T1c"].lesion_mask is None
    assert all(not s.healthy and s.pathology == "ms" for s in scans.values())


def test_official_names_with_brain_mask(tmp_path):
    folder = tmp_path / "patient07"
    for name in ("T1W", "T1WKS", "T2W", "FLAIR", "consensus_gt", "brainmask"):
        _write(folder / f"patient07_{name}.nii.gz")
    # The untouched scans below the patient are not listed a second time.
    _write(folder / "raw" / "patient07_T1W.nii.gz", COARSE)
    scans = _by_sequence(openms.find(tmp_path))
    assert set(scans) == {"T1w", "T1c", "T2w", "FLAIR"}
    assert {s.subject for s in scans.values()} == {"patient07"}
    for scan in scans.values():
        assert scan.image.parent == folder
        assert scan.lesion_mask == folder / "patient07_consensus_gt.nii.gz"
        assert scan.brain_mask == folder / "patient07_brainmask.nii.gz"


@pytest.mark.parametrize("suffix", ["", "_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI"])
def test_mni_names_short_and_long(tmp_path, suffix):
    folder = tmp_path / "MNI" / "patient26"
    for name in ("T1", "T1POST", "T2", "FLAIR", "GOLD_STANDARD"):
        _write(folder / f"{name}{suffix}.nii.gz")
    scans = _by_sequence(openms.find(tmp_path))
    assert {key: s.image.name.split(suffix or ".")[0] for key, s in scans.items()} == {
        "T1w": "T1",
        "T1c": "T1POST",
        "T2w": "T2",
        "FLAIR": "FLAIR",
    }
    assert all(s.lesion_mask.name.startswith("GOLD_STANDARD") for s in scans.values())


def test_a_patient_with_only_a_label_is_skipped(tmp_path):
    _write(tmp_path / "patient01" / "GOLD_STANDARD.nii.gz")
    _write(tmp_path / "patient02" / "FLAIR.nii.gz")
    (scan,) = openms.find(tmp_path)
    assert (scan.subject, scan.lesion_mask) == ("patient02", None)


def test_two_forms_of_a_patient_are_refused(tmp_path):
    for form in ("raw", "coregistered"):
        _write(tmp_path / form / "patient01" / "FLAIR.nii.gz")
    with pytest.raises(InputError, match="a second FLAIR of patient01"):
        openms.find(tmp_path)


def test_an_unreadable_label_is_named(tmp_path):
    _write(tmp_path / "patient01" / "FLAIR.nii.gz")
    (tmp_path / "patient01" / "consensus_gt.nii.gz").touch()
    with pytest.raises(InputError, match="consensus_gt.nii.gz: cannot be read"):
        openms.find(tmp_path)


def test_the_label_of_changes_is_never_a_lesion_label(tmp_path):
    folder = tmp_path / "patient01"
    for name in ("study1_T1W", "study1_FLAIR", "study2_FLAIR", "study2_T2W", "gt", "brainmask"):
        _write(folder / f"{name}.nii.gz")
    scans = _by_sequence(openms.find_longitudinal(tmp_path))
    assert set(scans) == {"T1w", "FLAIR"}
    assert scans["FLAIR"].image.name == "study1_FLAIR.nii.gz"
    for scan in scans.values():
        assert (scan.subject, scan.healthy) == ("longitudinal_patient01", False)
        assert scan.lesion_mask is None
        assert scan.brain_mask == folder / "brainmask.nii.gz"
    with pytest.raises(InputError, match="no scan of this data set"):
        openms.find(tmp_path)


def test_the_real_mni_patients(real_data):
    scans = openms.find(real_data / "openms_mni_1mm")
    assert {(s.subject, s.sequence) for s in scans} == {
        (subject, sequence)
        for subject in ("patient07", "patient26")
        for sequence in ("T1w", "T1c", "T2w", "FLAIR")
    }
    scan = next(s for s in scans if s.sequence == "FLAIR")
    # The reader's own, stricter look agrees that the grids are one.
    assert read_label(scan.lesion_mask, like=read_volume(scan.image)).any()


def test_the_real_longitudinal_patients(real_data):
    scans = openms.find_longitudinal(real_data / "openms_longitudinal_raw")
    assert {s.subject for s in scans} == {f"longitudinal_patient0{n}" for n in (1, 3, 4)}
    assert all(s.lesion_mask is None and "study1" in s.image.name for s in scans)
