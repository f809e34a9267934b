import numpy as np
import pytest
from tiny import write_tiny_channels

from brainuad.cohorts.channels import with_channels
from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import COLUMNS, read_cohort
from brainuad.errors import InputError
from brainuad.inference.find_scans import find_wanted
from brainuad.inference.records import scan_stamp
from brainuad.volumes.nifti import read_volume


def test_the_rows_of_a_subject_become_one_scan_in_the_order_asked_for(tmp_path):
    cohort = write_tiny_channels(tmp_path)
    for names in (["T2w", "T1w"], ["T1w", "T2w"]):
        found = with_channels(cohort, names)
        scans = found.select("test", names)
        assert [scan.subject for scan in scans] == ["sub05", "sub06", "sub07"]
        assert {scan.sequence for scan in scans} == {"+".join(names)}
        image, brain_mask = load_scan(scans[0])
        assert image.shape == (2, *brain_mask.shape[1:])
        for channel, name in zip(image, names, strict=True):
            (row,) = (s for s in cohort.select("test", name) if s.subject == "sub05")
            np.testing.assert_array_equal(channel, load_scan(row)[0][0])
        # The first row says where the scan lies, and the others are still there.
        assert scans[1].image == next(s.image for s in scans[1].rows if s.sequence == names[0])
        assert found.select("test", "T1w") == cohort.select("test", "T1w")
        assert found.split_hash() == cohort.split_hash()
        assert not found.info.get("failures")


def test_a_subject_that_lacks_a_sequence_is_one_line_among_the_failures(tmp_path):
    cohort = write_tiny_channels(tmp_path, lacking="sub02")
    found = with_channels(cohort, ["T2w", "T1w"])
    ((subject, reason),) = found.info["failures"]
    assert subject == "sub02"
    assert reason.startswith("has no T1w scan, where the channels are T2w+T1w; add it")
    assert [s.subject for s in found.select("train", ["T2w", "T1w"])] == ["sub00", "sub01"]
    # No subject is listed for what it was not asked for.
    assert not with_channels(cohort, ["T2w", "FLAIR"]).select("val", "FLAIR", allow_empty=True)
    with pytest.raises(InputError, match=r"no T1w\+FLAIR scan in split 'val'"):
        with_channels(cohort, ["T1w", "FLAIR"]).select("val", ["T1w", "FLAIR"])
    with pytest.raises(InputError, match="name each sequence once"):
        with_channels(cohort, ["T2w", "T2w"])


def test_channels_on_different_grids_are_refused_in_one_line(tmp_path):
    cohort = with_channels(write_tiny_channels(tmp_path, moved="sub06"), ["T2w", "T1w"])
    near, far = cohort.select("test", ["T2w", "T1w"], healthy=False)[::-1]
    assert load_scan(near)[0].shape[0] == 2
    with pytest.raises(InputError, match=r"sub06_T1w\.nii\.gz: lies on another grid than .*sub06"):
        load_scan(far)


def test_one_name_leaves_all_as_it_was(tmp_path):
    cohort = write_tiny_channels(tmp_path)
    for name in ("T2w", ["T2w"]):
        assert with_channels(cohort, name) is cohort
        assert cohort.select("val", name) == cohort.select("val", "T2w")
    scan = cohort.scans[0]
    # What stamps, file names and tables are made of.
    assert "channels" not in repr(scan)
    assert "channels" not in COLUMNS
    assert scan.rows == (scan,)
    assert scan.images == (scan.image,)
    assert load_scan(scan)[0].shape == (1, *read_volume(scan.image).array.shape)
    assert read_cohort(tmp_path) == cohort


def test_every_channel_counts_in_what_says_that_a_scan_is_done(tmp_path):
    write_tiny_channels(tmp_path / "cohort")
    (item, *_) = find_wanted(tmp_path / "cohort", ("T2w", "T1w"), tmp_path / "out").wanted
    stamps = [scan_stamp(scan) for scan in item.scans]
    assert len(set(stamps)) == 2
    assert all(str(s.image) in stamp for s, stamp in zip(item.scans, stamps, strict=True))
