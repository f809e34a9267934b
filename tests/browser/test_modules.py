"""The modules of the page for the browser, by `node --test`, against nibabel and our Python."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tiny import ROOT

from brainuad.preparation.skullstrip.extracted import extracted_brain_mask
from brainuad.types import Volume
from brainuad.volumes.grids import Grid, lay
from brainuad.volumes.native_space import to_prepared
from brainuad.volumes.resample import smoothed

NODE = shutil.which("node")
OLDEST = 20

AFFINE = np.array([[-1.5, 0.1, 0, 40], [0.1, 1.4, 0.2, -50], [0, -0.2, 2.5, -30], [0, 0, 0, 1.0]])
TARGET = Grid(
    (20, 24, 18), np.array([[2.0, 0, 0, -25], [0, 2, 0, -45], [0, 0, 2, -25], [0, 0, 0, 1]])
)


def _require_node() -> None:
    version = (
        subprocess.run([NODE or "node", "--version"], capture_output=True, text=True, check=False)
        if NODE
        else None
    )
    found = int(re.match(r"v(\d+)", version.stdout)[1]) if version else 0
    if found >= OLDEST:
        return
    assert not os.environ.get("BRAINUAD_REQUIRE_NODE"), f"Node {OLDEST} is required, found {found}"
    pytest.skip(f"no Node {OLDEST} or later here; apt-get install nodejs")


def _floats(path: Path, array: np.ndarray) -> None:
    np.asarray(array, "<f4").ravel("F").tofile(path)


def _files(folder: Path, rng: np.random.Generator) -> None:
    """NIfTI files of many kinds, with what nibabel reads."""
    listed = []

    def add(name: str, image: nib.nifti1.Nifti1Image, sides: bool = True) -> None:
        nib.save(image, folder / name)
        read = nib.load(folder / name)
        array = np.squeeze(read.get_fdata(dtype=np.float32))
        _floats(folder / f"{name}.f32", array)
        entry = {"file": name, "shape": array.shape, "affine": read.affine.ravel().tolist()}
        listed.append(entry | {"sides": sides})

    array = rng.integers(0, 200, (7, 8, 9))
    for kind in ("uint8", "int16", "uint16", "int32", "float32", "float64", "int64"):
        add(f"{kind}.nii.gz", nib.Nifti1Image(array.astype(kind), AFFINE, dtype=kind))
    scaled = nib.Nifti1Image(array / 7 - 3.0, AFFINE)
    scaled.set_data_dtype(np.int16)
    add("scaled.nii", scaled)
    big = nib.Nifti1Image(array.astype(np.int16), AFFINE, nib.Nifti1Header(endianness=">"))
    add("big_endian.nii", big)
    add("second.nii.gz", nib.Nifti2Image(array.astype(np.float32), AFFINE))
    qform = nib.Nifti1Image(array.astype(np.int16), np.diag([-1.0, -1, 3, 1]) @ _turned())
    qform.set_qform(qform.affine, 1)
    qform.set_sform(None, 0)
    add("qform.nii.gz", qform)
    plain = nib.Nifti1Image(array.astype(np.int16), None)
    plain.header.set_zooms((2.0, 3.0, 4.0))
    plain.set_sform(None, 0)
    plain.set_qform(None, 0)
    add("plain.nii.gz", plain, sides=False)
    add("trailing.nii.gz", nib.Nifti1Image(array[..., None].astype(np.int16), AFFINE))
    (folder / "files.json").write_text(json.dumps(listed))


def _turned() -> np.ndarray:
    turned = np.eye(4)
    angle = 0.3
    turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:3, 3] = 5, -6, 7
    return turned


def _laid(folder: Path, rng: np.random.Generator) -> None:
    """Volumes that our own functions resample."""
    listed = []
    for name, place in (("oblique.nii.gz", AFFINE), ("turned.nii.gz", _turned())):
        array = ndimage.gaussian_filter(rng.random((40, 44, 30)), 1.5).astype(np.float32)
        array = (array - array.min()) / np.ptp(array)
        nib.save(nib.Nifti1Image(array, place), folder / name)
        affine = nib.load(folder / name).affine
        _floats(folder / f"{name}.laid.f32", lay(array, affine, TARGET))
        moved = np.diag([1.1, 0.9, 1.05, 1]) @ affine
        inside = array > 0.3
        image = smoothed(Volume(np.where(inside, array, 0), affine), 2.0)
        share = smoothed(Volume(inside.astype(np.float32), affine), 2.0)
        _floats(folder / f"{name}.prepared.f32", to_prepared(image, moved, TARGET.empty))
        _floats(folder / f"{name}.inside.f32", to_prepared(share, moved, TARGET.empty) >= 0.5)
        grid = {"shape": TARGET.shape, "affine": TARGET.affine.ravel().tolist()}
        listed.append({"file": name, "grid": grid, "prepared": moved.ravel().tolist()})
    (folder / "laid.json").write_text(json.dumps(listed))


def _brains(folder: Path, rng: np.random.Generator) -> None:
    """A brain with noise around it, and what is no brain."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (60, 72, 60)), indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    affine = np.diag([3.0, 3.0, 3.0, 1])
    noise = rng.random(distance.shape)
    brain = np.where(distance < 0.65, 300 + 100 * noise, 2 * noise)
    brain[28:32, 34:38, 28:32] = 0
    brain[2:4, 2:4, 2:4] = 500
    scans = {
        "brain": brain,
        "head": np.where(distance < 1.2, 300 + 100 * noise, 0),
        "z_score": np.where(distance < 0.65, noise * 4 - 2, 0),
        "labels": np.where(distance < 0.65, 1 + (noise > 0.5), 0),
        "small": np.where(distance < 0.3, 300.0, 0) + noise * (distance < 0.3),
    }
    for name, array in scans.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), folder / f"{name}.nii.gz")
    _floats(folder / "brain.f32", extracted_brain_mask(brain.astype(np.float32)))


@pytest.mark.slow
def test_modules_of_the_page(tmp_path):
    _require_node()
    rng = np.random.default_rng(0)
    for write in (_files, _laid, _brains):
        write(tmp_path, rng)
    tests = sorted((ROOT / "web" / "test").glob("*.test.js"))
    assert tests
    done = subprocess.run(
        [NODE, "--test", *tests],
        env=os.environ | {"BRAINUAD_REFERENCE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    failed = [part for part in done.stdout.split("# Subtest: ") if "\nnot ok" in part]
    assert done.returncode == 0, "\n".join(failed)[-6000:]
    assert re.search(r"^# skipped 0$", done.stdout, re.MULTILINE)
    # Masks that the page wrote, by an independent reader.
    for entry in json.loads((tmp_path / "files.json").read_text()):
        scan, mask = (nib.load(tmp_path / (entry["file"] + end)) for end in ("", "_mask.nii.gz"))
        assert mask.shape == tuple(entry["shape"])
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-3)
        expected = np.arange(np.prod(mask.shape)).reshape(mask.shape, order="F") % 2
        np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
