"""Files of the same content under two names are one person."""

import os
from dataclasses import replace

import numpy as np
import pytest

from brainuad.cohorts import copies
from brainuad.cohorts.copies import copies_of, one_person, said_of_copies, same_content
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError

RNG = np.random.default_rng(0)


def scan(path, content, subject=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return RawScan(subject or path.stem, more.pop("sequence", "T1w"), path, True, **more)


def some(folder, count, size=300_000):
    """Scans of one size, as uncompressed ones of one protocol are."""
    return [scan(folder / f"s{i}.nii", RNG.bytes(size)) for i in range(count)]


def test_only_what_is_alike_in_size_and_in_a_sample_is_read_whole(tmp_path, monkeypatch):
    scans = some(tmp_path, 5)
    again = scan(tmp_path / "again.nii", scans[1].image.read_bytes())
    # Alike in the middle.
    content = bytearray(scans[2].image.read_bytes())
    content[100_000] ^= 1
    nearly = scan(tmp_path / "nearly.nii", bytes(content))
    read, whole = [], copies._content
    monkeypatch.setattr(copies, "_content", lambda path: read.append(path.name) or whole(path))
    assert [[s.subject for s in group] for group in same_content([*scans, again, nearly])] == [
        ["s1", "again"]
    ]
    assert sorted(read) == ["again.nii", "nearly.nii", "s1.nii", "s2.nii"]


def test_what_cannot_be_read_is_nobodys_copy(tmp_path):
    scans = [scan(tmp_path / f"{name}.nii", b"") for name in "ab"]
    missing = [RawScan(name, "T1w", tmp_path / f"{name}.nii", True) for name in "cd"]
    os.mkfifo(tmp_path / "e.nii")
    os.mkfifo(tmp_path / "f.nii")
    pipes = [RawScan(name, "T1w", tmp_path / f"{name}.nii", True) for name in "ef"]
    assert same_content([*scans, *missing, *pipes]) == []


def test_a_series_is_compared_file_by_file(tmp_path):
    for name, last in (("a", b"3"), ("b", b"3"), ("c", b"4")):
        for i, content in enumerate((b"1", b"2", last)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.dcm").write_bytes(content)
    scans = [RawScan(name, "T1w", tmp_path / name, True) for name in "abc"]
    assert [[s.subject for s in group] for group in same_content(scans)] == [["a", "b"]]


def test_subjects_are_one_across_sequences_too(tmp_path):
    one, two = RNG.bytes(99), RNG.bytes(99)
    scans = [
        scan(tmp_path / "a.nii", one, "a"),
        scan(tmp_path / "b.nii", one, "b"),
        scan(tmp_path / "b2.nii", two, "b", sequence="FLAIR"),
        scan(tmp_path / "c.nii", two, "c"),
        scan(tmp_path / "d.nii", RNG.bytes(99), "d"),
    ]
    assert one_person(scans) == {"a": "a", "b": "a", "c": "a", "d": "d"}
    assert copies_of(scans)["b", "FLAIR"] == ["its file has the same content as c_T1w"]


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_never_in_two_splits(tmp_path, seed):
    scans = some(tmp_path, 9, 99)
    scans += [scan(tmp_path / f"t{i}.nii", scans[i].image.read_bytes()) for i in range(4)]
    # A copy of a patient is no healthy subject to train on.
    scans[0] = replace(scans[0], healthy=False)
    splits = {s.subject: s.split for s in assign_splits(scans, seed, 0.3, 0.3)}
    assert all(splits[f"s{i}"] == splits[f"t{i}"] for i in range(4))
    assert splits["t0"] == "test"
    assert {"train", "val", "test"} == set(splits.values())
    assigned = assign_splits(scans, seed, 0.3, 0.3)
    assert said_of_copies(assigned)[0] == (
        "s0_T1w and t0_T1w have the same content; they are in one split (test)"
    )


def test_a_given_split_is_that_of_its_copies(tmp_path):
    scans = some(tmp_path, 4, 99)
    scans.append(scan(tmp_path / "t0.nii", scans[0].image.read_bytes(), split="val"))
    assert {s.subject: s.split for s in assign_splits(scans, 0, 0, 0)}["s0"] == "val"
    scans[0] = replace(scans[0], split="train")
    with pytest.raises(InputError, match=r"t0.nii: has the same content as .*s0.nii, but t0 is in"):
        assign_splits(scans, 0, 0, 0)
