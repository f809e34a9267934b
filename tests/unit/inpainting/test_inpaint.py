import re
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from scipy import ndimage
from small_disk import disk, remount

from brainuad.cli.inpaint import _preparation, main
from brainuad.inpainting.fill import blended, carried_hole, smooth_fill
from brainuad.inpainting.scan import inpaint_scan, inpaint_volume, prepare_scan
from brainuad.methods.base import InpaintingDetector
from brainuad.methods.intensity import IntensityDetector
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.preparation.bias import N4
from brainuad.preparation.model_input import input_of
from brainuad.preparation.normalise.intensity import Mode, Percentile, ZScore
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.settings.instantiate import instantiate
from brainuad.types import Space, Volume
from brainuad.volumes.native_space import to_native
from brainuad.volumes.nifti import read_volume, write_changed, write_volume
from brainuad.volumes.tiling import PlanesTiling, SliceTiling, VolumeTiling

STEPS = Preparation(Extracted(), None, None, None, ("T1w",), 2.0)


class Fake(InpaintingDetector):
    """Fills by what a function says, and remembers what it was shown."""

    def __init__(self, fill=lambda image, hole: torch.full_like(image, 0.5)):
        super().__init__()
        self.fill = fill
        self.shown = []
        self.card = {
            "tiling": {"_target_": "brainuad.volumes.tiling.SliceTiling", "size": [48, 56]},
            "sequence": "T1w",
            "run": {"data": {"spacing_mm": 3.0}},
        }

    def score(self, image, brain_mask):
        raise NotImplementedError

    def inpaint(self, image, hole):
        self.shown.append((image.clone(), hole.clone()))
        return torch.where(hole, self.fill(image, hole), image)


def give(monkeypatch, method):
    """Let every model that is loaded have this method."""

    def load(cls, path, runtime=None):
        own = {"model": {}, "postprocess": {}, "subjects": None, **method.card}
        view = input_of(own.get("input", {}))
        return cls(method, Card(**own), instantiate(own["tiling"]), view, runtime=runtime)

    monkeypatch.setattr(Model, "load", classmethod(load))


def _head(affine, shape, gain=lambda points: 900.0):
    """A brain of 130 x 160 x 120 mm with smooth tissue; its lesion, 16 mm beside the middle."""
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    x, y, z = np.moveaxis(points, -1, 0)
    brain = (x / 65) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1
    tissue = 0.6 + 0.25 * np.cos(x / 14) * np.cos(y / 17) * np.cos(z / 15)
    lesion = (x - 22) ** 2 + (y + 8) ** 2 + (z - 5) ** 2 < 16**2
    return np.where(brain, tissue * gain(points), 0), lesion


def _affine(spacing, shape, left_handed=False, degrees=0.0):
    affine = np.diag([-spacing[0] if left_handed else spacing[0], *spacing[1:], 1.0])
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = turn[:2, :2]
    affine = turn @ tilt @ affine
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


GRIDS = {
    "model": ((2, 2, 2), (72, 88, 68), {}),
    "left-handed": ((2.5, 2.5, 2.5), (60, 70, 56), {"left_handed": True}),
    "oblique": ((2, 2, 2), (80, 96, 76), {"degrees": 12, "left_handed": True}),
    "thick slices": ((1.5, 1.5, 5), (94, 114, 27), {"degrees": 3}),
}


@pytest.fixture(params=GRIDS, name="scan")
def _scan(request):
    spacing, shape, how = GRIDS[request.param]
    affine = _affine(spacing, shape, **how)
    healthy, hole = _head(affine, shape)
    return Volume(healthy.astype(np.float32), affine), hole


