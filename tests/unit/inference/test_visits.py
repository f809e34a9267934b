"""Pairs of scans of two visits: who belongs to whom."""

from pathlib import Path

from brainuad.cohorts.scans import RawScan
from brainuad.inference.find_scans import Wanted
from brainuad.inference.visits import paired


def wanted(subject: str, sequence: str = "FLAIR") -> Wanted:
    scan = RawScan(subject, sequence, Path(f"{subject}_{sequence}.nii.gz"), healthy=True)
    name = f"{subject}_{sequence}"
    return Wanted(name, subject, scan, name)


def names(pairs) -> list[tuple[str, str]]:
    return [(pair.first.scan_id, pair.second.scan_id) for pair in pairs]


def test_single_scans_make_a_pair_whatever_their_names_are():
    pairs, alone = paired([wanted("before")], [wanted("after")])
    assert names(pairs) == [("before_FLAIR", "after_FLAIR")]
    assert not alone


def test_people_are_paired_by_name_and_sequence_in_any_spelling():
    first = [wanted("sub-01"), wanted("02"), wanted("sub-01", "T1w"), wanted("03", "T1w")]
    second = [wanted("2"), wanted("01"), wanted("3", "T1w"), wanted("1", "T1w")]
    pairs, alone = paired(first, second)
    assert sorted(names(pairs)) == [
        ("02_FLAIR", "2_FLAIR"),
        ("03_T1w", "3_T1w"),
        ("sub-01_FLAIR", "01_FLAIR"),
        ("sub-01_T1w", "1_T1w"),
    ]
    assert not alone


def test_who_has_no_partner_or_several_is_listed():
    first = [wanted("a"), wanted("b"), wanted("b"), wanted("gone")]
    second = [wanted("a"), wanted("b"), wanted("new"), wanted("t", "T1w")]
    pairs, alone = paired(first, second)
    assert names(pairs) == [("a_FLAIR", "a_FLAIR")]
    assert [name for name, _ in alone] == ["b_FLAIR", "new_FLAIR", "gone_FLAIR", "t_T1w"]
    assert "2 at the first visit, 1 at the second" in dict(alone)["b_FLAIR"]
    assert "1 at the first visit, 0 at the second" in dict(alone)["gone_FLAIR"]
