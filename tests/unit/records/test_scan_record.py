"""The record of a prepared scan: written, read, upgraded, refused."""

import json
from dataclasses import replace

import pytest
from tiny import a_record

from brainuad.errors import InputError
from brainuad.preparation.records import read_record, record_at, record_path, write_record
from brainuad.records.scan import VERSION, Normalised, Origin, ScanRecord, Step

FULL = a_record(
    steps={"skullstrip": Step(1.5, {"by": "Given()"}), "bias": Step(2.0)},
    quality={"brain_ml": 1400.0},
    notes=("odd",),
    normalised=Normalised("scans/s_T2w.nii.gz", "n", "Percentile()"),
    origin=Origin("/raw", "b", "/raw/s_T2w.nii.gz", None, True, "train", "", ""),
)

BEFORE = {
    "image": "work/s_T2w.nii.gz",
    "brain_mask": "masks/s_T2w_brain.nii.gz",
    "lesion_mask": None,
    "transform": "transforms/s_T2w.json",
    "warp": None,
    "subject": "s",
    "sequence": "T2w",
    "space": "MNI152",
    "spacing_mm": 2.0,
    "shape": [10, 12, 10],
    "native_image": "/raw/s_T2w.nii.gz",
    "native_axes": "RAS",
    "bias": {"seconds": 2.0},
    "notes": ["odd"],
    "native_spacing_mm": [1.0, 1.0, 1.0],
    "skullstrip": {"by": "Given()", "seconds": 1.5},
    "quality": {"brain_ml": 1400.0, "noise": None},
    "stamp": "",
    "scan": "scans/s_T2w.nii.gz",
    "normalised": "n",
    "normalise": "Percentile()",
    "source": "/raw",
    "by": "b",
    "row": {
        "healthy": True,
        "split": "train",
        "site": "",
        "pathology": "",
        "image": "/raw/s_T2w.nii.gz",
        "lesion_mask": None,
    },
}
"""As version 0.1 wrote it."""


def test_a_record_comes_back_as_it_was_written(tmp_path):
    write_record(FULL, tmp_path)
    path = record_path(FULL, tmp_path)
    assert read_record(path) == FULL
    assert json.loads(path.read_text())["version"] == VERSION
    assert FULL.seconds == 3.5
    stamp = path.stat().st_mtime_ns
    write_record(FULL, tmp_path)
    assert path.stat().st_mtime_ns == stamp
    write_record(replace(FULL, stamp="other"), tmp_path)
    assert read_record(path).stamp == "other"


def test_a_record_of_before_is_the_same_record():
    assert ScanRecord.from_json(BEFORE, "a.json") == FULL
    version_1 = FULL.to_json() | {"version": 1, "native_axes": "RAS", "spacing_mm": 2.0}
    assert ScanRecord.from_json(version_1, "a.json") == FULL
    left = {key: value for key, value in BEFORE.items() if key not in ("scan", "normalised", "row")}
    found = ScanRecord.from_json(left | {"bias": None}, "a.json")
    assert (found.normalised, found.origin) == (None, None)
    assert "bias" not in found.steps


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, r"unknown keys \['colour'\]"),
        ({"notes": "10"}, r"notes is '10', not tuple\[str, \.\.\.\]"),
        ({"native_spacing_mm": [True]}, r"native_spacing_mm is \(True,\), not tuple"),
        ({"sides_known": 1.5}, "sides_known is 1.5, not bool"),
        ({"quality": {"noise": "high"}}, "quality is {'noise': 'high'}, not"),
        ({"normalised": {"image": "a"}}, r"normalised: unknown keys \[\], missing keys \['by'"),
        ({"steps": 3}, "steps is 3, not"),
        ({"steps": {"bias": 3}}, "bias: expected an object"),
        ({"steps": {"bias": {"seconds": "x"}}}, "bias: seconds is 'x', not float"),
        ({"version": 99}, "version 99, expected at most 2; update brainuad"),
        ({"version": [1]}, r"version \[1\], expected"),
        ({"sequence": None}, "sequence is None, not str"),
    ],
)
def test_what_is_no_record_is_one_line_with_the_key(tmp_path, changes, said):
    path = tmp_path / "scans/s_T2w.json"
    path.parent.mkdir()
    path.write_text(json.dumps(FULL.to_json() | changes))
    with pytest.raises(InputError, match=said) as refused:
        record_at(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"EchoTime": 0.1}', "null"])
def test_other_files_beside_a_scan_are_no_records(tmp_path, text):
    path = tmp_path / "s_T2w.json"
    with pytest.raises(InputError):
        read_record(path)
    assert record_at(path) is None
    path.write_text(text)
    with pytest.raises(InputError, match="prepare"):
        read_record(path)
    if text != "{":
        assert record_at(path) is None
