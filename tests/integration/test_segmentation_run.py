"""`brainuad-predict --dicom-seg`: findings of DICOM series as Segmentation objects."""

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import tags_of, write_enhanced, write_slice
from segmentation_reader import errors_in, labels_of, sources_of
from test_dicom_as_people_have_them import A, predicted
from tiny import write_tiny_model

from brainuad.cli import predict
from brainuad.inference import segmentations

pytestmark = pytest.mark.counted

WORLD = {"FrameOfReferenceUID": "1.2.77"}


def with_lesions(*places):
    array = A.copy()
    for x, y, z in places:
        array[x : x + 4, y : y + 3, z : z + 3] = 2500
    return array


def slices(array, **more):
    """The coronal slices of a brain, in which the columns go down."""
    for k in range(48):
        place = (-80, -96 + 4 * k, 76)
        tags = tags_of(k + 1, place, (1, 0, 0, 0, 0, -1), **(WORLD | more))
        yield array[:, k, ::-1].T, tags


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    root = tmp_path_factory.mktemp("series")
    lesions = [(12, 20, 14), (24, 26, 22), (20, 14, 25)]
    for k, (pixels, tags) in enumerate(slices(with_lesions(*lesions), PatientName="Doe^Anna")):
        # The names are in another order than the slices.
        write_slice(root / f"anna/T1w/{k * 29 % 48:02d}.dcm", pixels, tags)
    (root / "ben/T1w").mkdir(parents=True)
    write_enhanced(root / "ben/T1w/1.dcm", list(slices(with_lesions(lesions[0]), PatientID="P2")))
    # Single voxels are smaller than the 200 mm³ of a finding.
    speck = A.copy()
    speck[12:28:4, 14:34:4, 12:28:4] = 2500
    for k, (pixels, tags) in enumerate(slices(speck, PatientID="P3")):
        write_slice(root / f"carl/T1w/{k:02d}.dcm", pixels, tags)
    for k, (pixels, tags) in enumerate(slices(with_lesions(lesions[1]), PatientID="P4")):
        del tags["FrameOfReferenceUID"]
        write_slice(root / f"nowhere/T1w/{k:02d}.dcm", pixels, tags)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.ckpt"
    return write_tiny_model(path, sequence="T1w", threshold=0.8)


@pytest.fixture(scope="module")
def plain(series, model, tmp_path_factory):
    """A run without the option."""
    out = tmp_path_factory.mktemp("out")
    status, table = predicted(model, series, out)
    assert status == 0
    assert table.segmentation.eq("").all()
    assert not list(out.rglob("*.dcm"))
    return out


def run(model, series, out, capsys, *words):
    status = predict.main([*map(str, (model, series, out)), "--no-page", "--dicom-seg", *words])
    table = pd.read_csv(out / "subjects.csv", keep_default_na=False).set_index("scan_id")
    return status, table, capsys.readouterr()


@pytest.fixture
def objects(plain, series, model, capsys):
    """The same run with it."""
    return plain, *run(model, series, plain, capsys)


def test_a_second_run_with_the_option_adds_the_objects_alone(objects, series):
    out, status, table, said = objects
    assert "to do: 0 scans, 4 are done already" in said.out
    assert set(table.status) == {"done"}
    assert table.segmentation["anna_T1w"] == "anna_T1w/anna_T1w_segmentation.dcm"
    # Nothing to show.
    assert table.n_findings["carl_T1w"] == 0
    assert table.segmentation["carl_T1w"] == ""
    # One that cannot be referred to is listed at the end, and keeps its mask.
    assert status == 3
    assert "nowhere_T1w: " in said.err
    assert "tells no FrameOfReferenceUID" in said.err
    assert (out / table["mask"]["nowhere_T1w"]).is_file()
    assert len(list(out.rglob("*.dcm"))) == 2


