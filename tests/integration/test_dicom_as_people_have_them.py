"""DICOM folders as people have them, through `brainuad-predict`: read as meant, or said why not."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dicom_files import (
    MOSAIC,
    mosaic_fields,
    mosaic_of,
    tags_of,
    write_csa,
    write_enhanced,
    write_mosaic,
    write_series,
    write_slice,
)
from tiny import write_tiny_model

from brainuad.cli import predict
from brainuad.volumes.nifti import read_volume

SHAPE = (40, 48, 40)
AFFINE = np.array([[-4.0, 0, 0, 80], [0, -4, 0, 96], [0, 0, 4, -80], [0, 0, 0, 1]])


def brain():
    """A brain of 1,300 ml without its skull."""
    rng = np.random.default_rng(1)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.8) ** 2 < 1
    tissue = 500 + 200 * np.cos(4 * x + 0.1) * np.cos(4 * y) + 100 * z
    return np.where(mask, tissue + 20 * rng.standard_normal(SHAPE), 0).clip(0).astype("u2")


A = brain()

REASONS = {
    "gap": "7 slices are missing between -24 and 8 mm; copy or export the series again",
    "one": "1 slice is missing between -12 and -4 mm",
    "tilt": "stacked at 27 degrees to their normal",
    "nowhere": "40 of 40 slices tell no position (0020,0032)",
    "echoes": "1_004.dcm and 2_004.dcm at one position; they differ in echo number (1, 2); put",
    "mosaic": "a Siemens mosaic, all slices side by side in one image, whose header tells no "
    "usable number of slices (CSA NumberOfImagesInMosaic), no direction of slices (CSA "
    "SliceNormalVector), no distance of slices (0018,0088); export it as one file per slice or as "
    "enhanced DICOM, or convert it with dcm2niix to NIfTI",
}
NOTES = {
    "twice": "DICOM series; 40 copied slices are passed over",
    "onetwice": "DICOM series; 1 copied slices are passed over",
    "phases": "DICOM series; 40 phase images of the series are left out",
    "framed": "DICOM series",
    "tiled": "DICOM series",
}
ASIDE = {
    "planes/T1_loc": "a localizer: 30 slices in 3 directions",
    "ct/head": "CT: not a sequence that is asked for",
    "pet/T1w": "PET: not a sequence that is asked for",
    "mip/T1w": "projections, no volume of a head, by the image type in its files",
}


def write_all(root):
    """The faults 16 to 19 of people's DICOM folders, a person each."""
    for k in range(40):
        z, s = -80 + 4 * k, A[:, :, k].T
        place = {"tags": tags_of(k + 1, (-80, -96, z)), "pixels": s}
        if not 15 <= k < 22:
            write_slice(root / f"gap/T1w/{k:03d}.dcm", **place)
        if k != 18:
            write_slice(root / f"one/T1w/{k:03d}.dcm", **place)
        tilted = tags_of(k + 1, (-80, -96 - 2 * k, z))
        write_slice(root / f"tilt/T1w/{k:03d}.dcm", s, tilted)
        nowhere = tags_of(k + 1, (0, 0, 0), ImagePositionPatient=None)
        write_slice(root / f"nowhere/T1w/{k:03d}.dcm", s, nowhere)
        for echo in (1, 2):
            tags = tags_of(2 * k + echo, (-80, -96, z), EchoNumbers=echo)
            write_slice(root / f"echoes/T1w/{echo}_{k:03d}.dcm", s // echo, tags)
        for person in ("twice", "onetwice", "phases"):
            write_slice(root / f"{person}/T1w/{k:03d}.dcm", **place)
        write_slice(root / f"twice/T1w/{k:03d}_copy.dcm", **place)
        phase = tags_of(k + 101, (-80, -96, z), ImageType=["ORIGINAL", "PRIMARY", "P"])
        write_slice(root / f"phases/T1w/p{k:03d}.dcm", 0 * s + 97 * k % 4096, phase)
    write_slice(root / "onetwice/T1w/copy.dcm", A[:, :, 10].T, tags_of(11, (-80, -96, -40)))
    planes = [
        ((1, 0, 0, 0, 1, 0), lambda x: (-80, -96, x)),
        ((0, 1, 0, 0, 0, -1), lambda x: (x, -96, 80)),
        ((1, 0, 0, 0, 0, -1), lambda x: (-80, x, 80)),
    ]
    for i in range(30):
        turned, place = planes[i // 10]
        tags = tags_of(i + 1, place(-20 + 4 * (i % 10)), turned)
        write_slice(root / f"planes/T1_loc/{i:03d}.dcm", A[:, :, 15 + i % 10].T, tags)
    write_series(root / "ct/head", A, Modality="CT", SeriesDescription="HEAD 1.0 H31s")
    write_series(root / "pet/T1w", A, Modality="PT")
    mip = ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"]
    write_series(root / "mip/T1w", A, ImageType=mip)
    frames = [(A[:, :, k].T, tags_of(k + 1, (-80, -96, -80 + 4 * k))) for k in range(40)]
    write_enhanced(root / "framed/T1w/1.dcm", frames)
    mosaic = mosaic_of(A.transpose(2, 1, 0))
    write_mosaic(root / "mosaic/T1w/1.dcm", mosaic, tags_of(1, (-80, -96, -80), ImageType=MOSAIC))
    corner = (-80 - 3 * 40 * 4, -96 - 3 * 48 * 4, -80)
    csa = write_csa(mosaic_fields(40, (0, 0, 1)))
    tags = tags_of(1, corner, SpacingBetweenSlices=4, ImageType=MOSAIC)
    write_mosaic(root / "tiled/T1w/1.dcm", mosaic, tags, csa, 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.ckpt"
    return write_tiny_model(path, sequence="T1w", threshold=0.9)


def predicted(model, folder, out):
    words = [*map(str, (model, folder, out)), "--device", "cpu", "--no-page"]
    status = predict.main(words)
    return status, pd.read_csv(out / "subjects.csv", keep_default_na=False).set_index("scan_id")


@pytest.fixture(scope="module")
def dicom(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    write_all(folder / "dicom")
    status, table = predicted(model, folder / "dicom", folder / "out")
    assert status == 3
    assert set(table.index) == {f"{name}_T1w" for name in (*REASONS, *NOTES)}
    return folder, table


@pytest.mark.parametrize("name", REASONS)
def test_a_series_that_is_no_volume_is_refused_by_its_folder(dicom, name):
    folder, table = dicom
    row = table.loc[f"{name}_T1w"]
    assert row.status == "failed"
    assert row.reason.startswith(f"{folder / 'dicom' / name / 'T1w'}: ")
    assert REASONS[name] in row.reason


@pytest.mark.parametrize("name", NOTES)
def test_a_series_with_more_than_its_volume_is_read_and_the_rest_noted(dicom, name):
    row = dicom[1].loc[f"{name}_T1w"]
    assert row.status == "done", row.reason
    assert row.notes == NOTES[name]
    scan = read_volume(Path(row.image))
    assert np.array_equal(scan.array, A)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-4)


def test_images_of_another_kind_are_left_aside_with_the_reason(dicom):
    folder, _ = dicom
    with (folder / "out/left_aside.csv").open(encoding="utf-8") as file:
        said = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    for name, reason in ASIDE.items():
        (found,) = [text for file, text in said.items() if file.endswith(name)]
        assert found.startswith(reason)


def test_a_side_is_printed_only_where_the_header_tells_it(model, tmp_path):
    array = A.astype("float32")
    array[26:30, 22:26, 18:22] += 600
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -2.0 * (np.array(SHAPE) - 1)
    (tmp_path / "scans").mkdir()
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 0)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "scans/none_T1w.nii.gz")
    image.set_qform(affine * [[-1], [1], [1], [1]], 1)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "scans/conflict_T1w.nii.gz")
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "scans/told_T1w.nii.gz")
    _, table = predicted(model, tmp_path / "scans", tmp_path / "out")
    assert "left and right are a guess" in table.loc["none_T1w"].notes
    assert "disagree about left and right" in table.loc["conflict_T1w"].notes
    found = pd.read_csv(tmp_path / "out/findings.csv", keep_default_na=False)
    sides = {name: set(own.side) for name, own in found.groupby("scan_id")}
    assert sides["none_T1w"] == sides["conflict_T1w"] == {""}
    assert "" not in sides["told_T1w"]
