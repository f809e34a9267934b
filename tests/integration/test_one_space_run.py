"""A folder of aligned brains trains an atlas, and a prediction sees what the run saw."""

import nibabel as nib
import numpy as np
import pytest
from tiny import brain, lesion

from brainuad.volumes.nifti import read_volume, write_volume

HEALTHY, SICK = 7, "s7"


@pytest.fixture
def clinic(tmp_path):
    """Seven healthy brains and a sick one in one field of view, in two orders of the axes."""
    root = tmp_path / "clinic"
    for seed in range(HEALTHY + 1):
        image, _ = brain(seed)
        image = image + 0.4 * lesion() * (seed == HEALTHY)
        for kind, array in (("T2w", image * 900), ("T2w_lesion", lesion())):
            if kind == "T2w_lesion" and seed < HEALTHY:
                continue
            affine = np.diag([3.0, 3.0, 3.0, 1.0])
            affine[:3, 3] = -15
            scan = nib.nifti1.Nifti1Image(np.pad(array, 5).astype(np.int16), affine)
            if seed % 2:
                scan = scan.as_reoriented(np.array([[0, -1], [2, 1], [1, -1]]))
            name = root / f"s{seed}_{kind}.nii.gz"
            root.mkdir(exist_ok=True)
            nib.save(scan, name)
    return root


@pytest.mark.parametrize(
    "words",
    [
        ("experiment=zscore", "model.atlas.min_count=2"),
        ("experiment=intensity", "model.equalise=false", "relative=healthy"),
    ],
)
def test_aligned_scans_train_an_atlas_and_are_predicted_alike(clinic, tmp_path, run, words):
    out = tmp_path / "run"
    done = run(
        "train.py",
        *words,
        *("input=intensity", "data=folder", f"data.source={clinic}", "data.sequence=T2w"),
        *("data.spacing_mm=3", "data.slice_size=[48,48]", "data.cohort.val_fraction=0.3"),
        *(f"paths.cache_dir={tmp_path / 'cache'}", f"paths.output_dir={out}", "controls=none"),
        *("jobs=1", "report=false"),
    )
    assert done.returncode == 0, done.stderr
    assert "8 T2w scans share one grid of 34 x 38 x 30 voxels; it is kept" in done.stdout
    found = read_volume(out / "prepared" / f"{SICK}_anomaly.nii.gz")
    new = tmp_path / "new"
    new.mkdir()
    (new / f"{SICK}_T2w.nii.gz").symlink_to(clinic / f"{SICK}_T2w.nii.gz")
    write_volume(new / "far_T2w.nii.gz", brain(3)[0] * 900, np.diag([3.0, 3, 3, 1]))
    done = run("predict.py", out, new, tmp_path / "pred", "--keep-maps")
    assert done.returncode == 3, done.stderr
    assert "far_T2w.nii.gz: it does not lie in the space of the other scans" in done.stderr
    again = read_volume(tmp_path / "pred" / "prepared" / f"{SICK}_T2w_anomaly.nii.gz")
    np.testing.assert_array_equal(again.affine, found.affine)
    np.testing.assert_array_equal(again.array, found.array)