def _oracle(healthy, steps, folder):
    """A detector that knows what the scan without lesion looks like when prepared."""
    truth = prepare_scan(healthy, steps, "T1w", folder).image.array

    def fill(image, hole):
        seen, before = image[0, 0].numpy(), truth
        at = ~hole[0, 0].numpy() & (seen > 0) & (seen < 1)
        slope, intercept = np.polyfit(before[at], seen[at], 1)
        return torch.from_numpy(intercept + slope * truth)[None, None].float()

    return Fake(fill)


@pytest.mark.slow
def test_the_truth_comes_back_on_every_grid(scan, tmp_path):
    healthy, hole = scan
    sick = Volume(np.where(hole, 5000, healthy.array).astype(np.float32), healthy.affine)
    detector = _oracle(healthy, STEPS, tmp_path)
    found = inpaint_scan(detector, VolumeTiling(), sick, hole, STEPS, Percentile(), "T1w")
    np.testing.assert_array_equal(found.where, hole)
    error = np.abs(found.values - healthy.array[hole])
    # Tissue goes from 315 to 765; two linear interpolations at 2 mm.
    assert np.mean(error) < 6
    assert error.max() < 40


def _field(points):
    return np.exp(points[..., 0] / 120 - points[..., 2] / 150 + (points[..., 1] / 130) ** 2)


def _known_field(volume, mask):
    """A bias correction that happens to know."""
    points = apply_affine(volume.affine, np.moveaxis(np.indices(volume.array.shape), 0, -1))
    field = _field(points).astype(np.float32)
    return Volume(volume.array / field, volume.affine), Volume(field, volume.affine)


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [Percentile(), ZScore(), Mode()])
@pytest.mark.parametrize("bias", [None, _known_field])
def test_the_bias_field_and_the_units_of_the_scan_are_respected(tmp_path, normalise, bias):
    spacing, shape, _ = GRIDS["model"]
    affine = _affine(spacing, shape)
    steps = Preparation(Extracted(), bias, None, None, ("T1w",), 2.0)
    healthy, hole = _head(affine, shape, lambda points: 70 * _field(points))
    volume = Volume(healthy.astype(np.float32), affine)
    flat = Volume(_head(affine, shape)[0].astype(np.float32), affine)
    # Without a correction the model sees the field, with one it does not.
    known = volume if bias is None else flat
    detector = _oracle(known, STEPS, tmp_path)
    sick = Volume(np.where(hole, 0, volume.array), affine)
    found = inpaint_scan(detector, VolumeTiling(), sick, hole, steps, normalise, "T1w")
    error = np.abs(found.values - healthy[hole]) / healthy[hole]
    assert np.mean(error) < 0.02
    assert error.max() < 0.1


def test_a_filling_of_another_brightness_has_no_seam():
    spacing, shape, _ = GRIDS["model"]
    affine = _affine(spacing, shape)
    healthy, hole = _head(affine, shape)
    brain = healthy > 0
    painted = ndimage.binary_dilation(hole, iterations=2)
    laid = np.where(painted, 0.8 * healthy + 60, healthy)
    values = blended(laid, healthy, hole, painted, brain, affine)
    after = healthy.copy()
    after[hole] = values
    steps, usual = [], []
    for axis in range(3):
        inner = np.take(hole, range(1, shape[axis]), axis) ^ np.take(
            hole, range(shape[axis] - 1), axis
        )
        steps.append(np.abs(np.diff(after, axis=axis))[inner])
        usual.append(np.abs(np.diff(healthy, axis=axis))[inner])
    assert np.concatenate(steps).mean() < 1.2 * np.concatenate(usual).mean()
    before = np.abs(np.diff(np.where(hole, laid, healthy), axis=0)).max()
    assert np.concatenate(steps).max() < before


