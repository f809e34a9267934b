"""ONNX exports: what is written, who computes it, and what is refused."""

import hashlib
import json

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import ndimage
from tiny import AFFINE, brain, write_tiny_model

from brainuad.cli.export import main
from brainuad.formats import agreement, onnx
from brainuad.formats.example import LESIONS_ML, example_scan
from brainuad.model.model import Model
from brainuad.shipped import shipped
from brainuad.volumes.grids import Grid, lay

pytestmark = pytest.mark.slow

HOSTILE = "$__import__('os').system('touch pwned')<script>"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    run = write_tiny_model(folder / "run" / "model.ckpt", "strega", name=HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        # The others take seconds.
        patch.setattr(agreement, "LESIONS_ML", (1.0,))
        assert main([str(run), str(folder / "out"), "--format", "onnx", "--licence", "CC0"]) == 0
    return run, folder / "out"


def test_what_comes_before_and_after_is_written(exported):
    run, out = exported
    assert sorted(path.name for path in out.iterdir()) == list(map(str, sorted(onnx.MEMBERS)))
    facts = json.loads((out / "model.json").read_text())
    network = (out / "model.onnx").read_bytes()
    assert facts["schema"] == "brainuad-onnx/1.0"
    assert facts["file"]["sha256"] == hashlib.sha256(network).hexdigest()
    assert facts["model"]["licence"] == "CC0"
    assert facts["model"]["weights_sha256"] == Model.load(run).weights_hash
    assert facts["inputs"][0]["shape"] == ["tiles", 1, 24, 32]
    assert facts["normalisation"]["kind"] == "Percentile"
    after = facts["postprocessing"]
    assert after["threshold"]["value"] == 0.75
    small = {"kind": "RemoveSmall", "min_volume_mm3": 200.0, "connectivity": 26, "filled": False}
    assert after["mask_steps"] == [small]
    assert [scan["lesion_ml"] for scan in facts["agreement"]["scans"]] == [1.0]
    assert facts["agreement"]["largest_difference"] <= 1e-3
    assert str(run.parent) not in json.dumps(facts)


def test_a_strange_name_stays_text(exported):
    out = exported[1]
    assert json.loads((out / "model.json").read_text())["model"]["name"] == HOSTILE
    assert "<script>" not in (out / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("side", [2, 5, 9])
def test_another_program_finds_the_same_by_the_json_alone(exported, side):
    """Frames in the slices' middle, by numpy and onnxruntime, on a brain with a bright cube."""
    run, out = exported
    image, brain_mask = brain(3)
    image[8 : 8 + side, 8 : 8 + side, 8 : 8 + side] = 1
    image = np.where(brain_mask, image, 0).astype(np.float32)
    facts = json.loads((out / "model.json").read_text())
    session = onnxruntime.InferenceSession(out / "model.onnx")
    assert facts["tiling"]["axis_of_plane"] == {"axial": 2}
    rows, columns = facts["tiling"]["size"]
    before = (rows - image.shape[0]) // 2, (columns - image.shape[1]) // 2
    pads = [(n, size - n - m) for n, size, m in zip(before, (rows, columns), image.shape)]  # noqa: B905
    tiles, masks = (
        np.pad(np.moveaxis(part, 2, 0), [(0, 0), *pads])[:, None] for part in (image, brain_mask)
    )
    found = session.run(["anomaly_map"], {"image": tiles, "brain_mask": masks})[0][:, 0]
    inner = tuple(slice(n, n + m) for n, m in zip(before, image.shape[:2], strict=True))
    found = np.moveaxis(found[(slice(None), *inner)], 0, 2)
    model = Model.load(run)
    given = torch.from_numpy(image)[None], torch.from_numpy(brain_mask)[None]
    expected = model.detect(*given, AFFINE).anomaly_map[0].numpy()
    assert np.abs(found - expected).max() <= 1e-3
    marked, own = found > 0.2, expected > 0.2
    assert own.any()
    assert 2 * (marked & own).sum() / (marked.sum() + own.sum()) >= 0.999


@pytest.mark.parametrize("name", ["file.zip", "other", "plain"])
def test_what_is_there_is_not_overwritten(exported, tmp_path, capsys, name):
    out = tmp_path / name
    if name == "other":
        (out / "deep").mkdir(parents=True)
        (out / "deep" / "thesis.txt").write_text("mine")
    elif name == "plain":
        out.write_text("mine")
    assert main([str(exported[0]), str(out), "--format", "onnx"]) != 0
    said = capsys.readouterr().err
    assert "folder" in said or "thesis.txt" in said
    assert name != "other" or (out / "deep" / "thesis.txt").read_text() == "mine"


def test_without_the_extra_one_line_says_what_to_install(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx, "NEEDED", ("onnx", "no_such_package"))
    assert main([str(exported[0]), str(tmp_path / "out"), "--format", "onnx"]) != 0
    said = capsys.readouterr().err
    assert "no_such_package not installed; pip install 'brainuad[formats]'" in said
    assert not (tmp_path / "out").exists()


def test_half_belongs_to_bundles(exported, tmp_path, capsys):
    assert main([str(exported[0]), str(tmp_path / "o"), "--format", "onnx", "--half"]) != 0
    assert "--half is for --format bundle" in capsys.readouterr().err


@pytest.fixture(scope="module")
def universal(tmp_path_factory):
    """The shipped model for FLAIR as ONNX, exported by its name."""
    out = tmp_path_factory.mktemp("universal") / "out"
    assert main(["universal", str(out), "--format", "onnx", "--sequence", "FLAIR"]) == 0
    return out


def test_the_shipped_model_agrees_on_painted_lesions(universal):
    facts = json.loads((universal / "model.json").read_text())
    assert facts["model"]["licence"] == "Apache-2.0"
    assert facts["space"]["grid"]["shape"] == [96, 112, 88]
    assert facts["postprocessing"]["threshold"]["value"] == 0.5
    assert [scan["lesion_ml"] for scan in facts["agreement"]["scans"]] == list(LESIONS_ML)
    assert facts["agreement"]["largest_difference"] <= 1e-4
    assert facts["agreement"]["smallest_dice"] >= 0.999
    assert max(scan["marked_voxels"] for scan in facts["agreement"]["scans"]) > 1000


@pytest.mark.parametrize("person", ["brats_2013_pat0001_1", "brats_2013_pat0004_1"])
def test_the_shipped_model_agrees_on_real_tumours(universal, real_data, person):
    """A tumour laid into the atlas's box; with numpy, scipy and onnxruntime as the JSON says."""
    import nibabel as nib

    path = next((real_data / "brats_labelled" / person).glob("*_flair.nii.gz"), None)
    if path is None:
        pytest.skip(f"{person} has no FLAIR")
    array = np.maximum(nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32), 0)
    inside = ndimage.binary_fill_holes(array > 0)
    facts = json.loads((universal / "model.json").read_text())
    grid = Grid(tuple(facts["space"]["grid"]["shape"]), np.array(facts["space"]["grid"]["affine"]))
    affine = np.eye(4)
    middle = grid.affine[:3, :3] @ (np.array(grid.shape) / 2) + grid.affine[:3, 3]
    affine[:3, 3] = middle - np.argwhere(inside).mean(0)
    image = np.where(inside, array / array.max(), 0)
    model = Model.load(shipped("universal", "FLAIR").path)
    given = torch.from_numpy(image)[None], torch.from_numpy(inside)[None]
    expected = model.detect(*given, affine).anomaly_map[0].numpy()

    def laid(part: np.ndarray) -> np.ndarray:
        """Smooth 1 mm to 2 mm, then interpolate, as `space.resample` says."""
        smooth = ndimage.gaussian_filter(part.astype(np.float32), 3**0.5 / 2.355, mode="nearest")
        way = np.linalg.inv(affine) @ grid.affine
        return ndimage.affine_transform(smooth, way[:3, :3], way[:3, 3], grid.shape, order=1)

    mask = laid(inside) >= 0.5
    session = onnxruntime.InferenceSession(universal / "model.onnx")
    fed = {"image": np.where(mask, laid(image), 0)[None, None], "brain_mask": mask[None, None]}
    found = session.run(["anomaly_map"], fed)[0][0, 0]
    own = Grid(array.shape, affine)
    back = np.where(inside, lay(found, grid.affine, own), 0)
    assert np.abs(back - expected).max() <= 1e-3
    marked, ours = back > 0.5, expected > 0.5
    assert ours.sum() > 100
    assert 2 * (marked & ours).sum() / (marked.sum() + ours.sum()) >= 0.999


def test_example_scans_hold_lesions_of_the_wanted_volume(exported):
    model = Model.load(exported[0])
    for ml in (0.1, 10.0):
        scan = example_scan(model, ml)
        assert scan.image.shape[1:] == scan.brain_mask.shape
        assert not scan.image[0][~scan.brain_mask].any()
        voxel_ml = float(np.prod(scan.grid.empty.spacing_mm)) / 1000
        bright = int((scan.image[0] == np.float32(0.95)).sum()) * voxel_ml
        assert bright == pytest.approx(ml, rel=0.1)
