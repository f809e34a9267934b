"""Values as people have them: what voxels hold, and whether files that belong together do."""

import csv
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from tiny import write_tiny_model

from brainuad.cli import predict, prepare
from brainuad.volumes.nifti import read_volume

SHAPE, MM = (40, 48, 40), 4.0
AFFINE = np.diag([MM, MM, MM, 1.0])
AFFINE[:3, 3] = -MM * (np.array(SHAPE) - 1) / 2
WORDS = ("preparation=extracted", "preparation.steps.spacing_mm=4")


def brain(seed=0):
    """A brain of 1,300 ml without its skull, and its mask."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.8) ** 2 < 1
    tissue = 500 + 200 * np.cos(4 * x + 0.3 * rng.standard_normal()) * np.cos(4 * y) + 100 * z
    return np.where(mask, tissue + 20 * rng.standard_normal(SHAPE), 0).astype("float32"), mask


def lesion(x=28):
    label = np.zeros(SHAPE, "uint8")
    label[x - 2 : x + 2, 22:26, 18:22] = 1
    return label


def put(path, array, affine=AFFINE, scaling=None):
    """Write a file; with a slope and an intercept, by which its voxels are stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    if scaling is not None:
        image.header.set_slope_inter(*scaling)
    nib.save(image, path)


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def prepared(folder, out, *words):
    """Exit status, subjects of the manifest, and reasons of those that failed."""
    status = prepare.main([str(folder), str(out), *(words or WORDS)])
    manifest = {row["subject"]: row for row in rows(out / "manifest.csv")}
    return status, manifest, {row["subject"]: row["reason"] for row in rows(out / "failures.csv")}


