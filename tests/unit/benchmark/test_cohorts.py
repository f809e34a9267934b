"""Cohorts of the benchmark from small files in the layout of the real data."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tiny import AFFINE, brain, lesion, write_tiny_cohort

from brainuad.benchmark import cohorts, slabs
from brainuad.cohorts.manifest import read_cohort, write_cohort
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


@pytest.fixture
def commands(monkeypatch):
    """Return the commands that would have run; each makes a cohort of ellipsoids."""
    given = []

    def run(command, **_):
        given.append(command)
        out = Path(command[2])
        scans = write_tiny_cohort(out, train=0, val=0, test=0, sick=1).scans
        write_cohort(out, [replace(scan, subject="new") for scan in scans], {"name": "new"})

    monkeypatch.setattr(cohorts.subprocess, "run", run)
    return given


def _case(folder, *names):
    image, _ = brain(len(names))
    for name in names:
        array = lesion().astype(np.uint8) if "lesion" in name or "GOLD" in name else image
        write_volume(folder / f"{name}.nii.gz", array, AFFINE)


@pytest.fixture
def real(tmp_path):
    """Return a folder of real data, one or two people per set."""
    folder = tmp_path / "real"
    for number in (1, 2):
        names = ("T1", "T2", "FLAIR", "GOLD_STANDARD")
        _case(folder / "openms_mni_1mm" / f"patient{number}", *names)
    _case(folder / "tumour_brats_space" / "g", "g_t1", "g_t2", "g_fla", "t1", "t2", "fla")
    _case(folder / "wmh_manual_3mm" / "w", "T1", "T2", "FLAIR", "lesions")
    _case(folder / "arc_t2_stroke" / "a", "T2", "lesion")
    _case(folder / "brats_labelled" / "b", "b_flair", "b_seg")
    _case(folder / "lgg_flair_heads" / "TCGA1", "FLAIR", "lesion")
    _case(folder / "nichart_elderly_2mm" / "e", "T1", "FLAIR", "wmh_on_FLAIR")
    _, inside = brain(0)
    for path, name in (
        ("tumour_brats_space/g", "fused_simple"),
        ("nichart_elderly_2mm/e", "parcellation_on_T1"),
    ):
        write_volume(folder / path / f"{name}.nii.gz", 3 * inside.astype(np.uint8), AFFINE)
    return folder


def _rows(out):
    with out.with_name(f"{out.name}_raw").joinpath("scans.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("real_cases", {"ms1", "ms2", "glioma"}),
        ("flair_cases", {"ms-patient1", "ms-patient2", "g", "w", "b"}),
        ("t2_cases", {"ms-patient1", "ms-patient2", "g", "w", "a"}),
        ("lgg", {"TCGA1"}),
    ],
)
def test_every_listed_scan_is_there_and_nothing_is_prepared_twice(
    name, people, real, commands, tmp_path
):
    out = cohorts.MAKERS[name](real, tmp_path / "cohorts")
    rows = _rows(out)
    assert {row["subject"] for row in rows} == people
    assert all(Path(row[key]).is_file() for row in rows for key in ("image", "lesion_mask"))
    (command,) = commands
    assert "preparation.steps.spacing_mm=2" in command
    assert cohorts.MAKERS[name](real, tmp_path / "cohorts") == out
    assert len(commands) == 1


def test_a_parcellation_becomes_the_brain_mask_of_the_other_sequence(
    real, commands, tmp_path, monkeypatch
):
    def no_motion(**_):
        return lambda fixed, moving: SimpleNamespace(matrix=np.eye(4))

    monkeypatch.setattr(cohorts, "Register", no_motion)
    (row,) = _rows(cohorts.elderly(real, tmp_path / "cohorts"))
    _, inside = brain(0)
    assert (read_mask(Path(row["brain_mask"])) == inside).mean() > 0.95
    assert commands[0][-1] == "preparation/skullstrip=given"


def test_an_ellipsoid_changes_its_own_voxels_alone():
    rng = np.random.default_rng(0)
    image, inside = rng.random((40, 40, 20), np.float32), np.ones((40, 40, 20), bool)
    painted, mask = slabs.paint(image, inside, rng)
    assert (painted != image)[mask].all()
    # The border is soft over a voxel.
    near = ndimage.binary_dilation(mask, np.ones((3, 3, 3)), iterations=3)
    np.testing.assert_allclose(painted[~near], image[~near])


@pytest.fixture
def prepared(tmp_path):
    """Return a prepared cohort of nine slabs, each healthy and with the box lesion."""
    source = write_tiny_cohort(tmp_path / "cohort", train=9, val=0, test=0, sick=0)
    path = tmp_path / "cohort" / "manifest.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    write_volume(tmp_path / "lesion.nii.gz", lesion().astype(np.uint8), AFFINE)
    more = []
    for row in rows:
        scan = next(scan for scan in source.scans if scan.subject == row["subject"])
        image = read_volume(scan.image)
        sick = tmp_path / f"{row['subject']}p.nii.gz"
        write_volume(sick, image.array + 0.4 * lesion(), image.affine)
        more.append(row | {"subject": f"{row['subject']}p", "image": sick, "healthy": "false"})
        more[-1] |= {"lesion_mask": tmp_path / "lesion.nii.gz", "split": "test"}
        more[-1]["pathology"] = "painted"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, *more])
    return tmp_path / "cohort"


def test_a_fold_tests_painted_scans_of_people_it_has_not_seen(prepared):
    folds = [read_cohort(slabs.deal(prepared, fold)).scans for fold in range(slabs.FOLDS)]
    tested = [scan.subject for scans in folds for scan in scans if scan.split == "test"]
    assert len(tested) == len(set(tested)) == 9
    for scans in folds:
        seen = {scan.subject for scan in scans if scan.split != "test"}
        sick = [scan for scan in scans if scan.split == "test"]
        assert not seen & {scan.subject.removesuffix("p") for scan in sick}
        assert {scan.split for scan in scans} == {"train", "val", "test"}
        assert all(scan.contrast > 1 and scan.twin is not None for scan in sick)


def test_slabs_are_listed_healthy_and_painted(tmp_path, commands):
    image, inside = brain(0)
    for name in ("s1", "s2"):
        folder = tmp_path / "real" / "t1_slabs_1mm" / name
        write_volume(folder / "T1.nii.gz", image, AFFINE)
        write_volume(folder / "labels.nii.gz", inside.astype(np.uint8), AFFINE)
    out = slabs.prepare(tmp_path / "real", tmp_path, 1)
    with (tmp_path / "raw" / "slabs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["subject"] for row in rows] == ["s1", "s1p", "s2", "s2p"]
    assert all((tmp_path / "raw" / row["image"]).is_file() for row in rows)
    assert slabs.prepare(tmp_path / "real", tmp_path, 1) == out
    assert len(commands) == 1


def test_real_patients_are_tested_at_the_level_of_the_slabs(real, commands, prepared, tmp_path):
    out = slabs.with_real_lesions(prepared, real, tmp_path)
    new = [scan for scan in read_cohort(out).scans if scan.pathology == "ms"]
    assert new
    assert all(scan.split == "test" for scan in new)
    cut = nib.load(tmp_path / "real" / "ms1_brain.nii.gz").get_fdata().any(axis=(0, 1))
    assert 0 < cut.sum() < 4
