import errno
import json
import os
import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from commands import start
from nibabel.affines import apply_affine
from tiny import AFFINE, brain, lesion, write_tiny_cohort, write_tiny_model

from brainuad.cli import predict
from brainuad.inference import outputs
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.model import know
from brainuad.model import model as model_module
from brainuad.model.model import Model
from brainuad.settings.describe import recipe_of
from brainuad.types import Volume
from brainuad.volumes.dicom.read import quiet_gdcm

TURN = np.deg2rad(15)
OBLIQUE = np.array(
    [
        [-3 * np.cos(TURN), 3 * np.sin(TURN), 0, 30],
        [3 * np.sin(TURN), 3 * np.cos(TURN), 0, -50],
        [0, 0, 3, -20],
        [0, 0, 0, 1],
    ]
)


def write_scan(path, seed=0, sick=True, affine=OBLIQUE, codes=(1, 2)):
    """A tiny brain as a scanner writes it: 16 bits, an oblique grid, both orientations set."""
    image = brain(seed)[0] + 0.4 * lesion() * sick
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = nib.Nifti1Image(np.rint(900 * image).astype(np.int16), affine)
    scan.set_sform(affine, codes[0])
    scan.set_qform(affine, codes[1])
    nib.save(scan, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture
def run(model, tmp_path, capsys):
    """Runs the command and gives its status, what it said, and the table of subjects."""

    def call(scans, *words, model=model, out=tmp_path / "out"):
        status = predict.main([*map(str, (model, scans, out, "--no-page", *words))])
        said = capsys.readouterr()
        path = out / "subjects.csv"
        return status, said, pd.read_csv(path) if path.is_file() else None

    return call


def test_map_and_mask_lie_on_the_scan(run, tmp_path):
    path = write_scan(tmp_path / "scans" / "a_T2w.nii.gz")
    status, _, table = run(path)
    assert status == 0
    (row,) = table.itertuples()
    assert (row.scan_id, row.subject, row.sequence) == ("a_T2w", "a", "T2w")
    assert (row.image, row.status) == (str(path), "done")
    scan = nib.load(path)
    for name, kind in ((row.anomaly, np.float32), (row.mask, np.uint8)):
        found = nib.load(tmp_path / "out" / name)
        assert found.shape == scan.shape
        assert found.get_data_dtype() == kind
        np.testing.assert_array_equal(found.affine, scan.affine)
        for field in ("sform_code", "qform_code", "quatern_b", "srow_x", "pixdim"):
            np.testing.assert_array_equal(found.header[field], scan.header[field])
    mask = nib.load(tmp_path / "out" / row.mask).get_fdata() > 0
    # A box of 4 voxels a side, its corners blurred by the way there and back.
    assert (mask & lesion()).sum() > 0.7 * lesion().sum()
    assert (mask & ~lesion()).sum() < 0.1 * lesion().sum()
    findings = pd.read_csv(tmp_path / "out" / "findings.csv")
    first = findings.iloc[0]
    centre = apply_affine(OBLIQUE, np.argwhere(lesion()).mean(axis=0))
    assert np.linalg.norm(first[["x_mm", "y_mm", "z_mm"]] - centre) < 3
    # Voxel 15.5 of 24 along an axis that runs to the left.
    assert first.side == "left"
    assert row.n_findings == len(findings)
    assert row.volume_mm3 == pytest.approx(findings.volume_mm3.sum(), rel=1e-4)
    assert row.volume_mm3 == pytest.approx(27 * mask.sum(), rel=1e-4)
    assert first.peak > row.threshold == 0.75
    # It was registered to nothing, drew nothing, and has no cohort to compare with.
    assert findings[["mni_x", "region", "uncertainty", "support"]].isna().all().all()
    assert pd.isna(row.percentile)
    assert pd.isna(row.reconstruction)


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (4, 0)])
def test_the_orientation_is_kept_as_it_was_said(run, tmp_path, codes):
    path = write_scan(tmp_path / "T2w.nii", affine=np.diag([-3.0, 3, 3, 1]), codes=codes)
    status, _, table = run(path)
    assert status == 0
    found, scan = nib.load(tmp_path / "out" / table["mask"][0]), nib.load(path)
    np.testing.assert_array_equal(found.affine, scan.affine)
    assert found.header["sform_code"] == scan.header["sform_code"]
    assert found.header["qform_code"] == scan.header["qform_code"]


