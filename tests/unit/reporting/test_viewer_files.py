"""What lies beside the page: small copies of the volumes in the right place, made only once."""

import base64
import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from predicted import (
    AFFINE,
    BOXES,
    HOSTILE,
    SHAPE,
    SUBJECT_COLUMNS,
    THRESHOLD,
    centre_mm,
    write_predictions,
    write_tables,
)

from brainuad.errors import InputError
from brainuad.reporting.viewer import write_page
from brainuad.reporting.viewer.copies import (
    MAX_VOXELS,
    frame_of,
    grey_levels,
    score_levels,
)
from brainuad.reporting.viewer.scan import key_of
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "out")


def _script(out: Path, scan_id: str) -> Path:
    return out / "viewer" / "scans" / f"{key_of(scan_id)}.js"


def _data(out: Path, scan_id: str) -> dict:
    stamp, call = _script(out, scan_id).read_text().splitlines()
    assert stamp.startswith("// ")
    return json.loads(re.fullmatch(r"brainuad\.receive\((.*)\);", call)[1])


def _volume(data: dict, name: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(data["volumes"][name])))


def _at(image: nib.Nifti1Image, mm: tuple[float, float, float]) -> float:
    voxel = np.rint((np.linalg.inv(image.affine) @ [*mm, 1.0])[:3]).astype(int)
    return float(image.get_fdata()[tuple(voxel)])


def test_copies_are_where_the_scan_is_and_of_its_brightness(out):
    write_page(out)
    data = _data(out, "sick")
    native = read_volume(Path(data["image"]))
    for box, (_, _, score) in enumerate(BOXES):
        mm = centre_mm(box)
        voxel = np.rint((np.linalg.inv(AFFINE) @ [*mm, 1.0])[:3]).astype(int)
        truth = float(native.array[tuple(voxel)])
        step = float(_volume(data, "scan").dataobj.slope)
        assert _at(_volume(data, "scan"), mm) == pytest.approx(truth, abs=step)
        assert _at(_volume(data, "reconstruction"), mm) == pytest.approx(0.9 * truth, abs=step)
        assert _at(_volume(data, "anomaly"), mm) == pytest.approx(score, abs=0.9 / 255)
        assert _at(_volume(data, "uncertainty"), mm) == pytest.approx(score / 4, abs=0.9 / 255)
    for name in data["volumes"]:
        image = _volume(data, name)
        assert image.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.prod(image.shape) < np.prod(SHAPE)
    # The outline runs around the mask and covers none of it.
    anomaly, ring = (_volume(data, name).get_fdata() for name in ("anomaly", "mask"))
    assert not ring[anomaly >= THRESHOLD - 1e-6].any()
    assert ring.sum() == sum(2 * (a * b + b * c + a * c) for _, (a, b, c), _ in BOXES)
    assert [one["finding"] for one in data["findings"]] == [1, 2]
    assert data["threshold"] == THRESHOLD
    assert not data["reduced"]


def test_the_copy_of_the_map_reaches_the_threshold_exactly_where_the_map_does(out):
    rng = np.random.default_rng(0)
    for threshold in (1e-6, 0.0371, 0.4, 0.99, 3.0):
        scores = rng.random((20, 20, 20), dtype=np.float32)
        scores[0, 0, 0] = threshold
        levels, step = score_levels(scores, threshold)
        level = round(threshold / step)
        assert level * step == pytest.approx(threshold)
        np.testing.assert_array_equal(levels >= level, scores >= np.float32(threshold))
    levels, step = score_levels(np.zeros((2, 2, 2)), None)
    assert not levels.any()
    assert step > 0


def test_large_scans_are_averaged_and_stay_in_place():
    array = np.zeros((350, 300, 250), np.float32)
    array[20:330, 20:290, 20:240] = 1
    array[200:210, 100:110, 60:70] = 3
    affine = np.diag([0.6, 0.6, 0.8, 1.0])
    affine[:3, 3] = (-90, -80, -70)
    frame = frame_of(Volume(array, affine), np.zeros(array.shape, bool))
    assert frame.factor == (2, 1, 1)
    copy = frame.copy(array)
    assert copy.size <= MAX_VOXELS
    there = (frame.affine @ [*np.argwhere(copy == 3).mean(axis=0), 1.0])[:3]
    np.testing.assert_allclose(there, (affine @ [204.5, 104.5, 64.5, 1.0])[:3], atol=1e-6)


