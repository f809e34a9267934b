"""Build the page that finds lesions in a browser: sources, libraries, models, atlas, an example.

    python web/build.py build/site/try

Run `npm ci` in `web/` first. Any web server can serve the folder as it is.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainuad.cohorts.places import as_plain, from_plain
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.formats.onnx import write_onnx
from brainuad.methods.parts.tissue_atlas import ATLAS_MM
from brainuad.model.model import Model
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.subject import prepare_subject
from brainuad.preparation.transforms.grid import PreparedGridd
from brainuad.shipped import DEFAULT, DEMO, SENSITIVITY, ShippedModel, models
from brainuad.volumes.grids import Grid, grid_of, lay
from brainuad.volumes.template import load_template

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "try"
PACKAGES = Path(__file__).parent / "node_modules"
NIIVUE = ROOT / "src" / "brainuad" / "reporting" / "viewer" / "static"
LIBRARIES = (
    PACKAGES / "onnxruntime-web" / "dist" / "ort.wasm.bundle.min.mjs",
    PACKAGES / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm",
    PACKAGES / "@niivue" / "dcm2niix" / "dist" / "dcm2niix.jpeg.js",
    PACKAGES / "@niivue" / "dcm2niix" / "dist" / "dcm2niix.jpeg.wasm",
    NIIVUE / "niivue.js",
    NIIVUE / "niivue.LICENSE.txt",
)

KEPT = ROOT / "build" / "onnx"
"""Folder of the exported models."""

PACKED = np.iinfo(np.uint16).max
"""Largest stored value of the atlas: its maps are in [0, 1], off by at most 1e-5."""


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder, made if it is missing")
    build(parser.parse_args().out)


def build(out: Path) -> None:
    """Build the page in a folder.

    Raises:
        InputError: the npm packages are not installed, or models on several grids.
    """
    assets = out / "assets"
    shutil.copytree(PAGE, out, dirs_exist_ok=True)
    assets.mkdir(exist_ok=True)
    for path in LIBRARIES:
        if not path.is_file():
            raise InputError(f"{path}: no such file; run npm ci in {PACKAGES.parent}")
        shutil.copyfile(path, assets / path.name)
    shipped = [one for one in models() if one.name == DEFAULT]
    loaded = [Model.load(one.path) for one in shipped]
    grid = from_plain(loaded[0].card.grid)
    entries = {}
    for one, model in zip(shipped, loaded, strict=True):
        if model.card.grid != loaded[0].card.grid:
            raise InputError(f"{one.path}: on another grid than {shipped[0].path}")
        entries[one.sequence] = described(one, model)
        export(one, assets / entries[one.sequence]["file"])
    write_atlas(assets / "atlas.nii.gz", grid)
    write_example(assets / "example.nii.gz", loaded[0])
    about = {
        "models": entries,
        "prepared": as_plain(prepared_grid(loaded[0])),
        "sensitivity": SENSITIVITY,
    }
    about["prepared"]["affine"] = np.ravel(about["prepared"]["affine"]).tolist()
    (assets / "models.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def described(one: ShippedModel, model: Model) -> dict[str, Any]:
    """Return what the page has to know of a model, from its card and its module."""
    (small,) = model.postprocess.mask_steps
    return {
        "file": f"{one.name}-{one.sequence}.onnx",
        "threshold": model.fixed_threshold,
        "smallest_mm3": small.min_volume_mm3,
    }


def prepared_grid(model: Model) -> Grid:
    """Return the grid that the models' preparation resamples every scan to."""
    steps, atlas = model.known.steps, load_brain_atlas()
    grid = PreparedGridd("scan", steps.spacing_mm, steps.margin_mm)
    return grid_of(grid.grid_of(atlas.image, atlas.brain_mask))


def export(one: ShippedModel, path: Path) -> None:
    """Write a model as ONNX; it is exported once and kept."""
    kept = KEPT / f"{one.name}-{one.sequence}-{one.sha256[:12]}"
    if not (kept / "model.onnx").is_file():
        write_onnx(one.path, kept)
    shutil.copyfile(kept / "model.onnx", path)


def write_atlas(path: Path, grid: Grid) -> None:
    """Write the brain and the T1w of the atlas on the grid of the models, in [0, 1]."""
    template, atlas = load_template(ATLAS_MM), load_brain_atlas()
    brain = lay(template.brain, template.affine, grid)
    head = lay(atlas.image.array, atlas.image.affine, grid)
    stored = np.rint(np.stack([brain, head / head.max()], -1) * PACKED).astype(np.uint16)
    image = nib.nifti1.Nifti1Image(stored, grid.affine)
    image.header.set_slope_inter(1 / PACKED, 0)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def write_example(path: Path, model: Model) -> None:
    """Write the head that comes with brainuad, prepared."""
    with tempfile.TemporaryDirectory(prefix="brainuad-") as name:
        scan = RawScan("example", "FLAIR", DEMO, healthy=True)
        (record,), failures = prepare_subject([scan], model.known.steps, Path(name))
        if failures:
            raise InputError(failures[0][1])
        shutil.copyfile(Path(name) / record.image, path)


if __name__ == "__main__":
    main()