def test_a_second_run_does_only_what_is_missing_or_changed(run, tmp_path, monkeypatch, model):
    scans = tmp_path / "scans"
    for index in range(3):
        write_scan(scans / f"s{index}_T2w.nii.gz", index)
    status, said, first = run(scans)
    assert status == 0
    assert "to do: 3 scans;" in said.out
    seen = []
    write = outputs.write_prediction

    def spy(out, wanted, *rest):
        seen.append(wanted.scan_id)
        return write(out, wanted, *rest)

    monkeypatch.setattr(outputs, "write_prediction", spy)
    _, said, again = run(scans)
    assert "to do: 0 scans, 3 are done already" in said.out
    pd.testing.assert_frame_equal(again, first)
    (tmp_path / "out" / first["mask"][1]).unlink()
    write_scan(scans / "s2_T2w.nii.gz", 7, sick=False)
    _, said, again = run(scans)
    assert sorted(seen) == ["s1_T2w", "s2_T2w"]
    assert list(again.scan_id) == list(first.scan_id)
    assert again.volume_mm3[2] != first.volume_mm3[2]
    assert list(again.volume_mm3[:2]) == list(first.volume_mm3[:2])
    for words in (["--threshold", "0.9"], ["preparation.steps.spacing_mm=4"]):
        assert "to do: 3 scans;" in run(scans, *words)[1].out
    # The same weights and card in another file are the same model.
    copy = tmp_path / "copy.ckpt"
    Model.load(model).save(copy)
    assert "to do: 3 scans;" in run(scans)[1].out
    assert "to do: 0 scans" in run(scans, model=copy)[1].out