def test_what_is_detected_is_never_cropped():
    array = np.zeros((30, 30, 30), np.float32)
    array[10:20, 10:20, 10:20] = 1
    shown = np.zeros(array.shape, bool)
    shown[29, 0, 15] = True
    frame = frame_of(Volume(array, np.eye(4)), shown)
    assert frame.box == (slice(8, 30), slice(0, 22), slice(8, 22))
    constant = frame_of(Volume(np.zeros((4, 5, 6), np.float32), np.eye(4)), np.zeros((4, 5, 6)) > 0)
    assert constant.copy(np.zeros((4, 5, 6))).shape == (4, 5, 6)


def test_grey_levels_come_back_as_values():
    array = np.linspace(-50, 1000, 100)
    levels, slope, inter = grey_levels(array, 0, 900)
    np.testing.assert_allclose(levels * slope + inter, array.clip(0, 900), atol=slope / 2 + 1e-9)


def test_the_thumbnail_shows_the_slice_and_outlines_what_is_detected(out):
    write_page(out)
    blue = {}
    for name in ("sick", "well"):
        pixels = np.asarray(Image.open(_script(out, name).with_suffix(".jpg")), dtype=int)
        assert pixels.shape == (224, 224, 3)
        assert pixels.max() > 150
        blue[name] = int(((pixels[..., 2] - pixels[..., 0]) > 120).sum())
    assert blue["sick"] > 50
    assert blue["well"] == 0


def test_a_second_run_makes_only_what_has_changed(out):
    write_page(out)
    files = {path: path.stat().st_mtime_ns for path in out.rglob("viewer/**/*.*")}
    write_page(out)
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("viewer/**/*.*")}

    mask = out / "scan1" / "scan1_mask.nii.gz"
    mask.write_bytes(mask.read_bytes())
    text = (out / "subjects.csv").read_text()
    (out / "subjects.csv").write_text(text.replace(",99,", ",98,"))
    write_page(out)
    changed = {path.stem for path, time in files.items() if path.stat().st_mtime_ns != time}
    assert changed == {key_of("sick"), key_of("well")}
    assert _data(out, "sick")["percentile"] == 98


def test_what_belongs_to_no_scan_any_more_is_removed(out):
    write_page(out)
    write_tables(out, [], [])
    page = write_page(out)
    assert not list((out / "viewer" / "scans").iterdir())
    assert "Findings in 0 scans" in page.read_text()


def test_names_and_reasons_are_text(out):
    page = write_page(out).read_text()
    assert "<script>alert" not in page
    assert 'onerror="alert' not in page
    assert "&lt;script&gt;alert(&#39;name&#39;)" in page
    assert _data(out, HOSTILE)["id"] == HOSTILE
    assert "<" not in _script(out, HOSTILE).name


def test_a_scan_that_cannot_be_read_is_listed_and_the_others_are_done(out):
    (out / "scan0" / "scan0_anomaly.nii.gz").write_bytes(b"no volume")
    page = write_page(out).read_text()
    assert re.search(r"cannot be shown: [^<]*scan0_anomaly.nii.gz: not a NIfTI file", page)
    assert not _script(out, "sick").exists()
    assert _script(out, "well").exists()


def test_maps_on_another_grid_are_refused(out):
    (out / "scan1" / "scan1_mask.nii.gz").unlink()
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), out / "scan1/scan1_mask.nii.gz")
    assert "its affine differs" in write_page(out).read_text()


@pytest.mark.parametrize("missing", ["subjects.csv", "column"])
def test_bad_tables_are_named(out, missing):
    table = out / "subjects.csv"
    if missing == "column":
        table.write_text(",".join(name for name in SUBJECT_COLUMNS if name != "score") + "\n")
    else:
        table.unlink()
    with pytest.raises(InputError, match=r"subjects\.csv: no (such file|column score)"):
        write_page(out)


def test_the_page_asks_for_nothing_from_elsewhere(out):
    page = write_page(out).read_text()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "default-src 'none'" in page
    for name in re.findall(r"(?:src|href)=\"(viewer/[^\"]+)\"", page):
        assert (out / name).is_file(), name
