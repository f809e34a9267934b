import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainuad.inference.findings_text import NOT_A_DIAGNOSIS, findings_text, plain
from brainuad.inference.outputs import SUBJECT_COLUMNS
from brainuad.model.findings import COLUMNS

SCAN = {
    "scan_id": "anna_FLAIR", "subject": "anna", "sequence": "FLAIR", "status": "flagged",
    "reason": "Check the brain mask (volume in ml is 400, expected at least 900); of PDw",
    "score": 0.8123, "percentile": 97.5, "n_findings": 2, "volume_mm3": 1300.0, "threshold": 0.5,
    "notes": "the header has no orientation",
}  # fmt: skip
FINDING = {
    "finding": 1, "volume_mm3": 1250.0, "x_mm": -31.24, "y_mm": 12.0, "z_mm": 24.1,
    "mni_x": -30.0, "mni_y": 10.5, "mni_z": 22.0, "peak": 0.98, "mean": 0.82, "contrast": 1.43,
    "side": "left", "lobe": "frontal lobe", "region": "white matter", "uncertainty": 0.07,
    "support": 0.4, "marked": True,
}  # fmt: skip


def test_a_finding_reads_as_a_radiologist_would_say_it():
    text = findings_text(SCAN | {"volume_mm3": 1250.0}, [FINDING])
    assert text.startswith(f"Findings in anna_FLAIR (FLAIR)\n\n{NOT_A_DIAGNOSIS}\n\n1 finding with")
    for words in (
        "1. Left frontal lobe, white matter. Brighter than the tissue around it (1.43 times",
        "Volume 1250 mm³ (1.2 ml), that of a ball 13 mm across.",
        "Centre at x -31.24, y 12, z 24.1 mm in the coordinates of the scan; ",
        "x -30, y 10.5, z 22 mm in the coordinates of MNI.",
        "Score 0.98 at the most, 0.82 on average. Standard deviation of the score 0.07.",
        "40 % of the draws or models show it. Fewer than half of them do: doubt this finding.",
        "97.5 % of the healthy validation subjects have a lower one.",
        "Left and right are the patient's own.",
        "- Check the brain mask (volume in ml is 400, expected at least 900)\n- of PDw\n",
        "- the header has no orientation\n",
    ):
        assert words in text
    assert text == findings_text(SCAN | {"volume_mm3": 1250.0}, [FINDING])


def test_several_findings_are_numbered_and_the_plural_is_right():
    other = FINDING | {"side": "right", "contrast": 0.6, "marked": False}
    text = findings_text(SCAN, [FINDING, other])
    assert "2 findings with 1300 mm³ (1.3 ml) in all, the highest score first." in text
    assert (
        "2. Right frontal lobe, white matter. Darker than the tissue around it (0.6 times" in text
    )
    assert text.count("doubt this finding") == 1


def test_no_finding_is_no_promise_of_health():
    text = findings_text(SCAN | {"n_findings": 0, "volume_mm3": 0.0, "reason": "", "notes": ""}, [])
    assert "No findings. This does not mean that the brain is healthy." in text
    assert "0 findings" not in text
    assert "Left and right" not in text
    assert text.endswith("have a lower one.\n")


@pytest.mark.parametrize(
    ("known", "place"),
    [
        ({}, "1. Brighter"),
        ({"side": "left"}, "1. Left side. Brighter"),
        ({"side": "midline", "lobe": "brain stem"}, "1. On the midline, brain stem. Brighter"),
        ({"side": "right", "region": "ventricles"}, "1. Right side, ventricles. Brighter"),
        ({"region": "outside the atlas"}, "1. Outside the atlas. Brighter"),
        ({"lobe": "frontal lobe and parietal lobe"}, "1. Frontal lobe and parietal lobe. Brighter"),
    ],
)
def test_an_unknown_place_is_left_out(known, place):
    unknown = {"side": "", "lobe": None, "region": math.nan, "mni_x": None, "mni_y": math.nan}
    text = findings_text(SCAN, [FINDING | unknown | known])
    assert place in text
    assert ("Left and right" in text) == ("side" in known)


def test_a_row_may_lack_everything():
    assert findings_text({}, [{}]).startswith(
        f"Findings in a scan\n\n{NOT_A_DIAGNOSIS}\n\n1 finding,"
    )


def test_text_of_a_stranger_stays_on_its_line():
    text = findings_text(SCAN | {"scan_id": "a\n\nNo findings.\x1b[2J"}, [FINDING])
    assert "\x1b" not in text
    assert "\nNo findings." not in text


numbers = st.none() | st.just(math.nan) | st.floats(-1e6, 1e6, allow_subnormal=False)
sizes = st.none() | st.just(math.nan) | st.floats(0, 1e7, allow_subnormal=False)
words = st.sampled_from(["", None, math.nan, "left", "midline", "frontal lobe", "white matter"])
findings = st.fixed_dictionaries(
    {
        name: words if name in ("side", "lobe", "region")
        else st.sampled_from([None, True, False]) if name == "marked"
        else sizes if name in ("volume_mm3", "contrast", "support", "uncertainty")
        else numbers
        for name in COLUMNS
    }
)  # fmt: skip
scans = st.fixed_dictionaries(
    {
        name: numbers if name in ("score", "percentile", "threshold")
        else sizes if name == "volume_mm3"
        else st.sampled_from(["", None, "look (0.5, expected 3)"])
        for name in SUBJECT_COLUMNS
    }
)  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(scans, st.lists(findings, max_size=3))
def test_any_table_gives_all_its_numbers_and_no_nan(scan, rows):
    text = findings_text(scan, rows)
    assert "nan" not in text.lower()
    assert "none" not in text.lower()
    said = [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text)]
    told = [scan[name] for name in ("score", "percentile", "threshold")]
    told += [scan["volume_mm3"]] if rows else []
    for row in rows:
        told += [row[k] for k in COLUMNS[1:] if isinstance(row[k], float) and k != "support"]
        told += [100 * row["support"]] if row["support"] is not None else []
    for value in told:
        if value is not None and not math.isnan(value):
            assert any(math.isclose(one, value, rel_tol=1e-3, abs_tol=1e-12) for one in said), value


@pytest.mark.parametrize(
    ("number", "text"),
    [(1234567, "1235000"), (0.00001234, "0.00001234"), (-0.0, "0"), (12.0, "12"), (0.5, "0.5")],
)
def test_numbers_have_no_exponent(number, text):
    assert plain(number) == text
