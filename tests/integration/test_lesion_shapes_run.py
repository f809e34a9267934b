"""Lesions painted in the outlines of real ones, by the real commands."""

import shutil

import numpy as np
import pandas as pd
from commands import call
from tiny import AFFINE, lesion, write_tiny_cohort

from brainuad.volumes.nifti import write_volume


def test_a_model_is_trained_with_lesion_masks_and_used_without_them(tmp_path):
    masks, out = tmp_path / "masks", tmp_path / "run"
    write_volume(masks / "a.nii.gz", lesion(), AFFINE, np.uint8)
    root = write_tiny_cohort(tmp_path / "cohort").root
    words = ["experiment=fpi_shapes", "data=folder", f"data.source={root}", "data.sequence=T2w"]
    words += ["data.spacing_mm=3", "data.slice_size=[32,32]", "max_epochs=1", "jobs=1"]
    words += ["controls=none", "report=false", f"paths.cache_dir={tmp_path / 'cache'}"]
    words += [f"paths.output_dir={out}"]

    missing = call("train.py", *words)
    assert missing.returncode == 2
    assert missing.stderr == "error: lesions.folder is not set; give lesions.folder=VALUE\n"
    empty = call("train.py", *words, f"lesions.folder={tmp_path / 'none'}")
    assert empty.returncode == 2
    assert f"{tmp_path / 'none'}: no lesion mask" in empty.stderr
    assert not out.exists()

    done = call("train.py", *words, f"lesions.folder={masks}")
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores[scores.threshold == "fixed"].threshold_value) == {0.5}
    shutil.rmtree(masks)
    done = call("predict.py", out, root, tmp_path / "out", "--no-page")
    assert done.returncode == 0, done.stderr