def record(out, subject, sequence="T1w"):
    return json.loads((out / f"scans/{subject}_{sequence}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.ckpt"
    return write_tiny_model(path, sequence="T1w", threshold=0.9)


def predicted(model, folder, out, *words):
    status = predict.main([*map(str, (model, folder, out)), "--device", "cpu", *words])
    return status, pd.read_csv(out / "subjects.csv", keep_default_na=False).set_index("scan_id")


A, MASK = brain(1)
Z = np.where(MASK, (A - A[MASK].mean()) / A[MASK].std(), 0).astype("float32")
HEAD = (A + np.where(MASK, 0, 40 + 10 * np.random.default_rng(0).random(SHAPE))).astype("float32")


def _lost(where, value=np.nan, array=A):
    changed = array.copy()
    changed[where] = value
    return changed


VALUES = {
    "zscored": (Z, "intensities below 0: all are shifted"),
    "zscored_nan": (np.where(MASK, Z, np.nan), "intensities below 0: all are shifted"),
    "zscored_low": (np.where(MASK, Z, Z.min()), "intensities below 0: all are shifted"),
    "fov": (_lost(np.s_[:3]), "5760 NaN or infinite voxels are taken for background"),
    "part": (_lost(np.s_[:3, 10:20]), "1200 NaN or infinite voxels are taken for background"),
    "nan": (np.where(MASK, A, np.nan), "NaN or infinite voxels are taken for background"),
    "inf": (_lost(np.s_[2, 2, 2], np.inf), "1 NaN or infinite voxels are taken for background"),
    "minus": (np.where(MASK, A, -1024), "its background of -1024 is taken for 0"),
    "plus": (np.where(MASK, A, 100), "its background of 100 is taken for 0"),
    "white": (np.where(MASK, A, 4095), "its background of 4095 is taken for 0"),
    "minus_nan": (_lost(np.s_[:3], array=np.where(MASK, A, -99)), "its background of -99 is"),
    "huge": (A * 1e30, ""),
    "small": (A * 1e-30, ""),
}


@pytest.fixture(scope="module")
def values(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    put(folder / "scans/good_T1w.nii.gz", A)
    for name, (array, _) in VALUES.items():
        put(folder / f"scans/{name}_T1w.nii.gz", array.astype("float32"))
    # 16 bits, the air 0 and stored from -1024 on, as computed tomography has it.
    put(folder / "scans/stored_T1w.nii.gz", A.round().astype("int16"), scaling=(1, -1024))
    put(folder / "scans/hole_T1w.nii.gz", _lost(np.s_[20:22, 20:22, 20:22]))
    return folder, predicted(model, folder / "scans", folder / "out", "--no-page")


@pytest.mark.parametrize("name", [*VALUES, "stored"])
def test_a_brain_is_found_whatever_its_background_and_the_zero_of_its_intensities(values, name):
    """Its map is that of the same brain with an empty background."""
    folder, (status, table) = values
    assert status == 3
    row = table.loc[f"{name}_T1w"]
    assert row.status == "done", row.reason
    words = VALUES.get(name, ("", "intensities below 0: all are shifted by 1024"))[1]
    assert words in row.notes
    assert bool(row.notes) == bool(words)
    found, good = (read_volume(folder / "out" / table.loc[f"{one}_T1w"].anomaly).array
                   for one in (name, "good"))  # fmt: skip
    inside = ndimage.binary_erosion(MASK, iterations=2)
    assert not found[~ndimage.binary_dilation(MASK)].any()
    assert np.corrcoef(found[inside], good[inside])[0, 1] > 0.999
    # Shifted ones mix with the background at the rim, whose darkest voxels become 0.
    assert "shifted" in words or np.abs(found - good)[inside].max() < 0.02


def test_what_was_lost_in_the_brain_is_an_error_and_stops_nobody(values):
    _, (_, table) = values
    assert table.loc["hole_T1w"].status == "failed"
    assert "8 NaN or infinite voxels in its head; replace them" in table.loc["hole_T1w"].reason


def _graded(top=1.0, sigma=2.0):
    return ndimage.gaussian_filter(MASK.astype("float32"), sigma) * top


SEGMENTED = MASK * (1 + (A > 450) + (A > 550)).astype("uint8")
PARCELS = MASK * (1 + np.indices(SHAPE).sum(0) // 5).astype("uint8")
MASKS = {
    "good": (MASK.astype("uint8"), ""),
    "turned": (np.ascontiguousarray(MASK[::-1].transpose(2, 0, 1)).astype("uint8"), ""),
    "byte": (MASK.astype("uint8") * 255, ""),
    "words": (MASK.astype("uint16") * 4000, ""),
    "rounded": (MASK * np.float32(1.0000001), ""),
    "classes": (SEGMENTED, ""),
    "parcels": (PARCELS, ""),
    "probability": (_graded(), "holds probabilities up to 1; cut at 0.5"),
    "percent": (_graded(100).round().astype("uint8"), "up to 100; cut at 50"),
    "bytes": (_graded(255).round().astype("uint8"), "up to 255; cut at 127.5"),
    "resampled": (1.02 * _graded() - 0.01, "cut at 0.5"),
    "permille": (_graded(1000), "up to 1000; cut at 500"),
}
NO_MASKS = {
    "inverted": ((~MASK).astype("uint8"), "or it is inverted"),
    "inverted_probability": (1 - _graded(), "or it is inverted"),
    "offset": ((MASK + 1).astype("uint8"), "no voxel is 0, it has no background"),
    "all": (np.ones(SHAPE, "uint8"), "no voxel is 0, it has no background"),
    "faces": (_lost(np.s_[10:12, 10:12, 10:12], 0, np.ones(SHAPE)), "or it is inverted"),
    "head": (np.pad(np.ones((36, 44, 36), "uint8"), 2), "3650 ml, more than a brain has"),
    "empty": (np.zeros(SHAPE, "uint8"), "is empty"),
    "negative": (MASK - 0.5, "holds nothing below 0"),
    "lost": (np.where(MASK, 1, np.nan), "NaN or infinite voxels"),
    "elsewhere": (np.roll(MASK, 20, 0).astype("uint8"), "lies where its scan is empty"),
}


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    for name, (array, _) in (MASKS | NO_MASKS).items():
        put(folder / f"scans/{name}_T1w.nii.gz", A if name == "elsewhere" else HEAD)
        stored = array.astype("float32") if array.dtype == float else array
        # Last axis first, the first one from left to right: the same voxels in the same places.
        affine = AFFINE * [[-1], [1], [1], [1]] if name == "turned" else AFFINE
        order = [2, 0, 1, 3] if name == "turned" else [0, 1, 2, 3]
        put(folder / f"scans/{name}_brain_mask.nii.gz", stored, affine[:, order])
    words = ("preparation=extracted", "preparation/skullstrip=given", WORDS[1])
    return folder / "out", *prepared(folder / "scans", folder / "out", *words)


@pytest.mark.parametrize("name", MASKS)
def test_a_brain_mask_is_cut_at_half_of_its_range(masks, name):
    out, _, manifest, _ = masks
    assert name in manifest
    inside = _graded() > 0.5 if MASKS[name][1] else MASK
    assert record(out, name)["quality"]["brain_ml"] == pytest.approx(
        np.count_nonzero(inside) * MM**3 / 1000, rel=0.005
    )
    notes = " · ".join(record(out, name)["notes"])
    assert MASKS[name][1] in notes
    assert ("cut at" in notes) == bool(MASKS[name][1])


@pytest.mark.parametrize("name", NO_MASKS)
def test_a_mask_that_is_no_brain_is_refused_with_the_reason(masks, name):
    _, status, manifest, failures = masks
    assert status == 3
    assert name not in manifest
    assert NO_MASKS[name][1] in failures[name]
    assert f"{name}_brain_mask.nii.gz: " in failures[name]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        # Cut off by the field of view, brain and all: no brain is looked at where none was seen.
        (np.s_[:12], np.count_nonzero(MASK[12:])),
        # In the head, outside the brain.
        (np.s_[3:5, 3:5, 20:22], np.count_nonzero(MASK)),
        (np.s_[18:22, 20:24, 18:22], None),
    ],
)
def test_a_given_brain_tells_what_was_lost_in_it(tmp_path, where, left):
    from brainuad.preparation.transforms.load import LoadScand

    put(tmp_path / "a.nii.gz", _lost(where, array=HEAD))
    put(tmp_path / "mask.nii.gz", MASK.astype("uint8"))
    data = {"T1w": tmp_path / "a.nii.gz", "T1w.brain": tmp_path / "mask.nii.gz"}
    found = LoadScand("T1w", failures_key="failed")(data)
    if left is None:
        assert "64 NaN or infinite voxels in its head" in found["failed"]["T1w"]
    else:
        assert int(found["T1w.brain"].sum()) == left
        assert bool(np.isfinite(found["T1w"].numpy()).all())


def _moved(mm):
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


def _turned(array, axes):
    """The same voxels in the same places, stored in another order."""
    order = nib.orientations.axcodes2ornt(axes)
    change = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], order)
    image = nib.Nifti1Image(array, AFFINE).as_reoriented(change)
    return np.asarray(image.dataobj), image.affine


