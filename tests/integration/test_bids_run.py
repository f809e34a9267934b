"""`brainuad-bids` as people use it: a head, a real scan where there is one, a damaged file."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from bids_dataset import errors_of_validator, files_of, write_description
from commands import call

from brainuad.shipped import DEMO

COMMAND = "import sys; from brainuad.cli.bids import main; sys.exit(main())"
NAME = "sub-01/ses-1/anat/sub-01_ses-1"

# Two heads are prepared; on a busy machine that took 14 minutes.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The derivative of a dataset, made by the shipped model."""
    root = tmp_path_factory.mktemp("bids")
    raw = root / "raw"
    write_description(raw)
    scans = {f"{NAME}_FLAIR": DEMO}
    data = os.environ.get("BRAINUAD_REAL_DATA")
    if data and Path(data).is_dir():
        scans["sub-02/anat/sub-02_run-1_FLAIR"] = next(Path(data).glob("raw_heads/flair_*/*.nii*"))
    for name, path in scans.items():
        place = raw / f"{name}.nii.gz"
        place.parent.mkdir(parents=True)
        # Some of them are not compressed.
        shutil.copy(path, place) if path.suffix == ".gz" else nib.save(nib.load(path), place)
    damaged = raw / "sub-03/anat/sub-03_T1w.nii.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(DEMO.read_bytes()[:5000])
    before = files_of(raw)
    out = raw / "derivatives" / "brainuad"
    script = root / "command.py"
    script.write_text(COMMAND)
    done = call(script, raw, out, "participant", timeout=1200)
    group = call(script, raw, out, "group")
    after = {name: at for name, at in files_of(raw).items() if not name.startswith("derivatives")}
    after = {name: at for name, at in after.items() if name in before or Path(name).suffix}
    assert after == before, "the dataset is only read"
    return SimpleNamespace(raw=raw, out=out, done=done, group=group)


def test_one_damaged_scan_is_listed_and_the_others_are_done(run):
    assert run.done.returncode == 3, run.done.stderr
    assert "1 subject(s) failed, the others were done:\n  sub-03_T1w: " in run.done.stderr
    table = pd.read_csv(run.out / "subjects.csv").set_index("scan_id")
    assert (table.status == "failed").sum() == 1
    assert run.group.returncode == 0, run.group.stderr


def test_the_official_validator_accepts_the_derivative(run):
    errors = errors_of_validator(run.out)
    if errors is None:
        pytest.skip("no bids-validator-deno; pip install -e .[dev] brings it")
    assert errors == []


def test_the_mask_lies_on_the_head_and_the_words_say_what_it_shows(run):
    mask = sitk.ReadImage(run.out / f"{NAME}_label-lesion_desc-FLAIR_mask.nii.gz")
    scan = sitk.ReadImage(run.raw / f"{NAME}_FLAIR.nii.gz")
    assert mask.GetSize() == scan.GetSize()
    assert np.allclose(mask.GetDirection(), scan.GetDirection(), atol=1e-4)
    volume = np.prod(mask.GetSpacing()) * sitk.GetArrayViewFromImage(mask).sum()
    table = pd.read_csv(run.out / "findings.csv").set_index("scan_id")
    findings = table.loc[["sub-01_ses-1_FLAIR"]]
    assert findings.volume_mm3.sum() == pytest.approx(volume, rel=1e-3)
    # Lesions are bright on FLAIR, and the head is registered to the atlas.
    assert (findings.contrast > 1).all()
    assert findings.lobe.notna().any()
    text = (run.out / f"{NAME}_desc-findings_FLAIR.txt").read_text()
    for row in findings.itertuples():
        centre = scan.TransformPhysicalPointToIndex((-row.x_mm, -row.y_mm, row.z_mm))
        assert all(0 <= i < n for i, n in zip(centre, scan.GetSize(), strict=True))
        # ITK's world runs to the left.
        if row.side in ("left", "right"):
            assert (row.mni_x < 0) == (row.side == "left")
    first = findings.iloc[0]
    assert f"1. {first.side.capitalize()}" in text.replace("On the midline", "Midline")
    assert "Brighter than the tissue around it" in text


def test_the_methods_are_those_of_the_shipped_model(run):
    text = (run.out / "logs/CITATION.md").read_text()
    for words in (
        "deepbet [deepbet], unless they were extracted already", "by N4 [N4]", "MNI152 template",
        "voxels of 2 mm", "`universal` was trained on", "above 0.5 (fixed threshold)",
        "- [deepbet] Fisch",
    ):  # fmt: skip
        assert words in text
    assert "demons" not in text


def test_the_page_and_the_table_show_the_participants(run):
    people = [path.name for path in sorted(run.raw.glob("sub-*"))]
    table = pd.read_csv(run.out / "participants.tsv", sep="\t", na_values="n/a")
    assert list(table.participant_id) == people
    page = (run.out / "index.html").read_text()
    assert all(name in page for name in people)