def test_a_dry_run_says_all_writes_nothing_and_loads_no_weights(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", None)
    scans = tmp_path / "scans"
    for name in ("a_T2w", "b_T2w", "b_FLAIR", "c"):
        write_scan(scans / f"{name}.nii.gz")
    status, said, table = run(scans, "--dry-run")
    assert status == 0
    assert table is None
    assert not (tmp_path / "out").exists()
    for words in (
        "intensity for T2w, 1 subjects of tiny",
        "NIfTI files with 3 T2w scans; left aside: 1 FLAIR",
        "of 1 scans the name tells no sequence; they are taken for T2w",
        "as the model's training scans, without an atlas, at 3 mm",
        "to do: 3 scans; threshold 0.75",
    ):
        assert words in said.out
    assert (
        "2 T2w scans; left aside: 2 FLAIR" in run(scans, "--dry-run", "--sequence", "FLAIR")[1].out
    )


def test_a_dry_run_knows_what_is_done(run, tmp_path, model, monkeypatch):
    scans = tmp_path / "scans"
    for name in ("a_T2w", "b_T2w"):
        write_scan(scans / f"{name}.nii.gz")
    run(scans)
    write_scan(scans / "c_T2w.nii.gz")
    assert "to do: 1 scans, 2 are done already" in run(scans, "--dry-run")[1].out
    assert "to do: 3 scans;" in run(scans, "--dry-run", "--threshold", "0.9")[1].out
    # A file that was never loaded here.
    copy = tmp_path / "copy.ckpt"
    Model.load(model).save(copy)
    loads = []
    with monkeypatch.context() as patch:
        patch.setattr(
            know, "_hash_of", lambda path, own=know._hash_of: loads.append(path) or own(path)
        )
        assert "to do: 1 scans, 2 are" in run(scans, "--dry-run", model=copy)[1].out
    assert loads == [copy]
    # Another model in its place.
    other = Model.load(copy)
    other.card = replace(other.card, flips=True)
    other.save(copy)
    assert "to do: 3 scans;" in run(scans, "--dry-run", model=copy)[1].out


def test_a_dry_run_refuses_a_model_in_the_words_of_the_run(run, tmp_path):
    scans, bad = write_scan(tmp_path / "a_T2w.nii.gz"), tmp_path / "bad.ckpt"
    bad.write_bytes(b"nothing")
    for model in (bad, tmp_path / "none.ckpt"):
        status, said, _ = run(scans, "--dry-run", model=model)
        assert (status, said.err) == (2, run(scans, model=model)[1].err)


def test_the_left_is_the_patients_left_in_both_conventions(run, tmp_path):
    image = brain(0)[0] + 0.4 * lesion()
    # Voxel 15.5 of 24: on the left if the first axis runs to the left, as radiologists store it.
    radiological = np.diag([-3.0, 3, 3, 1])
    radiological[:3, 3] = (34.5, -40, -30)
    neurological = radiological @ np.diag([-1.0, 1, 1, 1])
    neurological[:3, 3] = apply_affine(radiological, [23, 0, 0])
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, array, affine in (
        ("radiological", image, radiological),
        ("neurological", image[::-1], neurological),
    ):
        path = scans / f"{name}_T2w.nii.gz"
        scan = nib.Nifti1Image(np.rint(900 * array).astype(np.int16), affine)
        scan.set_sform(affine, 1)
        nib.save(scan, path)
        # An independent reader: the world of ITK runs from the right to the left.
        seen = sitk.ReadImage(path)
        bright = np.argwhere(sitk.GetArrayViewFromImage(seen) > 900 * 0.8).mean(axis=0)[::-1]
        assert seen.TransformContinuousIndexToPhysicalPoint(bright.tolist())[0] > 10
    status, _, _ = run(scans)
    assert status == 0
    texts = [
        (tmp_path / "out" / f"{name}_T2w/{name}_T2w_findings.txt").read_text()
        for name in ("radiological", "neurological")
    ]
    for text in texts:
        assert "\n1. Left side. Brighter than the tissue around it" in text
        assert "Left and right are the patient's own." in text
    # Beside the name, both say the same.
    assert texts[0].replace("radio", "neuro") == texts[1]


def test_one_bad_scan_stops_nothing_and_is_listed(run, tmp_path):
    scans = tmp_path / "scans"
    write_scan(scans / "a_T2w.nii.gz")
    (scans / "b_T2w.nii.gz").write_bytes(b"nothing")
    write_scan(scans / "c_T2w.nii.gz", 1)
    status, said, table = run(scans)
    assert status == 3
    assert f"b_T2w: {scans / 'b_T2w.nii.gz'}: not a NIfTI file" in said.err
    assert list(table.status) == ["done", "failed", "done"]
    assert "not a NIfTI file" in table.reason[1]
    assert table.iloc[1][["score", "n_findings", "mask"]].isna().all()
    assert [path.name for path in sorted((tmp_path / "out").rglob("*_findings.txt"))] == [
        "a_T2w_findings.txt",
        "c_T2w_findings.txt",
    ]
    assert "1 failed" in said.out
    assert not list((tmp_path / "out").glob(".*"))
    # Mended, it is done alone.
    write_scan(scans / "b_T2w.nii.gz", 2)
    status, said, table = run(scans)
    assert status == 0
    assert "to do: 1 scans, 2 are done" in said.out
    assert list(table.status) == ["done"] * 3


def test_a_bug_in_one_scan_stops_nothing_either(run, tmp_path, monkeypatch):
    scans = tmp_path / "scans"
    for index in range(2):
        write_scan(scans / f"s{index}_T2w.nii.gz", index)
    calls = []

    def breaks_once(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyError("nobody thought of it")
        return detect(*arguments, **options)

    detect = model_module.detect_volume
    monkeypatch.setattr(model_module, "detect_volume", breaks_once)
    status, said, table = run(scans)
    assert status == 3
    assert "KeyError: 'nobody thought of it'; please report this" in said.err
    assert list(table.status) == ["failed", "done"]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("a_FLAIR.nii.gz", [], r"no T2w scan, which this model is for \(found: 1 FLAIR\)"),
        ("a_T2w.nii.gz", ["--samples", "4"], "IntensityDetector draws nothing"),
        ("a_T2w.nii.gz", ["preparation=nothing"], "preparation/nothing"),
        ("a_T2w.nii.gz", ["sequence=T2w"], "no change of the preparation"),
        ("a_T2w.nii.gz", ["--precision", "half"], "use one of auto, 32-true"),
        ("a_T2w.nii.gz", ["--batch-size", "0"], "batch size is 0"),
        ("a_T2w.nii.gz", ["--device", "quantum"], "device quantum cannot be used"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, name, words, message):
    status, said, _ = run(write_scan(tmp_path / "scans" / name), *words)
    assert status == 2
    assert said.err.count("\n") == 1
    assert re.search(message, said.err), said.err


def test_paths_that_are_not_there_or_in_the_way(run, tmp_path, capsys):
    assert "no such file or folder" in run(tmp_path / "none")[1].err
    (tmp_path / "file").touch()
    status = run(write_scan(tmp_path / "a_T2w.nii.gz"), out=tmp_path / "file")[0]
    assert status == 2
    assert "no such checkpoint" in run(tmp_path, model=tmp_path / "none.ckpt")[1].err


def test_a_bids_dataset_gives_a_bids_derivative(run, tmp_path):
    root = tmp_path / "bids"
    (root).mkdir()
    (root / "dataset_description.json").write_text("{}")
    write_scan(root / "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz")
    write_scan(root / "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz", 1)
    write_scan(root / "sub-02/anat/sub-02_run-1_T2w.nii.gz", 2)
    write_scan(root / "sub-02/anat/sub-02_T1w.nii.gz", 2)
    status, said, table = run(root)
    assert status == 0
    assert "a BIDS dataset with 3 T2w scans; left aside: 1 T1w" in said.out
    assert list(table.scan_id) == ["sub-01_ses-1_T2w", "sub-01_ses-2_T2w", "sub-02_run-1_T2w"]
    assert list(table.subject) == ["sub-01", "sub-01", "sub-02"]
    out = tmp_path / "out"
    for name in (
        "sub-01/ses-2/anat/sub-01_ses-2_desc-anomaly_T2w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_label-lesion_desc-T2w_mask.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_desc-findings_T2w.txt",
        "sub-02/anat/sub-02_run-1_label-lesion_desc-T2w_mask.nii.gz",
    ):
        assert (out / name).is_file()
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "brainuad"


def _write_dicom(folder):
    """The tiny brain as a DICOM series of axial slices."""
    folder.mkdir(parents=True)
    image = brain(0)[0] + 0.4 * lesion()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(image.shape[2]):
        slab = sitk.GetImageFromArray(np.rint(900 * image[:, :, z].T).astype(np.int16)[None])
        slab.SetSpacing((3, 3, 3))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.3.4",
            "0020|000d": "1.2.3",
            "0020|0032": f"0\\0\\{3 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(z),
            "0008|0018": f"1.2.3.4.{z + 1}",
        }
        for tag, value in tags.items():
            slab.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z:03d}.dcm"))
        with quiet_gdcm():
            writer.Execute(slab)


