import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from commands import call
from tiny import AFFINE, ROOT, brain, lesion, write_tiny_model

import brainuad
from brainuad.errors import InputError


@pytest.fixture
def folder(tmp_path):
    write_tiny_model(tmp_path / "model.ckpt")
    image = nib.Nifti1Image((brain(0)[0] + 0.4 * lesion()).astype(np.float32), AFFINE)
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path


def test_the_example_of_the_page_runs_as_it_stands(folder, monkeypatch, capsys):
    page = (ROOT / "docs" / "how-to" / "predict.md").read_text().split("## From Python")[1]
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len([line for line in example.splitlines() if line]) <= 15
    monkeypatch.chdir(folder)
    exec(compile(example, "predict.md", "exec"), {})
    assert "T2w tiny" in capsys.readouterr().out
    mask = nib.load("mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, AFFINE)
    assert (mask.get_fdata() > 0)[lesion()].mean() > 0.7


@pytest.mark.slow
def test_an_image_and_its_file_and_the_command_say_the_same(folder):
    model = brainuad.load(folder / "model.ckpt")
    first = model.predict(folder / "scan.nii.gz")
    second = model.predict(nib.load(folder / "scan.nii.gz"))
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.anomaly_map, second.anomaly_map)
    assert first.mask.any()
    pd.testing.assert_frame_equal(first.findings, second.findings)
    done = call("predict.py", "model.ckpt", "scan.nii.gz", "out", "--no-page", cwd=folder)
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_csv(folder / "out" / "subjects.csv").itertuples()
    assert row.score == pytest.approx(first.score, rel=1e-5)
    found = nib.load(folder / "out" / row.mask).get_fdata() > 0
    np.testing.assert_array_equal(found, first.mask)


def test_what_cannot_be_read_is_said(folder):
    model = brainuad.load(folder / "model.ckpt", threshold=0.5)
    assert model.predict(folder / "scan.nii.gz").threshold == 0.5
    with pytest.raises(InputError, match=r"none\.nii: no such file"):
        model.predict("none.nii")
    with pytest.raises(InputError, match="no model"):
        brainuad.load()
    with pytest.raises(AttributeError, match="has no attribute 'unload'"):
        brainuad.unload  # noqa: B018


def test_the_import_is_light():
    words = "import brainuad, sys; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