def test_the_gain_is_that_of_the_tissue_around_whatever_the_mask_left_out():
    spacing, shape, _ = GRIDS["model"]
    affine = _affine(spacing, shape)
    healthy, hole = _head(affine, shape)
    field = np.exp(apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))[..., 1] / 200)
    native = healthy * field
    # A lesion reaches out of its mask on one side, some distance away.
    spill = ndimage.binary_dilation(hole, iterations=6) & ~ndimage.binary_dilation(
        hole, iterations=3
    )
    spill[: int(np.argwhere(hole)[:, 0].max())] = False
    values = blended(healthy, np.where(spill, 3 * native, native), hole, hole, healthy > 0, affine)
    assert np.abs(values / native[hole] - 1).max() < 0.02


def test_what_lies_under_the_mask_is_never_seen(tmp_path):
    shape = (54, 64, 51)
    affine = _affine((3, 3, 3), shape, degrees=12)
    healthy, hole = _head(affine, shape)
    outputs, shown = [], []
    for content in (0.0, 1e6, -300.0):
        detector = Fake()
        volume = Volume(np.where(hole, content, healthy).astype(np.float32), affine)
        steps = Preparation(Extracted(), N4(), None, None, ("T1w",), 3.0)
        tiling = SliceTiling(size=(56, 64))
        found = inpaint_scan(detector, tiling, volume, hole, steps, Percentile(), "T1w")
        outputs.append(found.values)
        shown.append(torch.cat([image for image, _ in detector.shown]))
        for image, inside in detector.shown:
            assert inside.flatten(1).any(1).all()
            assert (image[inside] == 0).all()
            assert image.max() <= 1
    for values, image in zip(outputs, shown, strict=True):
        np.testing.assert_array_equal(values, outputs[0])
        torch.testing.assert_close(image, shown[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    "tiling", [SliceTiling(size=(20, 16)), PlanesTiling(size=(16, 16)), VolumeTiling((16, 16, 16))]
)
def test_a_volume_is_filled_by_tiles_and_nothing_else_changes(tiling):
    image = torch.rand(1, 24, 28, 20)
    hole = torch.zeros(1, 24, 28, 20, dtype=torch.bool)
    hole[:, 8:14, 3:20, 5:9] = True
    found = inpaint_volume(Fake(), tiling, image, hole, batch_size=3)
    assert (found[hole] == 0.5).all()
    assert torch.equal(found[~hole], image[~hole])


def test_the_hole_covers_every_voxel_that_it_touches():
    rng = np.random.default_rng(0)
    grid = Volume(np.zeros((40, 40, 40), np.float32), _affine((2, 2, 2), (40, 40, 40)))
    for spacing, degrees in [((1.1, 1.3, 5), 9), ((4, 4, 4), 30), ((0.7, 0.9, 0.8), 0)]:
        shape = tuple(int(60 / edge) for edge in spacing)
        affine = _affine(spacing, shape, degrees=degrees)
        hole = np.zeros(shape, bool)
        hole[tuple(rng.integers(1, n - 1, 6) for n in shape)] = True
        found = carried_hole(hole, affine, grid, Space(None))
        voxels = np.argwhere(hole)
        points = voxels[:, None] + rng.uniform(-0.5, 0.5, (len(voxels), 4000, 3))
        points = apply_affine(np.linalg.inv(grid.affine) @ affine, points.reshape(-1, 3))
        touched = np.rint(points).astype(int)
        assert found[tuple(touched.T)].all()
        # On the way back, too, nothing but the filling is interpolated.
        back = to_native(found.astype(np.float32), grid.affine, Volume(hole, affine))
        assert back[hole].min() == pytest.approx(1, abs=1e-3)
        assert found.sum() < 30 * hole.sum() * max(np.prod(spacing) / 8, 1)
    same = rng.random(grid.array.shape) > 0.9
    np.testing.assert_array_equal(carried_hole(same, grid.affine, grid, Space(None)), same)


def test_the_membrane_is_harmonic_and_fades():
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 21)] * 3, indexing="ij")
    plane = 3 * x - 2 * y + z + 5
    hole = x**2 + y**2 + z**2 < 0.5
    spacing = (0.1, 0.1, 0.1)
    np.testing.assert_allclose(smooth_fill(plane, hole, ~hole, spacing), plane[hole], rtol=1e-3)
    faded = smooth_fill(np.ones_like(x), hole, ~hole, spacing, length_mm=0.1)
    full = np.zeros_like(x)
    full[hole] = faded
    assert 0 < full[10, 10, 10] < 0.02
    assert 0.3 < full[hole].max() < 1
    nothing = np.zeros_like(hole)
    np.testing.assert_array_equal(smooth_fill(plane, hole, nothing, spacing), 0)


