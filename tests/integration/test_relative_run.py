"""`relative=healthy` by the real commands, on the tiny cohort."""

import numpy as np
from tiny import write_tiny_cohort

from brainuad.model.model import Model
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


def command(cohort, base, out, *more):
    return [
        "experiment=intensity",
        "input=intensity",
        "data=folder",
        f"data.source={cohort.root}",
        "data.sequence=T2w",
        "data.spacing_mm=3",
        "data.slice_size=[32,32]",
        f"paths.cache_dir={base / 'cache'}",
        f"paths.output_dir={base / out}",
        "controls=none",
        "report=false",
        *more,
    ]


def test_maps_are_those_of_the_method_over_the_training_brains_mean(tmp_path, run):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    for out, more in {"plain": [], "relative": ["relative=healthy", "relative.sigma=0"]}.items():
        done = run("train.py", *command(cohort, tmp_path, out, "model.equalise=false", *more))
        assert done.returncode == 0, done.stderr
    # Without equalisation the intensity is the score, so the training images are their own maps.
    train = cohort.select("train", "T2w", healthy=True)
    images = np.stack([read_volume(scan.image).array for scan in train])
    brains = np.stack([read_mask(scan.brain_mask) for scan in train])
    mean = np.where(brains, images, 0).sum(0) / np.maximum(brains.sum(0), 1)
    overall = images[brains].mean()
    expected = np.where(brains.any(0), mean, overall) + 0.25 * overall
    for scan in cohort.select("test", "T2w"):
        name = f"prepared/{scan.subject}_anomaly.nii.gz"
        plain, relative = (read_volume(tmp_path / out / name) for out in ("plain", "relative"))
        np.testing.assert_allclose(relative.array, plain.array / expected, rtol=1e-5)
    assert not (tmp_path / "relative" / "healthy_maps").exists()
    # It travels with the model.
    model = Model.load(tmp_path / "relative")
    again = model.on_device().detect_scan(scan)
    np.testing.assert_array_equal(again.anomaly_map[0].numpy(), relative.array)
    assert model.card.relative["sigma"] == 0


def test_scans_that_lie_elsewhere_are_refused(tmp_path, run):
    cohort = write_tiny_cohort(tmp_path / "cohort")
    for path in (cohort.root / "sub01.nii.gz", cohort.root / "sub01_brain.nii.gz"):
        volume = read_volume(path)
        volume.affine[0, 3] += 60
        write_volume(path, volume.array, volume.affine)
    done = run("train.py", *command(cohort, tmp_path, "run", "relative=healthy"))
    assert done.returncode != 0
    assert "relative: 3 training scans lie on several grids, and their brains" in done.stderr
    assert "register the cohort, or set relative=none" in done.stderr
    assert "Traceback" not in done.stderr


def test_scans_on_another_grid_of_the_same_world_are_laid_by_their_affine(tmp_path, run):
    found = []
    for where in ("same", "apart"):
        cohort = write_tiny_cohort(tmp_path / where)
        for name in ("sub01.nii.gz", "sub01_brain.nii.gz") if where == "apart" else ():
            volume = read_volume(cohort.root / name)
            volume.affine[0, 3] -= 3
            # As large as the others: by their shapes they would be added voxel by voxel.
            array = np.pad(volume.array, ((1, 0), (0, 0), (0, 0)))[:-1]
            write_volume(cohort.root / name, array, volume.affine)
        words = ("model.equalise=false", "relative=healthy")
        done = run("train.py", *command(cohort, tmp_path, f"run_{where}", *words))
        assert done.returncode == 0, done.stderr
        found.append(read_volume(tmp_path / f"run_{where}" / "prepared" / "sub06_anomaly.nii.gz"))
    assert "they are laid on one of 25 x 28 x 20 voxels by their affines" in done.stdout
    np.testing.assert_allclose(found[1].array, found[0].array, rtol=1e-5)