def test_a_dicom_series_comes_with_the_scan_to_look_at(run, tmp_path):
    _write_dicom(tmp_path / "dicom" / "anna" / "T2w")
    status, said, table = run(tmp_path / "dicom")
    assert status == 0, said.err
    assert "DICOM series with 1 T2w scans" in said.out
    scan = nib.load(table.image[0])
    assert table.image[0].startswith(str(tmp_path / "out"))
    mask = nib.load(tmp_path / "out" / table["mask"][0])
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.affine, scan.affine)
    inside = mask.get_fdata() > 0
    assert scan.get_fdata()[inside].min() > scan.get_fdata()[~inside].mean()


def test_a_csv_names_scans_and_brain_masks(run, tmp_path):
    write_scan(tmp_path / "x.nii.gz")
    nib.save(nib.Nifti1Image(brain(0)[1].astype(np.uint8), OBLIQUE), tmp_path / "m.nii.gz")
    rows = "subject,image,sequence,brain_mask\nanna,x.nii.gz,t2,m.nii.gz\n"
    (tmp_path / "list.csv").write_text(rows)
    status, _, table = run(tmp_path / "list.csv")
    assert status == 0
    assert (table.scan_id[0], table.subject[0]) == ("anna_T2w", "anna")


def test_scans_of_one_name_are_kept_apart_and_results_are_no_input(run, tmp_path):
    scans = tmp_path / "scans"
    for visit in ("first", "second"):
        write_scan(scans / visit / "anna_T2w.nii.gz")
    status, _, table = run(scans, out=scans / "out")
    assert status == 0
    assert list(table.scan_id) == ["first_anna_T2w", "second_anna_T2w"]
    assert "to do: 0 scans, 2 are done" in run(scans, out=scans / "out")[1].out


