"""The page of a made-up run: everything on it, nothing from outside, nothing crashed on."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainuad.cohorts.manifest import Cohort, Scan, write_cohort
from brainuad.volumes.nifti import read_volume, write_volume


def test_page_holds_every_part_and_nothing_from_outside(run_folder: Path, page_of):
    page = page_of(run_folder)
    assert page.text.count("<svg") == 4  # precision-recall, AP, Dice, loss
    for attribute in re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page.text):
        assert attribute.startswith(("data:image/", "#", "&#39;")), attribute
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "image")
        assert not any("http" in (value or "") for value in attributes.values()), attributes
    assert "@import" not in page.text
    assert "url(" not in page.text.replace("url(#", "")
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities))
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert targets <= set(identities)


def test_each_test_subject_is_shown_with_its_numbers(
    run_folder: Path, tiny_cohort: Cohort, page_of
):
    page = page_of(run_folder)
    test = tiny_cohort.select("test", "T2w")
    assert len(page.pictures()) == len(test) == 3
    alts = " ".join(picture["alt"] or "" for picture in page.pictures())
    for scan in test:
        assert scan.subject in alts
    with (run_folder / "scores.csv").open() as file:
        own = [
            r for r in csv.DictReader(file) if r["method"] == "strega" and "(" not in r["subject"]
        ]
    assert own
    for row in own:
        picture = next(p for p in page.pictures() if p["alt"].startswith(row["subject"] + ","))
        assert f"{float(row['value']):.3f}" in picture["alt"]
        assert f"{float(row['value']):.3f}" in page.prose
    # 64 voxels of 27 mm³.
    assert "lesion, ml 1.7" in alts


@pytest.mark.slow
def test_headline_is_the_healthy_threshold_beside_the_control(run_folder: Path, page_of):
    page = page_of(run_folder)
    first = page.text[page.text.index('class="card lead"') :]
    assert re.search(r"<h3>Dice</h3><p class=\"big\">0\.617</p>", first)
    assert "intensity control 0.539" in page.prose
    assert "95 % interval 0.567 to 0.667" in page.prose
    assert "oracle: threshold chosen on test labels" in page.prose
    assert "(AP 0.432)" in page.prose


def test_pictures_are_small_jpegs_that_show_the_lesion(run_folder: Path, page_of):
    for picture in page_of(run_folder).pictures():
        data = base64.b64decode(picture["src"].removeprefix("data:image/jpeg;base64,"))
        assert len(data) < 150_000
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert image.shape[1] > 700
        coloured = (image.max(2) - image.min(2) > 80).mean()
        assert coloured > 0.005


@pytest.mark.slow
@pytest.mark.parametrize("good", [True, False])
def test_the_first_stage_is_told_with_its_quality(run_folder: Path, page_of, good):
    record = {"psnr_db": 21.5, "ssim": 0.75, "subjects": 6}
    record |= {"min_psnr_db": 20.0 if good else 26.0, "min_ssim": 0.7 if good else 0.85}
    checks = {f"first_stage/{name}": value for name, value in record.items()}
    (run_folder / "checks.json").write_text(json.dumps(checks))
    prose = page_of(run_folder).prose
    assert "6 held-out healthy brains with PSNR 21.5 dB and SSIM 0.750" in prose
    assert ("That is poor: at least 26 dB and 0.85 are needed" in prose) is not good


def test_what_repainting_leaves_of_healthy_brains_is_told(run_folder: Path, page_of):
    record = {"healthy_region_before": 0.031, "healthy_region_after": 0.004, "images_a_slice": 9.5}
    (run_folder / "checks.json").write_text(json.dumps(record))
    prose = page_of(run_folder).prose
    assert "3.1% of the voxels are candidates for repainting, and 0.4% after" in prose
    assert "9.5 images" in prose


def test_what_ran(run_folder: Path, page_of):
    prose = page_of(run_folder, subjects=0).prose
    for text in ("abc123, with changes that are not committed", "2.9.9", "1,234,567", "f00"):
        assert text in prose
    assert "name: strega url: <a href='http://x'>" in prose
    assert "strega 0.45, intensity 0.8" in prose
    assert "repainting" not in prose


@pytest.mark.slow
def test_hostile_text_is_escaped_and_failures_come_first(
    run_folder: Path, page_of, write_summary, hostile
):
    write_summary(run_folder, failures=[[hostile, "a <b>bad</b> file"]])
    page = page_of(run_folder)
    assert "<script>alert" not in page.text
    assert "1 subject failed" in page.prose
    assert f"{hostile} : a <b>bad</b> file" in page.prose
    assert page.text.index("subject failed") < page.text.index('id="scores"')


def test_hostile_subject_name(run_folder: Path, tiny_cohort: Cohort, page_of):
    scans = list(tiny_cohort.scans)
    old = scans[-1].subject
    scans[-1] = Scan(**{**vars(scans[-1]), "subject": '"><img src=x onerror=1>'})
    write_cohort(tiny_cohort.root, scans, tiny_cohort.info)
    page = page_of(run_folder)
    assert "<img src=x" not in page.text
    assert '"><img src=x onerror=1>' in page.prose
    assert (
        "Not in this run for this subject: reconstruction, anomaly map, predicted mask"
        in page.prose
    )
    assert old not in " ".join(picture["alt"] for picture in page.pictures())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scores.csv", "this run was not evaluated"),
        ("summary.json", "summary.json is missing or empty"),
        ("curves.npz", "curves.npz is missing"),
        ("metrics.csv", "metrics.csv is missing or empty"),
        ("config.yaml", "config.yaml is missing"),
        ("provenance.json", "provenance.json is missing"),
    ],
)
def test_a_missing_file_is_said_not_crashed_on(run_folder: Path, name: str, words: str, page_of):
    (run_folder / name).unlink()
    assert words in page_of(run_folder, subjects=0).prose


def test_almost_empty_run(tmp_path: Path, page_of):
    (tmp_path / "config.yaml").write_text("name: x\n")
    prose = page_of(tmp_path).prose
    assert "No test subject can be shown" in prose
    assert "does not name its cohort" in prose


@pytest.mark.slow
def test_black_reconstruction_is_said(run_folder: Path, tiny_cohort: Cohort, page_of):
    assert "there but black" not in page_of(run_folder).prose
    scan = tiny_cohort.select("test", "T2w", healthy=False)[0]
    image = read_volume(scan.image)
    path = run_folder / "prepared" / f"{scan.subject}_reconstruction.nii.gz"
    write_volume(path, image.array * 0, image.affine)
    assert page_of(run_folder).prose.count("The reconstruction is there but black") == 1


def test_missing_volumes_are_said(run_folder: Path, tiny_cohort: Cohort, page_of):
    for path in (run_folder / "prepared").glob("*_reconstruction.nii.gz"):
        path.unlink()
    scan = tiny_cohort.select("test", "T2w", healthy=False)[0]
    damaged = run_folder / "prepared" / f"{scan.subject}_anomaly.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    page = page_of(run_folder)
    assert "This method makes no reconstruction" in page.prose
    assert f"No picture: {damaged}: truncated" in page.prose
    assert len(page.pictures()) == 2


def test_cohort_that_moved(run_folder: Path, tiny_cohort: Cohort, page_of):
    tiny_cohort.root.rename(tiny_cohort.root.with_name("elsewhere"))
    page = page_of(run_folder)
    assert "The cohort cannot be read, so there are no pictures" in page.prose
    assert "0.617" in page.prose


def test_fewer_subjects(run_folder: Path, page_of):
    page = page_of(run_folder, subjects=2)
    assert len(page.pictures()) == 2
    assert "2 subjects are shown. 1 subject is left out of the pictures" in page.prose


@pytest.mark.slow
def test_same_run_same_page(run_folder: Path, page_of):
    assert page_of(run_folder).text == page_of(run_folder).text