CLASSES = lesion() * np.uint8(2) + np.roll(lesion(), 3, 1)
CORNER = np.zeros(SHAPE, "uint8")
CORNER[:3, :3, :3] = 1
LABELS = {
    "plain": (lesion(), AFFINE, ""),
    "byte": (lesion() * 255, AFFINE, ""),
    "words": (lesion().astype("uint16"), AFFINE, ""),
    "float": (lesion() * np.float32(1.0000001), AFFINE, ""),
    "axis": (lesion()[..., None], AFFINE, ""),
    "rounded": (lesion(), _moved(0.02), "0.005 of a voxel off its scan's"),
    "fraction": (lesion(), _moved(0.8), "0.2 of a voxel off its scan's"),
    "mirrored": (lesion()[::-1], AFFINE * [[-1], [1], [1], [1]], "another order; reordered"),
    "permuted": (*_turned(lesion(), "PIR"), "another order; reordered"),
    "mirrored_permuted": (*_turned(lesion(), "SAL"), "another order; reordered"),
}
NO_LABELS = {
    "all": (np.ones(SHAPE, "uint8"), AFFINE, "no voxel is 0, it has no background"),
    "offset": (lesion() + np.uint8(1), AFFINE, "no voxel is 0, it has no background"),
    "inverted": (1 - lesion(), AFFINE, "its background is not 0, or it is inverted"),
    "larger": (np.pad(np.ones((30, 38, 30), "uint8"), 5), AFFINE, "times as large as the brain"),
    "brain": (
        brain(9)[1].astype("uint8"),
        AFFINE,
        "covers 100% of the brain; is it the brain mask",
    ),
    "outside": (CORNER, AFFINE, "only 0% of the lesion lies in the brain"),
    "mostly": (lesion(x=3), AFFINE, "of the lesion lies in the brain"),
    "shifted": (lesion(), _moved(2), "its affine differs"),
    "cropped": (lesion()[2:], AFFINE, "found grid (38, 48, 40), expected (40, 48, 40)"),
    "shares": (lesion() * np.float32(0.4), AFFINE, "a label holds whole numbers"),
    "below": (lesion() * np.float32(-1), AFFINE, "a label holds whole numbers"),
    "nan": (np.where(lesion(), 1, np.nan).astype("f4"), AFFINE, "NaN or infinite voxels"),
    "another": (brain(3)[0].round().astype("int16"), AFFINE, "a lesion label has few"),
}


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    some = {"classes": (CLASSES, AFFINE), "healthy": (0 * lesion(), AFFINE)}
    for name, (label, affine, *_) in (LABELS | NO_LABELS | some).items():
        put(folder / f"scans/{name}_T1w.nii.gz", brain(9)[0])
        put(folder / f"scans/{name}_lesion.nii.gz", label, affine)
    for i in range(3):
        put(folder / f"scans/h{i}_T1w.nii.gz", brain(i)[0])
    return folder / "out", *prepared(folder / "scans", folder / "out")