def _stored(path):
    image = nib.load(path)
    return np.asarray(image.dataobj.get_unscaled()), image


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, ">i2", np.float64])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_only_the_marked_voxels_of_the_file_change(tmp_path, dtype, ending):
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype).newbyteorder("=")
    raw = rng.integers(0, 200, (9, 8, 7)).astype(kind)
    image = nib.Nifti1Image(raw, _affine((1, 2, 3), raw.shape, True, 20), dtype=kind)
    if np.dtype(dtype).byteorder == ">":
        image = nib.Nifti1Image(raw, image.affine, image.header.as_byteswapped(">"))
    image.header.set_slope_inter(0.25, -8)
    image.header["descrip"] = b"as it came"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"keep me"))
    source, path = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    nib.save(image, source)
    # nibabel chooses a scaling of its own when it saves; what lies on disk is what counts.
    where = np.zeros(raw.shape, bool)
    where[3:5, 2:6, 1] = True
    before, original = _stored(source)
    write_changed(path, source, where, np.linspace(-1e9, 1e9, where.sum()))
    after, copy = _stored(path)
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after[~where], before[~where])
    assert bytes(copy.header.binaryblock) == bytes(original.header.binaryblock)
    assert copy.header.extensions[0].get_content() == b"keep me"
    wanted = rng.uniform(0, 30, where.sum())
    write_changed(path, source, where, wanted)
    half = 0 if np.dtype(dtype).kind == "f" else original.dataobj.slope / 2
    read = read_volume(path).array[where]
    np.testing.assert_allclose(read, np.clip(wanted, read.min(), None), atol=half + 1e-4)
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(name="files")
def _files(tmp_path, monkeypatch):
    """A scan as int16 with a scaling, its mask, and a model that fills holes with a half."""
    shape = (52, 60, 46)
    affine = _affine((3, 3, 3), shape, left_handed=True)
    healthy, hole = _head(affine, shape)
    image = nib.Nifti1Image(np.where(hole, 0, healthy).astype(np.int16), affine)
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    write_volume(tmp_path / "mask.nii.gz", hole, affine, np.uint8)
    detector = Fake()
    give(monkeypatch, detector)
    return tmp_path


def _run(folder, *more, scan="scan.nii.gz", mask="mask.nii.gz", out="out.nii.gz"):
    words = [str(folder / name) for name in (scan, mask, out)]
    return main([*words, "--model", "model.ckpt", "--device", "cpu", *more])