def test_an_object_that_was_moved_away_is_written_again_where_it_is_asked_for(
    objects, series, model, capsys
):
    out, _, table, _ = objects
    file = out / table.segmentation["ben_T1w"]
    before = pydicom.dcmread(file)
    file.unlink()
    _, table = predicted(model, series, out)
    assert "ben_T1w" in table.index
    assert "to do: 0 scans, 4 are done already" in capsys.readouterr().out
    assert not file.exists()
    run(model, series, out, capsys)
    assert pydicom.dcmread(file).SOPInstanceUID == before.SOPInstanceUID


@pytest.mark.parametrize(("name", "count"), [("anna", 3), ("ben", 1)])
def test_segments_are_the_findings_of_the_table(objects, series, name, count):
    out, _, table, _ = objects
    row = table.loc[f"{name}_T1w"]
    mask = nib.load(out / row["mask"])
    labels = labels_of(out / row.segmentation, mask.affine, mask.shape)
    assert np.array_equal(labels > 0, mask.get_fdata() > 0)
    findings = pd.read_csv(out / "findings.csv").query(f"scan_id == '{name}_T1w'")
    assert len(findings) == count
    made = pydicom.dcmread(out / row.segmentation)
    for one, segment in zip(findings.itertuples(), made.SegmentSequence, strict=True):
        where = labels == one.finding
        assert where.sum() * 64 == pytest.approx(one.volume_mm3)
        centre = nib.affines.apply_affine(mask.affine, np.argwhere(where).mean(axis=0))
        np.testing.assert_allclose(centre, [one.x_mm, one.y_mm, one.z_mm], atol=1e-3)
        assert segment.SegmentLabel == f"Finding {one.finding}, {one.volume_mm3 / 1000:.2f} ml"
    for place, uid, frame in sources_of(out / row.segmentation):
        k = round((place[1] + 96) / 4)
        assert (
            (uid, frame) == (f"1.2.3.4.{k + 1}", None) if name == "anna" else ("1.2.3.4.1", k + 1)
        )
    assert made.FrameOfReferenceUID == "1.2.77"
    assert str(made.PatientName) == ("Doe^Anna" if name == "anna" else "")


def test_dciodvfy_finds_no_error(objects):
    out, _, table, _ = objects
    for name in ("anna_T1w", "ben_T1w"):
        assert errors_in(out / table.segmentation[name]) == []


def test_many_findings_share_the_last_segment_and_another_threshold_makes_a_new_object(
    objects, series, model, capsys, monkeypatch, tmp_path
):
    out, _, table, _ = objects
    before = pydicom.dcmread(out / table.segmentation["anna_T1w"])
    monkeypatch.setattr(segmentations, "MOST", 2)
    words = ["--threshold", "0.85"]
    _, table, _ = run(model, series / "anna", tmp_path / "out", capsys, *words)
    (row,) = table.itertuples()
    mask = nib.load(tmp_path / "out" / row.mask)
    labels = labels_of(tmp_path / "out" / row.segmentation, mask.affine, mask.shape)
    assert np.array_equal(labels > 0, mask.get_fdata() > 0)
    after = pydicom.dcmread(tmp_path / "out" / row.segmentation)
    first, rest = (one.SegmentLabel for one in after.SegmentSequence)
    assert first.startswith("Finding 1, ")
    volume = pd.read_csv(tmp_path / "out/findings.csv").volume_mm3[1:].sum()
    assert rest == f"Findings 2 to 3, {volume / 1000:.2f} ml"
    assert after.SOPInstanceUID != before.SOPInstanceUID


def test_it_is_refused_without_highdicom_and_without_dicom(
    plain, series, model, capsys, monkeypatch, tmp_path
):
    nib.save(nib.Nifti1Image(A.astype("f4"), np.diag([4, 4, 4, 1])), tmp_path / "a_T1w.nii.gz")
    words = [*map(str, (model, tmp_path / "a_T1w.nii.gz", tmp_path / "out")), "--dicom-seg"]
    assert predict.main(words) == 2
    assert "none of the scans is a DICOM series" in capsys.readouterr().err
    monkeypatch.setattr(segmentations, "find_spec", lambda name: None)
    assert predict.main([*map(str, (model, series, plain)), "--dicom-seg"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("pip install 'brainuad[dicom]'")