@pytest.mark.slow
def test_two_commands_at_once_into_one_folder_do_not_meet(model, tmp_path):
    for seed in range(3):
        write_scan(tmp_path / "scans" / f"s{seed}_T2w.nii.gz", seed)
    mine = tmp_path / "out" / ".work"
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("mine")
    words = [str(model), str(tmp_path / "scans"), str(tmp_path / "out"), "--no-page"]
    both = [start(predict.main, *words) for _ in range(2)]
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]
    table = pd.read_csv(tmp_path / "out" / "subjects.csv")
    assert len(table) == 3
    assert "failed" not in set(table.status)
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [".work"]
    assert (mine / "thesis.tex").read_text() == "mine"


def test_a_full_disk_stops_at_the_first_scan_and_blames_none(run, tmp_path, monkeypatch):
    for seed in range(3):
        write_scan(tmp_path / "scans" / f"s{seed}_T2w.nii.gz", seed)
    asked = []
    replaced = os.replace

    def full(temporary, path):
        if "left_aside" in str(path):
            # It comes before the first scan.
            return replaced(temporary, path)
        asked.append(str(path))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("brainuad.machine.files.os.replace", full)
    status, said, table = run(tmp_path / "scans", "preparation.steps.spacing_mm=3")
    assert status == 2
    assert sum(name.endswith(".nii.gz") for name in asked) == 1
    assert said.err.count("\n") == 1
    assert "cannot be written (No space left on device)" in said.err
    assert table is None or "failed" not in set(table.status)


def test_a_prepared_cohort_is_not_prepared_again(run, tmp_path, model):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    own = write_tiny_model(tmp_path / "own.ckpt", split_hash=cohort.split_hash())
    status, said, table = run(cohort.root, "--keep-maps", model=own)
    assert status == 0
    # The model says that it was trained on sub00.
    assert "7 T2w scans; 1 that the model was trained on left out" in said.out
    assert "sub00" not in set(table.scan_id)
    sick = next(scan for scan in cohort.scans if not scan.healthy)
    scan = nib.load(sick.image).get_fdata(dtype=np.float32)
    raw = nib.load(tmp_path / "out" / "prepared" / f"{sick.subject}_anomaly.nii.gz")
    np.testing.assert_array_equal(raw.get_fdata(dtype=np.float32), scan)
    np.testing.assert_array_equal(raw.affine, AFFINE)
    about = json.loads((tmp_path / "out" / "prepared" / "maps.json").read_text())
    assert about["trained_on"] == ["sub00"]
    # Another cohort's sub00 is somebody else.
    assert len(run(cohort.root, model=model, out=tmp_path / "other")[2]) == 8