def test_a_disk_that_is_full_or_read_only_is_one_line(files, monkeypatch, capsys):
    hole = read_volume(files / "mask.nii.gz").array > 0
    found = SimpleNamespace(where=hole, values=np.zeros(hole.sum()))
    monkeypatch.setattr("brainuad.inpainting.scan.inpaint_scan", lambda *_, **__: found)
    assert _run(files) == 0
    pages = -(-(files / "out.nii.gz").stat().st_size // 4096)
    capsys.readouterr()
    # Room for nothing, for half of the scan, and for all of it but no picture.
    for number, size in enumerate((4, 4 * (pages // 2), 4 * (pages + 1))):
        with disk(files / f"disk{number}", f"{size}k") as place:
            assert _run(files, out=f"{place.name}/out.nii.gz") == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"error: {place}/out.")
            assert "No space left" in line
            # The whole scan, or nothing of it.
            assert [path.name for path in place.iterdir()] == ["out.nii.gz"] * (number == 2)
            remount(place, "ro")
            assert _run(files, out=f"{place.name}/other.nii.gz") == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"error: {place}: ")
            assert "Read-only" in line


def test_the_command(files, capsys):
    assert _run(files, "preparation=extracted") == 0
    assert "voxels replaced; look at" in capsys.readouterr().out
    before, original = _stored(files / "scan.nii.gz")
    after, copy = _stored(files / "out.nii.gz")
    hole = read_volume(files / "mask.nii.gz").array > 0
    np.testing.assert_array_equal(after[~hole], before[~hole])
    assert bytes(copy.header.binaryblock) == bytes(original.header.binaryblock)
    scaled = nib.load(files / "out.nii.gz").get_fdata()
    assert scaled[hole].min() > 100
    assert (files / "out.png").read_bytes()[:4] == b"\x89PNG"
    first = (files / "out.nii.gz").read_bytes()
    picture = files / "elsewhere" / "look.png"
    assert _run(files, "preparation=extracted", "--picture", str(picture)) == 0
    assert picture.is_file()
    assert (files / "out.nii.gz").read_bytes() == first


def test_a_fourth_axis_stays_and_the_folder_of_the_result_is_made(files):
    flat = nib.load(files / "scan.nii.gz")
    array = np.asarray(flat.dataobj, np.float32)[..., None]
    nib.save(nib.Nifti1Image(array, flat.affine), files / "four.nii.gz")
    out = "deep/er/out.nii.gz"
    assert _run(files, "preparation=extracted", scan="four.nii.gz", out=out) == 0
    found = nib.load(files / out)
    assert found.shape == array.shape
    hole = read_volume(files / "mask.nii.gz").array > 0
    np.testing.assert_array_equal(found.get_fdata()[~hole, 0], array[~hole, 0])
    assert found.get_fdata()[hole].min() > 100


@pytest.mark.slow
def test_the_spacing_is_the_models_unless_given(files, monkeypatch):
    detector = Fake()
    give(monkeypatch, detector)
    _run(files, "preparation=extracted")
    coarse = sum(inside.sum() for _, inside in detector.shown)
    detector.shown.clear()
    detector.card["tiling"]["size"] = [72, 84]
    _run(files, "preparation=extracted", "preparation.steps.spacing_mm=2")
    # As many voxels as 1.5 x 1.5 x 1.5 are.
    assert sum(inside.sum() for _, inside in detector.shown) > 2.5 * coarse


def test_marked_voxels_outside_the_brain_stay(files, capsys):
    mask = read_volume(files / "mask.nii.gz")
    mask.array[:3, :3] = 1
    write_volume(files / "mask.nii.gz", mask.array, mask.affine, np.uint8)
    assert _run(files, "preparation=extracted") == 0
    assert "marked voxels outside the brain are as they were" in capsys.readouterr().out
    assert (read_volume(files / "out.nii.gz").array[:3, :3] == 0).all()


def _change(name, how):
    def change(folder):
        volume = read_volume(folder / name)
        array = how(volume.array.copy())
        image = nib.Nifti1Image(array, volume.affine)
        (folder / name).unlink()
        nib.save(image, folder / name)

    return change


def _nan(array):
    array[20, 20, 20] = np.nan
    return array


def _all_but_a_face(array):
    array[2:] = 1
    array[:2] = 0
    return array


def _most(array):
    array[15:42, 12:48, 12:34] = 1
    return array


def _corner(array):
    array[:] = 0
    array[:2, :2, :2] = 1
    return array


def _rgb(array):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return np.zeros(array.shape, kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_change("mask.nii.gz", np.zeros_like), "mask.nii.gz: is empty"),
        (_change("mask.nii.gz", np.ones_like), "mask.nii.gz: covers all that the scan shows"),
        (_change("mask.nii.gz", _all_but_a_face), "mask.nii.gz: covers all that the scan shows"),
        (_change("mask.nii.gz", _most), "scan.nii.gz: the mask covers .* % of its brain"),
        (_change("mask.nii.gz", _corner), "scan.nii.gz: no voxel of the mask lies in its brain"),
        (_change("mask.nii.gz", lambda a: a[1:]), "mask.nii.gz: found grid"),
        (_change("mask.nii.gz", lambda a: a * 0.4), "mask.nii.gz: holds 0.4"),
        (_change("scan.nii.gz", lambda a: np.stack([a, a], -1)), "scan.nii.gz: found 4D"),
        (_change("scan.nii.gz", _rgb), "scan.nii.gz: .*RGB"),
        (_change("scan.nii.gz", _nan), "scan.nii.gz: 1 NaN or infinite"),
        (_change("scan.nii.gz", np.zeros_like), "scan.nii.gz: all voxels are 0"),
        (_change("scan.nii.gz", lambda a: np.rint(a / 100)), "scan.nii.gz: looks like a label map"),
        (lambda folder: (folder / "mask.nii.gz").unlink(), "mask.nii.gz: no such file"),
        (
            lambda folder: (folder / "scan.nii.gz").write_bytes(b"no"),
            "scan.nii.gz: (truncated|not a NIfTI)",
        ),
    ],
)
def test_bad_input_gets_one_line(files, capsys, change, words):
    change(files)
    assert _run(files, "preparation=extracted") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error), error
    assert not (files / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("out.mgz: a NIfTI file is written", {"out": "out.mgz"}),
        ("would overwrite its own input", {"out": "scan.nii.gz"}),
        ("is a folder", {"scan": "."}),
    ],
)
def test_bad_paths_get_one_line(files, capsys, words, options):
    assert _run(files, "preparation=extracted", **options) == 2
    assert words in capsys.readouterr().err


