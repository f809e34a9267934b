"""The view of a prediction in a notebook."""

import base64
import io
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import AFFINE, brain, lesion, write_tiny_model

import brainuad
from brainuad.model.findings import COLUMNS, find
from brainuad.model.prediction import Prediction
from brainuad.reporting.drawing.found import cuts
from brainuad.types import Volume

SHAPE = (40, 48, 36)
LARGE = slice(4, 12), slice(30, 40), slice(20, 30)
SMALL = slice(30, 33), slice(8, 11), slice(5, 8)
"""A large finding and one with a higher score."""


def _prediction(**changes) -> Prediction:
    image = np.zeros(SHAPE, np.float32)
    image[2:-2, 2:-2, 2:-2] = 100
    score = np.zeros(SHAPE, np.float32)
    score[LARGE], score[SMALL] = 0.6, 0.9
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    mask = score > 0.5
    given = {
        "anomaly_map": score,
        "mask": mask,
        "brain": image > 0,
        "affine": affine,
        "findings": find(mask, Volume(score, affine), image > 0),
        "score": 0.6,
        "percentile": None,
        "threshold": 0.5,
        "reconstruction": None,
        "uncertainty": None,
        "flags": (),
        "raw": {},
        "native": Path("scan.nii.gz"),
        "image": image,
    }
    return Prediction(**given | changes)


def _picture(html: str) -> np.ndarray:
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(data) < 200_000
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def test_the_planes_go_through_the_largest_finding_with_its_map_and_outline():
    found = _prediction()
    assert found.findings.volume_mm3.max() == 8 * 10 * 10 * 12
    at = cuts(found.mask, found.anomaly_map)
    assert all(edge.start <= place < edge.stop for place, edge in zip(at, LARGE, strict=True))
    picture = _picture(found._repr_html_())
    red, green, blue = (picture[..., channel] for channel in range(3))
    # Above the colour bar; there is no colour in the scan's own row.
    half = (picture.shape[0] - 40) // 2
    mapped, outlined = red - blue > 60, (blue - red > 80) & (green - red > 80)
    assert not mapped[:half].any()
    thirds = np.array_split(np.arange(picture.shape[1]), 3)
    for columns in thirds:
        assert mapped[half : 2 * half, columns].sum() > 50
        assert outlined[half : 2 * half, columns].sum() > 50
    # The finding is on the patient's left, which the axial plane has on the right.
    places = np.nonzero(mapped[half : 2 * half, thirds[0]])[1]
    assert places.mean() > len(thirds[0]) / 2


def test_without_a_finding_the_planes_follow_the_map(read_page):
    score = np.zeros(SHAPE, np.float32)
    score[7, 9, 11] = 0.3
    nothing = {"mask": score > 1, "anomaly_map": score, "findings": pd.DataFrame(columns=COLUMNS)}
    found = _prediction(**nothing, threshold=float("nan"))
    assert cuts(found.mask, score) == [7, 9, 11]
    page = read_page(found._repr_html_())
    assert "0 findings, 0.0 ml" in page.prose
    assert not [tag for tag, _ in page.tags if tag == "table"]


def test_the_table_has_the_findings_and_every_word_is_escaped(read_page, hostile):
    found = _prediction()
    found.findings["region"] = hostile
    given = {"native": Path(hostile.replace("/", "")), "flags": (hostile,), "notes": (hostile,)}
    page = read_page(_prediction(**given, findings=found.findings)._repr_html_())
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.prose.count(hostile) == 4  # flag, note, two regions
    assert hostile.replace("/", "") in page.prose
    assert "2 findings, 9.9 ml, score 0.6, threshold 0.5" in page.prose
    # By falling peak; the sides of the small and the large one.
    assert re.search(r"1 0\.32 62, 18, 18 0\.90 0\.90 right", page.prose)
    assert re.search(r"2 9\.60 15, 69, 74 0\.60 0\.60 left", page.prose)
    sources = [value for _, attributes in page.tags for value in (attributes.get("src"),) if value]
    assert all(source.startswith("data:") for source in sources)


def test_many_findings_are_cut_short(read_page):
    found = _prediction()
    many = pd.concat([found.findings.head(1)] * 12)
    prose = read_page(_prediction(findings=many)._repr_html_()).prose
    assert "2 more findings in findings" in prose
    assert prose.count("62, 18, 18") == 10


def test_letters_for_sides_need_a_header_that_states_them():
    known, unknown = (
        _picture(_prediction(sides_known=known)._repr_html_()) for known in (True, False)
    )
    assert known.shape == unknown.shape
    assert (known[:, :12] > 100).any()
    assert not (unknown[:, :12] > 100).any()


def test_a_2d_image_is_one_panel():
    plane = {name: getattr(_prediction(), name)[..., 22:23] for name in ("image", "mask", "brain")}
    found = _prediction(**plane, anomaly_map=plane["mask"].astype(np.float32))
    picture = _picture(found._repr_html_())
    assert picture.shape[1] < picture.shape[0] / 1.5
    assert (picture[..., 0] - picture[..., 2] > 60).any()


@pytest.mark.slow
def test_a_prediction_of_an_image_in_memory_is_shown(tmp_path):
    model = brainuad.load(write_tiny_model(tmp_path / "model.ckpt"))
    found = model.predict(nib.Nifti1Image(brain(0)[0] + 0.4 * lesion(), AFFINE))
    assert found.mask.any()
    picture = _picture(found._repr_html_())
    assert (picture[..., 0] - picture[..., 2] > 60).any()
