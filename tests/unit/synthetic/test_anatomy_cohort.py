"""A cohort drawn from a bank: splits by anatomy, files, and what it refuses."""

import numpy as np
import pytest
from tiny_head import write_tiny_bank

from brainuad.errors import InputError
from brainuad.synthetic.anatomies.cohort import PATHOLOGIES, anatomies_cohort, split_names
from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.volumes.nifti import read_mask, read_volume

NAMES = tuple(f"head{n}" for n in range(6))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    write_tiny_bank(folder, 8.0, NAMES)
    return folder


def test_the_last_anatomies_are_held_back():
    train, val, test = split_names(["c", "a", "b", "e", "d"])
    assert (train, val, test) == (["a"], ["b", "c"], ["d", "e"])
    with pytest.raises(InputError, match="a bank of 4 anatomies; 5 or more"):
        split_names("abcd")


@pytest.mark.slow
def test_a_cohort_holds_what_was_asked_for(bank, tmp_path, monkeypatch):
    used = []
    draw = ScanGenerator.anatomy
    monkeypatch.setattr(
        ScanGenerator, "anatomy", lambda self, *seeds: used.append(self.names) or draw(self, *seeds)
    )
    sizes = {"train": 2, "val": 1, "test": 1, "sick": 1}
    cohort = anatomies_cohort(bank, tmp_path, sequences=["FLAIR", "T1w"], **sizes)
    assert set(used) == {("head0", "head1"), ("head2", "head3"), ("head4", "head5")}
    assert len(cohort.scans) == 2 * (2 + 1 + 1 + len(PATHOLOGIES))
    assert {scan.pathology for scan in cohort.scans} == {"", *PATHOLOGIES}
    for scan in cohort.scans:
        volume = read_volume(scan.image)
        inside = read_mask(scan.brain_mask)
        assert volume.array.min() == 0
        assert volume.array.max() == 1
        assert not volume.array[~inside].any()
        if scan.healthy:
            assert scan.lesion_mask is None
            continue
        lesion, twin = read_mask(scan.lesion_mask), read_volume(scan.twin).array
        assert not (lesion & ~inside).any()
        # What is far from any lesion is the same in the twin, noise included.
        assert np.mean(np.abs(volume.array - twin) > 0.02) < 0.5
    # Found again, nothing is made anew.
    used.clear()
    again = anatomies_cohort(bank, tmp_path, sequences=["FLAIR", "T1w"], **sizes)
    assert again.root == cohort.root
    assert not used


def test_without_a_bank_it_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"data\.bank is not set; make a bank"):
        anatomies_cohort(None, tmp_path)
    with pytest.raises(InputError, match="T1c is not synthesised; use one of FLAIR, T2w"):
        anatomies_cohort(tmp_path, tmp_path, sequences=["FLAIR", "T1c"])
    with pytest.raises(InputError, match="no bank of anatomies"):
        anatomies_cohort(tmp_path / "nowhere", tmp_path)