def test_folds_are_averaged_with_how_far_they_agree(run, tmp_path):
    # On the prepared grid, where no interpolation comes between.
    scans = write_tiny_cohort(tmp_path / "cohort", 0, 1, 0, 0).root
    folds = [
        write_tiny_model(tmp_path / f"{k}.ckpt", "strega", seed=k, threshold=0.5 + 0.1 * k)
        for k in range(3)
    ]
    maps = []
    for k, fold in enumerate(folds):
        _, _, table = run(scans, model=fold, out=tmp_path / f"out{k}")
        maps.append(nib.load(tmp_path / f"out{k}" / table.anomaly[0]).get_fdata())
        assert pd.isna(table.uncertainty[0])
    also = [word for fold in folds[1:] for word in ("--also", str(fold))]
    _, said, table = run(scans, *also, model=folds[0])
    assert "3 models averaged" in said.out
    assert table.threshold[0] == pytest.approx(0.6)
    found = {
        kind: nib.load(tmp_path / "out" / table[kind][0]).get_fdata()
        for kind in ("anomaly", "uncertainty")
    }
    np.testing.assert_allclose(found["anomaly"], np.mean(maps, axis=0), atol=1e-6)
    np.testing.assert_allclose(found["uncertainty"], np.std(maps, axis=0), atol=1e-6)
    # Untrained networks hardly differ.
    assert found["uncertainty"].max() > 1e-4
    findings = pd.read_csv(tmp_path / "out" / "findings.csv")
    assert set(np.round(findings.support * 3, 3)) <= {0, 1, 2, 3}
    np.testing.assert_array_equal(findings.marked, findings.support < 0.5)
    other = write_tiny_model(tmp_path / "other.ckpt", "strega", sequence="FLAIR")
    status, said, _ = run(scans, "--also", other, model=folds[0])
    assert status == 2
    assert "has another sequence than" in said.err


def test_the_command_names_a_threshold_of_the_model(run, tmp_path):
    known = {"scan": [2.0, 0.95], "mebin": [0.5, 0.8], "fixed": 0.6}
    model = write_tiny_model(tmp_path / "m.ckpt", threshold=0.75, thresholds=known)
    scan = write_scan(tmp_path / "a_T2w.nii.gz")
    masks, limits = {}, {}
    for name in ("healthy", "scan", "mebin", "fixed"):
        _, said, table = run(scan, "--threshold", name, model=model)
        limits[name] = table.threshold[0]
        masks[name] = nib.load(tmp_path / "out" / table["mask"][0]).get_fdata() > 0
        assert "to do: 1 scans" in said.out, "another threshold is another result"
    assert limits["healthy"] == 0.75
    assert limits["fixed"] == 0.6
    assert 0.5 < limits["mebin"] <= 0.8
    score = nib.load(tmp_path / "out" / table.anomaly[0]).get_fdata()
    inside = np.sort(score[score > 0])
    middle, upper = inside[[int(0.5 * inside.size), int(0.95 * inside.size)]]
    assert limits["scan"] == pytest.approx(middle + 2 * (upper - middle), rel=0.02)
    assert np.count_nonzero(masks["fixed"]) >= np.count_nonzero(masks["healthy"]) > 0
    _, said, _ = run(scan, "--threshold", "scan", "--dry-run", model=model)
    assert "threshold 2 on each scan's own scale" in said.out


def test_a_model_without_a_threshold_of_that_name_says_so(run, tmp_path):
    scan = write_scan(tmp_path / "a_T2w.nii.gz")
    status, said, _ = run(scan, "--threshold", "scan")
    assert status == 2
    assert "holds no threshold 'scan'; give one with --threshold" in said.err
    status, said, _ = run(scan, "--threshold", "best")
    assert status == 2
    assert "nor one of healthy, scan, mebin, fixed" in said.err