def test_detail_comes_from_the_other_half(files, capsys):
    """A flat filling becomes more like the tissue opposite of it, where that is symmetric."""
    hole = read_volume(files / "mask.nii.gz").array > 0
    found = {}
    for detail in ("0", "20"):
        assert _run(files, "preparation=extracted", "--detail-mm", detail) == 0
        found[detail] = read_volume(files / "out.nii.gz").array
    np.testing.assert_array_equal(found["0"][~hole], found["20"][~hole])
    opposite = found["0"][::-1][hole]
    flat, detailed = (np.abs(found[key][hole] - opposite).mean() for key in ("0", "20"))
    assert detailed < 0.5 * flat
    assert _run(files, "preparation=extracted", "--detail-mm", "-1") == 2
    assert "--detail-mm -1.0: use 0 or more" in capsys.readouterr().err


def test_models_and_preparations_that_cannot_are_refused(files, capsys, monkeypatch):
    assert _run(files, "preparation=extracted", "preparation/normalise=equalise") == 2
    assert "not linear" in capsys.readouterr().err
    assert _run(files, "preparation=extracted", "preparation/normalise=nyul") == 2
    assert "not fitted" in capsys.readouterr().err
    assert _run(files, "preparation=none") == 2
    assert capsys.readouterr().err.count("\n") == 1
    tissue = Fake()
    tissue.card["input"] = {
        "tissue": {"_target_": "brainuad.preparation.tissue.segment.TissueInput"}
    }
    give(monkeypatch, tissue)
    assert _run(files) == 2
    assert "sees tissue maps" in capsys.readouterr().err
    percentile = {"_target_": "brainuad.preparation.normalise.intensity.Percentile"}
    tissue.card["input"] = {"tissue": None, "normalise": percentile}
    assert _run(files) == 2
    assert "sees intensities of its own (input.normalise)" in capsys.readouterr().err


