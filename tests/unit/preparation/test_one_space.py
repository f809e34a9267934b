"""Brain-extracted scans that share a space are prepared on one grid, others each on its own."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import brain

from brainuad.errors import InputError
from brainuad.inference.find_scans import find_wanted
from brainuad.inference.prepare_scans import prepare_wanted
from brainuad.model.card import preparation_of
from brainuad.preparation.from_folder import folder_cohort
from brainuad.preparation.shared_grid import SharedGrid
from brainuad.records.recipe import Recipe
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build
from brainuad.volumes.nifti import read_mask, read_volume

SIZE = (34, 38, 30)
"""Voxels of 3 mm around a brain of 24 x 28 x 20."""


def put(path: Path, seed: int, at=(5, 5, 5), axes="RAS", world=1, corner=(0.0, 0, 0), size=SIZE):
    """A brain that lies `at` a voxel of an otherwise empty field of view."""
    array = np.zeros(size, np.int16)
    image, _ = brain(seed)
    array[tuple(slice(a, a + n) for a, n in zip(at, image.shape, strict=True))] = image * 900
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = corner
    scan = nib.nifti1.Nifti1Image(array, affine)
    order = nib.orientations.axcodes2ornt(axes)
    scan = scan.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), order)
    )
    scan.set_sform(scan.affine, world)
    scan.set_qform(scan.affine, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(scan, path)
    return path


def cohort_of(folder: Path, base: Path):
    return folder_cohort(folder, base / "cache", "T2w", spacing_mm=3.0)


def grids(cohort):
    return {
        (read_volume(s.image).array.shape, tuple(read_volume(s.image).affine.ravel()))
        for s in cohort.scans
    }


def in_world(path: Path, at: np.ndarray) -> np.ndarray:
    volume = read_volume(path)
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(volume.affine), at)).astype(int)
    return volume.array[tuple(index.T)]


def test_scans_of_one_grid_stay_aligned_whatever_the_order_of_their_axes(tmp_path, capsys):
    places = [(5, 5, 5), (4, 5, 6), (6, 5, 5), (5, 6, 4), (5, 5, 5)]
    for seed, at in enumerate(places):
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed, at, "LPS" if seed % 2 else "RAS")
    cohort = cohort_of(tmp_path / "in", tmp_path)
    line = "5 T2w scans share one grid of 34 x 38 x 30 voxels; it is kept: all are prepared on one"
    assert line in capsys.readouterr().out
    assert len(grids(cohort)) == 1
    for scan in cohort.scans:
        seed = int(scan.subject[1:])
        image, mask = brain(seed)
        inside = np.argwhere(mask)
        # The same place of the world has the same voxel: brains keep their places.
        at = 3.0 * (inside + places[seed])
        raw = np.round(image[mask] * 900 - 0.5)
        found = in_world(cohort.root / "work" / f"{scan.subject}_T2w.nii.gz", at)
        assert np.abs(found - raw).max() <= 1
        assert read_mask(scan.brain_mask).sum() == mask.sum()
    # The second call finds it, and says the same.
    assert cohort_of(tmp_path / "in", tmp_path).scans == cohort.scans
    assert line in capsys.readouterr().out


def test_what_says_nothing_is_prepared_as_it_was(tmp_path, capsys):
    """Each to its own brain, in the same bytes, under the same name as before there were spaces."""
    for seed in range(4):
        size = tuple(n + seed for n in SIZE)
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed, corner=(40.0 * seed, 0, 0), size=size)
    cohort = cohort_of(tmp_path / "in", tmp_path)
    said = capsys.readouterr().out
    assert "4 T2w scans lie on different grids, and their headers name no common space" in said
    assert "shared" not in json.loads((cohort.root / "cohort.json").read_text())["recipe"]["steps"]
    for scan in cohort.scans:
        seed = int(scan.subject[1:])
        volume = read_volume(scan.image)
        first = np.argwhere(brain(seed)[1]).min(0)
        # 8 mm are three voxels.
        corner = 3.0 * (first + 5 - 3) + [40.0 * seed, 0, 0]
        np.testing.assert_allclose(volume.affine[:3, 3], corner)


def test_one_grid_is_no_space_where_the_brains_lie_apart(tmp_path, capsys):
    for seed, at in enumerate([(0, 0, 0), (10, 10, 10), (0, 10, 0), (10, 0, 10)]):
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed, at)
    cohort = cohort_of(tmp_path / "in", tmp_path)
    assert "one grid of 34 x 38 x 30 voxels, but their brains overlap by" in capsys.readouterr().out
    assert len(grids(cohort)) == 4


@pytest.mark.parametrize(("world", "name"), [(4, "of MNI"), (2, "of another file")])
def test_headers_that_name_one_world_do_as_well(tmp_path, capsys, world, name):
    """Fields of view that differ by whole voxels: the prepared voxels are those that came."""
    for seed in range(4):
        low = (seed, 2 * seed % 5, 0)
        corner = tuple(-3.0 * n for n in low)
        at = tuple(5 + n for n in low)
        put(
            tmp_path / "in" / f"s{seed}_T2w.nii.gz",
            seed,
            at,
            world=world,
            corner=corner,
            size=(40, 44, 36),
        )
    cohort = cohort_of(tmp_path / "in", tmp_path)
    assert f"4 T2w scans name the world {name}; it is kept" in capsys.readouterr().out
    assert len(grids(cohort)) == 1
    for scan in cohort.scans:
        image, mask = brain(int(scan.subject[1:]))
        at = 3.0 * (np.argwhere(mask) + 5)
        found = in_world(cohort.root / "work" / f"{scan.subject}_T2w.nii.gz", at)
        assert np.abs(found - image[mask] * 900).max() <= 1


def test_a_world_of_another_file_takes_brains_that_agree(tmp_path, capsys):
    """Code 2 is what many programs write of any affine."""
    for seed in range(4):
        corner = (12.0 * seed, 0, 9.0 * (seed % 2))
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed, world=2, corner=corner)
    cohort = cohort_of(tmp_path / "in", tmp_path)
    assert "name the world of another file, but their brains overlap by" in capsys.readouterr().out
    assert len(grids(cohort)) == 4


def test_the_one_that_keeps_the_others_from_it_is_named(tmp_path, capsys):
    for seed in range(4):
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed)
    put(tmp_path / "in" / "odd_T2w.nii.gz", 5, size=(36, 38, 30))
    cohort_of(tmp_path / "in", tmp_path)
    said = capsys.readouterr().out
    assert "5 T2w scans lie on different grids" in said
    assert "4 share a grid" in said
    assert "odd_T2w.nii.gz has another one; resample" in said


def test_sequences_of_one_space_share_its_grid_and_others_keep_theirs(tmp_path, capsys):
    for seed in range(3):
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed)
        put(tmp_path / "in" / f"s{seed}_T1w.nii.gz", seed + 10)
        put(tmp_path / "in" / f"s{seed}_FLAIR.nii.gz", seed + 20, corner=(50.0 * seed, 0, 0))
    cohort = cohort_of(tmp_path / "in", tmp_path)
    assert "6 T1w, T2w scans share" in capsys.readouterr().out.replace("T2w, T1w", "T1w, T2w")
    by = {
        name: {read_volume(s.image).affine[0, 3] for s in cohort.scans if s.sequence == name}
        for name in ("T1w", "T2w", "FLAIR")
    }
    assert by["T1w"] == by["T2w"]
    assert len(by["FLAIR"]) == 3


def predicted(source: Path, recipe, base: Path):
    """Each scan of a source as a model with this recipe sees it, or why not."""
    steps = build(recipe.steps, RECIPE)
    wanted = find_wanted(source, "T2w", base / "out").wanted
    work = base / "work"
    for item, scan in prepare_wanted(wanted, steps, recipe, work, 1):
        yield item.scan_id, scan if isinstance(scan, str) else (scan.image, scan.brain_mask)


def test_a_model_prepares_scans_of_its_space_alike_and_refuses_others(tmp_path):
    for seed in range(4):
        put(tmp_path / "in" / f"s{seed}_T2w.nii.gz", seed)
    cohort = cohort_of(tmp_path / "in", tmp_path)
    recipe = preparation_of(cohort, "T2w")
    recipe = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    new = tmp_path / "new"
    put(new / "a_T2w.nii.gz", 7, axes="PIR")
    put(new / "b_T2w.nii.gz", 7, size=(40, 40, 30))
    put(new / "c_T2w.nii.gz", 7, at=(10, 5, 5))
    found = dict(predicted(new, recipe, tmp_path))
    same = read_volume(cohort.scans[0].image)
    image, mask = found["a_T2w"]
    assert image.array.shape == same.array.shape
    np.testing.assert_allclose(image.affine, same.affine)
    assert mask.sum() == brain(7)[1].sum()
    assert "b_T2w.nii.gz: it does not lie in the space of the other scans" in found["b_T2w"]
    assert "share one grid of 34 x 38 x 30 voxels; register it" in found["b_T2w"]
    assert "of its brain lies outside the grid of the scans whose space it shares" in found["c_T2w"]
    # What is prepared within the run is what a prediction sees.
    again = dict(predicted(tmp_path / "in", recipe, tmp_path))
    for scan in cohort.scans:
        known = read_volume(scan.image)
        np.testing.assert_array_equal(again[f"{scan.subject}_T2w"][0].array, known.array)


def test_a_model_of_a_named_world_takes_brains_that_lie_there(tmp_path):
    for seed in range(4):
        corner = (-3.0 * seed, 0, 0)
        put(
            tmp_path / "in" / f"s{seed}_T2w.nii.gz",
            seed,
            (5 + seed, 5, 5),
            "RAS",
            4,
            corner,
            (40, 38, 30),
        )
    recipe = preparation_of(cohort_of(tmp_path / "in", tmp_path), "T2w")
    new = tmp_path / "new"
    put(new / "a_T2w.nii.gz", 7, world=4, at=(2, 5, 5), corner=(9.0, 0, 0))
    put(new / "b_T2w.nii.gz", 7, world=1)
    # To the margin of the grid, but 10 mm off on each axis.
    put(new / "c_T2w.nii.gz", 7, world=4, corner=(10.0, 10.0, 10.0))
    found = dict(predicted(new, recipe, tmp_path))
    assert found["a_T2w"][1].sum() == brain(7)[1].sum()
    assert "which share the world of MNI; register it" in found["b_T2w"]
    assert "% of its brain lies where they have none; register it" in found["c_T2w"]


def test_a_shared_grid_has_one_spacing():
    grid = SharedGrid((2, 3, 4), np.diag([2.0, 2, 2, 1]).tolist(), ((0, 0, 0), (1, 1, 1)))
    recipe = {
        "_target_": "brainuad.preparation.pipeline.Preparation",
        "skullstrip": {"_target_": "brainuad.preparation.skullstrip.extracted.Extracted"},
        **dict.fromkeys(("bias", "between", "atlas")),
        "reference": ["T2w"],
        "spacing_mm": 1.0,
        "shared": {
            "T2w": {
                "_target_": "brainuad.preparation.shared_grid.SharedGrid",
                **{name: getattr(grid, name) for name in ("shape", "affine", "brain_mm")},
            }
        },
    }
    with pytest.raises(InputError, match="is 1.0, but the grid that the T2w scans share"):
        build(recipe, RECIPE)
    assert build({**recipe, "spacing_mm": 2.0}, RECIPE).shared["T2w"].grid.shape == (2, 3, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (2, 3)},
        {"shape": (0, 3, 4)},
        {"affine": np.zeros((4, 4)).tolist()},
        {"affine": np.full((4, 4), np.nan).tolist()},
        {"brain_mm": ((0, 0), (1, 1))},
        {"native_shape": (2, 3, 4)},
        {"native_affine": np.eye(4).tolist()},
    ],
)
def test_a_grid_that_is_none_is_refused(wrong):
    right = {"shape": (2, 3, 4), "affine": np.eye(4).tolist(), "brain_mm": ((0, 0, 0), (1, 1, 1))}
    SharedGrid(**right)
    with pytest.raises(ValueError, match="grid"):
        SharedGrid(**{**right, **wrong})