def test_relative_models_find_their_scans_places_whatever_the_grid(run, model, tmp_path):
    """Healthy brains score 1 in the left half of the world and 3 in the right one."""
    scan = write_scan(tmp_path / "scans" / "a_T2w.nii.gz")
    relative = Model.load(model)
    target = "brainuad.methods.parts.relative_to_healthy.RelativeToHealthy"
    relative.card = replace(relative.card, relative={"_target_": target})
    relative.relative = RelativeToHealthy(sigma=0, floor=0.5)
    # A grid of two voxels for the whole world, and a metre each: nothing like the scan's.
    halves = Volume(np.array([1.0, 3.0]).reshape(2, 1, 1), np.diag([1e3, 1e3, 1e3, 1]))
    halves.affine[0, 3] = -500
    relative.relative.measure([(halves, np.ones((2, 1, 1), bool))])
    relative.save(tmp_path / "relative.ckpt")
    _, _, table = run(scan, "--threshold", "0.1")
    plain = nib.load(tmp_path / "out" / table.anomaly[0])
    _, _, table = run(
        scan, "--threshold", "0.1", model=tmp_path / "relative.ckpt", out=tmp_path / "relative"
    )
    found = nib.load(tmp_path / "relative" / table.anomaly[0]).get_fdata()
    x = apply_affine(plain.affine, np.moveaxis(np.indices(found.shape), 0, -1))[..., 0]
    # Between the voxels' centres the mean is linear; the floor is half of the mean of both.
    expected = plain.get_fdata() / (1 + (x + 500) / 500 + 1)
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())
    # Scores relative to healthy ones have another scale.
    _, said, table = run(scan, "--also", str(tmp_path / "relative.ckpt"))
    assert "threshold 1 times each model's own" in said.out
    assert table.threshold[0] == 1


def test_models_of_several_methods_are_averaged_on_the_scale_of_their_thresholds(run, tmp_path):
    scans = write_tiny_cohort(tmp_path / "cohort", 0, 1, 0, 0).root
    thresholds = {"intensity": 0.5, "strega": 0.02}
    models = {
        name: write_tiny_model(tmp_path / f"{name}.ckpt", name, threshold=limit)
        for name, limit in thresholds.items()
    }
    parts = []
    for name, model in models.items():
        _, _, table = run(scans, model=model, out=tmp_path / name)
        array = nib.load(tmp_path / name / table.anomaly[0]).get_fdata()
        parts.append(array / thresholds[name])
    both = ["--also", models["strega"]]
    _, _, table = run(scans, *both, model=models["intensity"])
    found = nib.load(tmp_path / "out" / table.anomaly[0]).get_fdata()
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-5, atol=1e-6)
    mask = nib.load(tmp_path / "out" / table["mask"][0]).get_fdata() > 0
    assert (found[mask] > 1).all()
    # Inputs and methods differ, and healthy scores of several methods have no common distribution.
    assert pd.isna(table.reconstruction[0])
    assert pd.isna(table.percentile[0])
    assert run(scans, *both, "--threshold", "3", model=models["intensity"])[2].threshold[0] == 3
    status, said, _ = run(scans, *both, "--threshold", "scan", model=models["intensity"])
    assert status == 2
    assert "models of several methods have no threshold 'scan'; use --threshold NUMBER" in said.err


def test_a_model_without_a_scale_is_refused_beside_another_method(run, tmp_path):
    scan = write_scan(tmp_path / "a_T2w.nii.gz")
    other = write_tiny_model(tmp_path / "other.ckpt", "strega", threshold=0.0)
    status, said, _ = run(scan, "--also", other)
    assert status == 2
    assert "other.ckpt: its threshold is 0; models of several methods are averaged" in said.err


