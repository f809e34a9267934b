"""brainuad-predict on raw scans: many files, some broken, and a real head turned over."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
from commands import without_coverage
from nibabel.affines import apply_affine
from tiny import ROOT, write_tiny_model

from brainuad.cli.predict import main
from brainuad.preparation.recipes import default


def test_twenty_five_files_of_which_ten_are_broken_in_ten_ways():
    script = ROOT / "experiments" / "benchmarks" / "predict_many.py"
    command = [sys.executable, script, "--count", "25", "--broken", "10"]
    env = without_coverage()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["results"], found["reasons"], found["exit_status"]) == (15, 10, 3)
    assert found["with_a_finding"] == 15
    assert found["only_the_broken_failed"]
    assert len(found["kinds"]) == 10
    # Only what failed is tried again.
    assert found["second_run"]["to_do"].startswith("to do: 10 scans, 15 are done already")
    assert found["second_run"]["exit_status"] == 3
    memory = found["resident_mib"]
    assert memory["1.0"] < 1.1 * memory["0.1"]


def test_the_mask_lies_on_the_lesion_in_a_real_head_however_it_lies(real_data, tmp_path):
    """A bright ball in the white matter of a whole head, skull on, its axes turned and flipped."""
    folder = real_data / "ixi_t1_2mm" / "IXI012-HH-1211"
    head = nib.load(folder / "T1.nii.gz")
    brain = nib.load(folder / "parcellation.nii.gz").get_fdata() > 0
    array = head.get_fdata(dtype=np.float32)
    centre = np.argwhere(brain).mean(axis=0) + np.array([12, -6, 12])
    away = np.linalg.norm(np.moveaxis(np.indices(array.shape), 0, -1) - centre, axis=-1)
    array += np.clip(5 - away, 0, 1) * (1.4 * np.percentile(array[brain], 99) - array)
    painted = nib.Nifti1Image(array, head.affine)
    turned = painted.as_reoriented([[2, -1], [0, 1], [1, -1]])
    scan = tmp_path / "head_T1w.nii.gz"
    nib.save(turned, scan)
    model = write_tiny_model(
        tmp_path / "model.ckpt", sequence="T1w", preparation=default(2.0).to_json(), threshold=0.97
    )
    assert main([str(model), str(scan), str(tmp_path / "out"), "--no-page"]) == 0
    (row,) = pd.read_csv(tmp_path / "out" / "subjects.csv").itertuples()
    for name in (row.anomaly, row.mask):
        found = nib.load(tmp_path / "out" / name)
        assert found.shape == turned.shape
        np.testing.assert_array_equal(found.affine, turned.affine)
    first = pd.read_csv(tmp_path / "out" / "findings.csv").iloc[0]
    truth = apply_affine(head.affine, centre)
    assert np.linalg.norm(first[["x_mm", "y_mm", "z_mm"]] - truth) < 3
    middle = apply_affine(head.affine, np.argwhere(brain).mean(axis=0))
    assert abs(truth[0] - middle[0]) > 10
    assert first.side == ("right" if truth[0] > middle[0] else "left")
    assert np.linalg.norm(first[["mni_x", "mni_y", "mni_z"]]) < 80