@pytest.mark.parametrize("name", LABELS)
def test_a_label_in_the_same_place_is_the_same_label(labels, name):
    out, _, manifest, _ = labels
    assert (manifest[name]["healthy"], manifest[name]["split"]) == ("false", "test")
    found, good = (read_volume(out / manifest[one]["lesion_mask"]) for one in (name, "plain"))
    assert np.array_equal(found.array, good.array)
    assert good.array.sum() == pytest.approx(64, abs=8)
    notes = " · ".join(record(out, name)["notes"])
    assert LABELS[name][2] in notes
    assert bool(notes) == bool(LABELS[name][2])


def test_the_classes_of_a_label_are_one_lesion_and_an_empty_one_is_none(labels):
    out, _, manifest, _ = labels
    assert read_volume(out / manifest["classes"]["lesion_mask"]).array.sum() > 64
    assert not read_volume(out / manifest["healthy"]["lesion_mask"]).array.any()


@pytest.mark.parametrize("name", NO_LABELS)
def test_a_label_that_is_not_of_this_brain_is_never_a_test_case(labels, name):
    _, status, manifest, failures = labels
    assert status == 3
    assert name not in manifest
    assert NO_LABELS[name][2] in failures[name]
    assert f"{name}_lesion.nii.gz: " in failures[name]


def test_an_evaluation_reads_the_label_where_the_preparation_did(labels):
    """A label in another order of axes lies in the same voxels of the native map."""
    from brainuad.volumes.nifti import read_label

    out, *_ = labels
    native = read_volume(out.parent / "scans/permuted_T1w.nii.gz")
    found = read_label(out.parent / "scans/permuted_lesion.nii.gz", like=native)
    assert np.array_equal(found, lesion() > 0)


def test_the_same_content_under_two_names_is_in_one_split_and_said(tmp_path, capsys):
    for i in range(5):
        put(tmp_path / f"scans/s{i}_T1w.nii.gz", brain(i)[0])
    content = (tmp_path / "scans/s0_T1w.nii.gz").read_bytes()
    for name in ("s7", "s8", "s9"):
        (tmp_path / f"scans/{name}_T1w.nii.gz").write_bytes(content)
    status, manifest, _ = prepared(tmp_path / "scans", tmp_path / "out")
    assert status == 0
    splits = {manifest[name]["split"] for name in ("s0", "s7", "s8", "s9")}
    assert len(splits) == 1
    said = capsys.readouterr().out
    assert "s0_T1w and s7_T1w and s8_T1w and s9_T1w have the same content" in said
    info = json.loads((tmp_path / "out/cohort.json").read_text(encoding="utf-8"))
    assert info["flags"]["s9_T1w"] == ["its file has the same content as s0_T1w, s7_T1w, s8_T1w"]
    assert "s1_T1w" not in info["flags"]
    assert "same content as s0_T1w" in (tmp_path / "out/qc.html").read_text(encoding="utf-8")