def test_draws_give_a_map_of_the_deviation(run, tmp_path):
    scan = write_scan(tmp_path / "a_T2w.nii.gz")
    model = write_tiny_model(tmp_path / "m.ckpt", "strega", threshold=0.4)
    status, _, table = run(scan, "--samples", "3", model=model)
    assert status == 0
    spread = nib.load(tmp_path / "out" / table.uncertainty[0]).get_fdata()
    assert spread.max() > 0
    findings = pd.read_csv(tmp_path / "out" / "findings.csv")
    assert findings.uncertainty.notna().all()
    assert set(np.round(findings.support * 3, 3)) <= {0, 1, 2, 3}
    # Without them the file of the run before goes.
    _, _, table = run(scan, model=model)
    assert pd.isna(table.uncertainty[0])
    assert not list((tmp_path / "out").rglob("*uncertainty*"))


def test_the_reconstruction_comes_back_in_the_scans_brightness(run, tmp_path, monkeypatch):
    scan = write_scan(tmp_path / "a_T2w.nii.gz", sick=False)
    model = write_tiny_model(tmp_path / "m.ckpt", "strega")
    # A network that knows the healthy brain.
    monkeypatch.setattr(
        "brainuad.methods.strega.StRegA.reconstruct", lambda self, image, brain_mask: image
    )
    _, _, table = run(scan, model=model)
    found = nib.load(tmp_path / "out" / table.reconstruction[0]).get_fdata()
    truth = nib.load(scan).get_fdata()
    inside = found > 0
    assert inside.sum() > 0.9 * (truth > 0).sum()
    # What preparation blurs is what is left.
    assert np.abs(found - truth)[inside].mean() < 0.05 * np.ptp(truth)
    assert np.corrcoef(found[inside], truth[inside])[0, 1] > 0.9


def test_batches_that_do_not_fit_are_halved(run, tmp_path, monkeypatch):
    asked = []
    detect = model_module.detect_volume

    def tight(detector, tiling, image, mask, batch_size, affine, **options):
        asked.append(batch_size)
        if batch_size > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return detect(detector, tiling, image, mask, batch_size, affine, **options)

    monkeypatch.setattr(model_module, "detect_volume", tight)
    scans = [write_scan(tmp_path / "scans" / f"{k}_T2w.nii.gz", k) for k in range(2)]
    status, _, _ = run(scans[0].parent, "--batch-size", "8")
    assert status == 0
    # What did not fit is not tried again.
    assert asked == [8, 4, 2, 2]


def test_unsuitable_scans_are_flagged_and_done(run, tmp_path):
    statistics = {
        "percentiles": [0, 50, 100],
        "quantiles": [0.0, 0.5, 1.0],
        "measures": {
            "distance": [0.02, 0.03, 0.04, 0.05],
            "voxel_mm": [3.0, 3.0, 3.0, 3.0],
            "brain_ml": [1400.0, 1500.0, 1450.0, 1480.0],
        },
        "spacing_mm": 3.0,
        "scores": [0.1, 0.2, 0.3, 0.9],
    }
    model = write_tiny_model(tmp_path / "m.ckpt", statistics=statistics)
    status, said, table = run(write_scan(tmp_path / "a_T2w.nii.gz"), model=model)
    assert status == 0
    assert "1 flagged" in said.out
    assert table.status[0] == "flagged"
    # An ellipsoid of 100 ml is no brain of 1,450.
    assert "brain volume in ml is" in table.reason[0]
    assert "the species" in table.reason[0]
    assert "voxel" not in table.reason[0]
    assert "histogram" not in table.reason[0]
    assert table.percentile[0] in (75, 100)
    assert table["mask"].notna()[0]


def test_recipes_become_the_steps_again():
    from brainuad.preparation.recipes import default
    from brainuad.settings.instantiate import PREPARATION, instantiate

    recipe = default(2.0)
    for key in ("steps", "normalise", "limits"):
        made = instantiate(getattr(recipe, key), packages=PREPARATION)
        again = instantiate(recipe_of(made), packages=PREPARATION)
        assert recipe_of(again) == recipe_of(made)
