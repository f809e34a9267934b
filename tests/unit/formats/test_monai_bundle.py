"""MONAI bundles: MONAI verifies and runs them without brainuad; nothing strange is executed."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from tiny import AFFINE, ROOT, brain, write_tiny_model

from brainuad.cli.export import main
from brainuad.formats import agreement, monai_texts
from brainuad.formats.monai_bundle import MEMBERS
from brainuad.model.api import load
from brainuad.model.prepared_scan import PreparedScan
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build
from brainuad.types import Space, Volume

pytestmark = pytest.mark.slow

SCHEMA = ROOT / "tests" / "data" / "monai_meta_schema.json"
"""monai/bundle/meta_schema.json of Project-MONAI/MONAI at 1e132212, Apache-2.0."""

HOSTILE = "$__import__('pathlib').Path('pwned').touch()"

POSTPROCESS = {
    "_target_": "brainuad.postprocess.pipeline.Postprocess",
    "map_steps": [
        {"_target_": "brainuad.postprocess.smooth.Median", "size_mm": 9.0},
        {"_target_": "brainuad.postprocess.erode.ErodeBrainMask", "radius_mm": 3.0},
    ],
    "threshold": {"_target_": "brainuad.postprocess.threshold.HealthyThreshold"},
    "mask_steps": [
        {"_target_": "brainuad.postprocess.components.RemoveSmall", "min_volume_mm3": 200.0}
    ],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monai")
    strange = {"name": HOSTILE, "cohort": HOSTILE, "about": f"%{HOSTILE}", "licence": HOSTILE}
    own = {"postprocess": POSTPROCESS, "flips": True, "threshold": 0.25}
    run = write_tiny_model(folder / "run" / "model.ckpt", "strega", **strange, **own)
    with pytest.MonkeyPatch.context() as patch:
        # The others take seconds.
        patch.setattr(agreement, "LESIONS_ML", (1.0,))
        assert main([str(run), str(folder / "out"), "--format", "monai"]) == 0
    return run, folder / "out"


def test_monai_verifies_the_metadata(bundle):
    from monai.bundle.scripts import verify_metadata

    out = bundle[1]
    verify_metadata(meta_file=str(out / "configs" / "metadata.json"), filepath=str(SCHEMA))
    files = [path for path in out.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(out).as_posix() for path in files) == sorted(MEMBERS)
    facts = json.loads((out / "docs" / "model.json").read_text())
    assert facts["agreement"]["largest_difference"] <= 1e-3
    assert facts["agreement"]["smallest_dice"] in (None, pytest.approx(1, abs=1e-3))
    network = (out / "models" / "model.ts").read_bytes()
    assert str(ROOT).encode() not in network
    assert b"site-packages" not in network


def test_strings_of_the_model_are_in_no_expression(bundle):
    out = bundle[1]
    step = {"connectivity": 3, "min_size": 200.0 * (1 - 1e-6), "by_measure": True}
    harmless = monai_texts.inference(0.25, [step])
    assert json.loads((out / "configs" / "inference.json").read_text()) == harmless

    def texts(value):
        if isinstance(value, dict):
            return [*value, *(text for item in value.values() for text in texts(item))]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    found = texts(json.loads((out / "configs" / "metadata.json").read_text()))
    assert any(HOSTILE in text for text in found)
    assert not [text for text in found if text.startswith(("$", "@", "%", "_target_"))]


@pytest.mark.parametrize("axes", [("L", "S", "P")], ids="".join)
def test_monai_runs_it_without_brainuad_and_finds_the_same(bundle, tmp_path, axes):
    pytest.importorskip("fire", reason="python -m monai.bundle needs fire")
    run, out = bundle
    image, brain_mask = brain(3)
    image[8:14, 9:15, 7:12] = 1
    image = np.where(brain_mask, image, 0).astype(np.float32)
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("scan", "brain")}
    for path, array in zip(paths.values(), (image, brain_mask.astype(np.float32)), strict=True):
        plain = nib.Nifti1Image(1000 * array if path == paths["scan"] else array, AFFINE)
        order = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt(("R", "A", "S")), nib.orientations.axcodes2ornt(axes)
        )
        nib.save(plain.as_reoriented(order), path)
    # A package of that name that cannot be imported stands in front.
    (tmp_path / "no" / "brainuad").mkdir(parents=True)
    (tmp_path / "no" / "brainuad" / "__init__.py").write_text("raise ImportError('not here')")
    words = ["--config_file", str(out / "configs" / "inference.json"), "--bundle_root", str(out)]
    words += ["--meta_file", str(out / "configs" / "metadata.json")]
    words += ["--image", str(paths["scan"]), "--brain_mask", str(paths["brain"])]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *words, "--output_dir", str(tmp_path / "r")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "no")},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.rglob("pwned"))
    model = load(run, device="cpu")
    seen = build(model.known.recipe.normalise, RECIPE)(1000 * image, brain_mask)
    prepared = tmp_path / "prepared.nii.gz"
    nib.save(nib.Nifti1Image(seen, AFFINE), prepared)
    scan = PreparedScan(Volume(seen, AFFINE), brain_mask, Space(prepared, ()))
    expected = model.predict_prepared(scan)
    assert expected.mask.any()
    stored = nib.load(paths["scan"])
    for kind, own in (("anomaly", expected.anomaly_map), ("mask", expected.mask)):
        found = nib.load(tmp_path / "r" / f"scan_{kind}.nii.gz")
        assert found.shape == stored.shape
        np.testing.assert_allclose(found.affine, stored.affine, atol=1e-5)
        array = nib.as_closest_canonical(found).get_fdata()
        assert np.abs(array - own).max() <= (1e-3 if kind == "anomaly" else 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"masks_last": True}, "masks_last"),
        ({"binarise": {"_target_": "brainuad.postprocess.threshold.Hysteresis", "low": 0.5}}, "Hy"),
        ({"mask_steps": [{"_target_": "brainuad.postprocess.components.FillHoles"}]}, "FillHoles"),
        (
            {"map_steps": [{"_target_": "brainuad.postprocess.smooth.Gaussian", "sigma_mm": 2.0}]},
            "Gaussian",
        ),
    ],
)
def test_post_processing_that_monai_lacks_is_refused(tmp_path, capsys, change, said):
    run = write_tiny_model(tmp_path / "model.ckpt", "strega", postprocess=POSTPROCESS | change)
    assert main([str(run), str(tmp_path / "out"), "--format", "monai"]) != 0
    assert f"has {said}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