def test_one_file_listed_for_two_subjects_of_two_splits_is_refused(tmp_path, capsys):
    put(tmp_path / "a.nii.gz", A)
    put(tmp_path / "b.nii.gz", brain(2)[0])
    lines = ["image,subject,sequence,split", "a.nii.gz,p1,T1w,train", "a.nii.gz,p2,T1w,test"]
    (tmp_path / "a.csv").write_text("\n".join([*lines, "b.nii.gz,p3,T1w,val"]))
    assert prepare.main([str(tmp_path / "a.csv"), str(tmp_path / "out"), *WORDS]) == 2
    said = capsys.readouterr().err
    assert "a.nii.gz is listed for subjects p1 and p2; mend one of the rows" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_every_note_reaches_both_tables_and_both_pages(model, tmp_path):
    image = nib.Nifti1Image(A + 300.0 * lesion(), AFFINE)
    image.set_qform(AFFINE, 0)
    image.set_sform(None, 0)
    (tmp_path / "scans").mkdir()
    nib.save(image, tmp_path / "scans/none_T1w.nii.gz")
    image.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "scans/told_T1w.nii.gz")
    note = "no orientation in the header: left and right are a guess, check the picture"
    status, table = predicted(model, tmp_path / "scans", tmp_path / "out")
    assert status == 0
    assert table.notes.to_dict() == {"none_T1w": note, "told_T1w": ""}
    found = pd.read_csv(tmp_path / "out/findings.csv", keep_default_na=False)
    by_scan = {name: own for name, own in found.groupby("scan_id")}
    assert set(by_scan["none_T1w"].side) == {""}
    assert set(by_scan["none_T1w"].notes) == {note}
    assert "" not in set(by_scan["told_T1w"].side)
    assert set(by_scan["told_T1w"].notes) == {""}
    assert note in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    scripts = [path.read_text() for path in (tmp_path / "out/viewer/scans").glob("*.js")]
    assert sum(note in text for text in scripts) == 1
    prepared(tmp_path / "scans", tmp_path / "cohort")
    assert note in (tmp_path / "cohort/qc.html").read_text(encoding="utf-8")
    # And from a cohort folder, where the scan is prepared already.
    _, again = predicted(model, tmp_path / "cohort", tmp_path / "out2", "--no-page")
    assert again.loc["none"].notes == note


def test_a_page_of_tables_without_notes_can_still_be_made(model, tmp_path):
    from brainuad.reporting.viewer.rows import read_rows

    put(tmp_path / "scans/a_T1w.nii.gz", A)
    predicted(model, tmp_path / "scans", tmp_path / "out", "--no-page")
    for name in ("subjects.csv", "findings.csv"):
        table = pd.read_csv(tmp_path / "out" / name).drop(columns="notes")
        table.to_csv(tmp_path / "out" / name, index=False)
    assert [row.notes for row in read_rows(tmp_path / "out")] == [""]


def test_results_are_written_in_the_units_of_the_scan(model, tmp_path):
    for unit, factor in (("meter", 1e-3), ("micron", 1e3), ("mm", 1)):
        image = nib.Nifti1Image(A, np.diag([factor, factor, factor, 1]) @ AFFINE)
        image.header.set_xyzt_units(unit)
        (tmp_path / "scans").mkdir(exist_ok=True)
        nib.save(image, tmp_path / f"scans/{unit}_T1w.nii.gz")
    status, table = predicted(model, tmp_path / "scans", tmp_path / "out", "--no-page")
    assert status == 0
    assert table.volume_mm3.nunique() == 1
    assert table.score.nunique() == 1
    for unit in ("meter", "micron", "mm"):
        scan = nib.load(tmp_path / f"scans/{unit}_T1w.nii.gz")
        for kind in ("anomaly", "mask"):
            found = nib.load(tmp_path / "out" / table.loc[f"{unit}_T1w"][kind])
            np.testing.assert_array_equal(found.affine, scan.affine)
            assert found.header.get_xyzt_units()[0] == unit