def test_a_model_that_cannot_inpaint_is_refused(files, capsys, monkeypatch):
    monkeypatch.undo()
    detector = IntensityDetector()
    model = {"_target_": "brainuad.methods.intensity.IntensityDetector"}
    card = Card(model, {"_target_": "brainuad.volumes.tiling.VolumeTiling"}, {}, "T2w", {})
    Model(detector, card, VolumeTiling()).save(files / "model.ckpt")
    assert _run(files, "--model", str(files / "model.ckpt")) == 2
    words = "model.ckpt: IntensityDetector cannot inpaint; give a model of experiment=autopaint\n"
    assert capsys.readouterr().err.endswith(words)
    assert _run(files, "--model", str(files / "none.ckpt")) == 2
    assert "none.ckpt: no such checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_head_gets_its_tissue_back(real_data, tmp_path, monkeypatch):
    """Read, stripped, corrected, registered, filled by what was there, and carried back."""
    folder = real_data / "ixi_t1_2mm" / "IXI012-HH-1211"
    healthy = read_volume(folder / "T1.nii.gz")
    brain = read_volume(folder / "parcellation.nii.gz").array > 0
    centre = np.argwhere(brain).mean(axis=0) + np.array([10, 8, 14])
    away = np.linalg.norm(np.moveaxis(np.indices(brain.shape), 0, -1) - centre, axis=-1)
    hole = brain & (away < 8)
    voided = tmp_path / "scan.nii"
    write_changed(voided, folder / "T1.nii.gz", hole, np.zeros(hole.sum()))
    write_volume(tmp_path / "mask.nii.gz", hole, healthy.affine, np.uint8)
    detector = Fake()
    steps, _ = _preparation(
        Card({}, {}, {}, "T1w", None, run=detector.card["run"]), ["preparation.steps.spacing_mm=2"]
    )
    detector.fill = _oracle(healthy, steps, tmp_path / "truth").fill
    detector.card["tiling"] = {"_target_": "brainuad.volumes.tiling.VolumeTiling"}
    give(monkeypatch, detector)
    # The oracle's own detail is the right one.
    options = ("--detail-mm", "0", "preparation.steps.spacing_mm=2")
    assert _run(tmp_path, *options, scan="scan.nii") == 0
    before, original = _stored(voided)
    after, copy = _stored(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(after[~hole], before[~hole])
    assert bytes(copy.header.binaryblock) == bytes(original.header.binaryblock)
    found, truth = read_volume(tmp_path / "out.nii.gz").array[hole], healthy.array[hole]
    # What is left is the blur of two interpolations.
    assert np.abs(found - truth).mean() < 0.2 * truth.std()
    assert abs((found - truth).mean()) < 0.03 * truth.std()
    assert np.corrcoef(found, truth)[0, 1] > 0.95


@pytest.mark.slow
def test_a_voided_scan_of_the_brats_challenge_is_filled(real_data, tmp_path, monkeypatch):
    folder = real_data / "brats_gli_example" / "inpainting"
    scan, mask = (folder / f"BraTS-GLI-00001-000-{name}.nii.gz" for name in ("t1n-voided", "mask"))
    detector = Fake()
    give(monkeypatch, detector)
    assert _run(tmp_path, "preparation=extracted", scan=scan, mask=mask) == 0
    before, after = read_volume(scan).array, read_volume(tmp_path / "out.nii.gz").array
    hole = read_volume(mask).array > 0
    np.testing.assert_array_equal(after[~hole], before[~hole])
    tissue = before[before > 0]
    assert (after[hole] > np.percentile(tissue, 1)).mean() > 0.95
    assert after[hole].max() <= tissue.max()
    outside = ndimage.binary_dilation(hole) & ~hole & (before > 0)
    inside = ndimage.binary_dilation(outside) & hole
    spread = ndimage.binary_dilation(outside, iterations=2) & (after > 0)
    means = [after[part].mean() for part in (outside, inside)]
    assert abs(means[0] - means[1]) < 0.1 * after[spread].std()
