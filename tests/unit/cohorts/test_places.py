"""Scans of one world on several grids are laid on one by their affines; others are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import AFFINE, SHAPE, brain, lesion

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.places import as_plain, laid, shared_grid
from brainuad.errors import InputError
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.methods.parts.residuals import signed
from brainuad.methods.zscore import ZScore
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.fit import measure
from brainuad.volumes.grids import Grid, lay, united
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.tiling import VolumeTiling

# Of the ellipsoids, none has brain there.
EMPTY = 1


def moved(array: np.ndarray, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
    """Cut `-n` voxels off an end of an axis, or put `n` empty ones there."""
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        ends = (max(a, 0), max(b, 0))
        array = np.pad(array, [ends if i == axis else (0, 0) for i in range(3)])
        stop = array.shape[axis] + min(b, 0)
        array = np.take(array, np.arange(-min(a, 0), stop), axis)
    return array


def affine_of(low: tuple[int, ...], shift_mm: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += -3.0 * np.array(low) + shift_mm
    return affine


def write_scan(root: Path, seed: int, split: str, low=(0,) * 3, high=(0,) * 3, shift=(0,) * 3):
    image, mask = brain(seed)
    name, affine = f"s{seed}", affine_of(low, shift)
    paths = {"image": root / f"{name}.nii.gz", "brain_mask": root / f"{name}_brain.nii.gz"}
    write_volume(paths["image"], moved(image, low, high), affine)
    write_volume(paths["brain_mask"], moved(mask, low, high), affine, np.uint8)
    return Scan(subject=name, sequence="T2w", healthy=True, split=split, **paths)


def fitted(root: Path, scans: list[Scan]) -> Model:
    cohort = Cohort(root, tuple(scans), {})
    tiling = VolumeTiling()
    model = Model(ZScore(signed, HealthyAtlas(min_count=2)), None, tiling)
    measure(model, HealthyDataModule(cohort, "T2w", tiling, root / "cache", batch_size=1))
    return model


def sick(low=(0,) * 3, high=(0,) * 3) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = brain(9)
    image = np.clip(image + 0.4 * lesion(), 0, 1).astype(np.float32)
    parts = (moved(image, low, high), moved(mask, low, high))
    return torch.from_numpy(parts[0])[None], torch.from_numpy(parts[1].astype(bool))[None]


ENDS = st.tuples(*[st.integers(-EMPTY, 4)] * 3)


@pytest.mark.slow
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(ENDS, ENDS), min_size=4, max_size=4), st.tuples(ENDS, ENDS))
def test_scans_on_other_grids_of_one_world_give_the_same_atlas_and_map(
    tmp_path_factory, grids, other
):
    root = tmp_path_factory.mktemp("places")
    plan = ("train", "train", "train", "val")
    same = [write_scan(root / "same", seed, split) for seed, split in enumerate(plan)]
    apart = [
        write_scan(root / "apart", seed, split, *ends)
        for (seed, split), ends in zip(enumerate(plan), grids, strict=True)
    ]
    one, several = fitted(root / "same", same), fitted(root / "apart", apart)
    grid = several.card.grid
    for name in ("mean", "std"):
        found = lay(
            getattr(several.method.atlas, name)[0].numpy(),
            np.array(grid["affine"]),
            Grid(SHAPE, AFFINE),
        )
        inside = np.logical_or.reduce([brain(seed)[1] for seed in range(3)])
        expected = getattr(one.method.atlas, name)[0].numpy()
        np.testing.assert_array_equal(found[inside], expected[inside])
    image, mask = sick()
    expected = one.detect(image, mask, affine=AFFINE).anomaly_map[0]
    image, mask = sick(*other)
    for detector in (one, several):
        found = detector.detect(image, mask, affine=affine_of(other[0]))
        assert found.anomaly_map.shape == (1, *mask.shape[1:])
        back = lay(found.anomaly_map[0].numpy(), affine_of(other[0]), Grid(SHAPE, AFFINE))
        np.testing.assert_array_equal(back, expected.numpy())


def test_equal_shapes_elsewhere_in_the_world_are_never_added(tmp_path):
    scans = [write_scan(tmp_path, seed, "train") for seed in range(3)]
    scans.append(write_scan(tmp_path, 3, "val"))
    scans[1] = write_scan(tmp_path, 1, "train", shift=(0.0, 0.0, 33.0))
    with pytest.raises(InputError, match="3 training scans lie on several grids, and their brains"):
        fitted(tmp_path, scans)
    # A few millimetres are no other world: the voxels are those of the same places.
    scans[1] = write_scan(tmp_path, 1, "train", shift=(3.0, 0.0, 0.0))
    detector = fitted(tmp_path, scans)
    (first, _), (second, _), (third, _) = (load_scan(scan) for scan in scans[:3])
    shifted = torch.zeros_like(second)
    shifted[:, 1:] = second[:, :-1]
    at = (slice(None), slice(8, 16), slice(8, 16), slice(8, 12))
    expected = torch.stack([first, shifted, third]).mean(0)[at]
    atlas = HealthyAtlas(sigma=0, min_count=2)
    plain = Model(ZScore(signed, atlas), None, VolumeTiling())
    data = HealthyDataModule(
        Cohort(tmp_path, tuple(scans), {}), "T2w", VolumeTiling(), tmp_path / "c"
    )
    measure(plain, data)
    torch.testing.assert_close(plain.method.atlas.mean[at], expected, atol=1e-3, rtol=0)
    assert detector.card.grid["shape"] == [25, 28, 20]


def test_one_scan_astray_is_listed_and_the_rest_is_done(tmp_path):
    scans = [write_scan(tmp_path, seed, "val" if seed == 4 else "train") for seed in range(5)]
    scans[1] = write_scan(tmp_path, 1, "train", shift=(0.0, 0.0, 90.0))
    detector = Model(ZScore(signed, HealthyAtlas(sigma=0, min_count=2)), None, VolumeTiling())
    data = HealthyDataModule(Cohort(tmp_path, tuple(scans), {}), "T2w", VolumeTiling(), tmp_path)
    measure(detector, data)
    assert [name for name, _ in data.failures] == ["s1"]
    assert "100% of its brain lies outside the grid" in data.failures[0][1]
    expected = torch.stack([load_scan(scans[i])[0] for i in (0, 2, 3)]).mean(0)
    inside = torch.from_numpy(brain(0)[1])[None]
    torch.testing.assert_close(
        detector.method.atlas.mean[inside], expected[inside], atol=1e-3, rtol=0
    )


def test_a_scan_of_another_world_is_refused_by_an_atlas(tmp_path):
    scans = [write_scan(tmp_path, seed, "val" if seed == 3 else "train") for seed in range(4)]
    detector = fitted(tmp_path, scans)
    image, mask = sick()
    with pytest.raises(
        InputError, match="of its brain lies outside the grid of the training scans"
    ):
        detector.detect(image, mask, affine=affine_of((0,) * 3, (60, 0, 0)))
    # Nobody knows where it lies: as the training scans, as ever.
    found = detector.detect(image, mask)
    expected = detector.detect(image, mask, affine=AFFINE)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map, rtol=0, atol=0)


def test_a_model_without_a_grid_goes_by_the_array(tmp_path):
    scans = [write_scan(tmp_path, seed, "val" if seed == 3 else "train") for seed in range(4)]
    detector = fitted(tmp_path, scans)
    image, mask = sick()
    expected = detector.detect(image, mask, affine=AFFINE)
    detector.method.grid = None
    found = detector.detect(image, mask, affine=affine_of((9, 9, 9)))
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map, rtol=0, atol=0)


def test_half_a_voxel_is_interpolated(tmp_path):
    scans = [write_scan(tmp_path, seed, "val" if seed == 3 else "train") for seed in range(4)]
    detector = fitted(tmp_path, scans)
    image, mask = sick()
    expected = detector.detect(image, mask, affine=AFFINE).anomaly_map
    finer = AFFINE.copy()
    finer[:3, :3] /= 2
    # The corner of the first coarse voxel stays where it is.
    finer[:3, 3] -= 0.75
    fine = [torch.from_numpy(np.kron(part[0], np.ones((2, 2, 2))))[None] for part in (image, mask)]
    found = detector.detect(fine[0].float(), fine[1].bool(), affine=finer).anomaly_map
    inside = lesion()
    coarse = found[0].reshape(24, 2, 28, 2, 20, 2).mean((1, 3, 5)).numpy()
    assert coarse[inside].mean() > 0.6 * expected[0].numpy()[inside].mean()
    assert coarse[inside].mean() > 3 * coarse[brain(9)[1] & ~inside].mean()


def test_slices_of_several_worlds_count_as_they_lie(tmp_path):
    """Methods that can do without places are trained on scans that share none, as before."""
    from brainuad.methods.parts.prototypes import HealthyPrototypes

    class Looks(ZScore):
        traits = replace(ZScore.traits, places="used")

        def __init__(self):
            super().__init__(signed, HealthyAtlas())
            self.atlas = HealthyPrototypes(1, 1)

        def measure(self, batches):
            self.atlas.measure(batch.image for batch in batches)

    scans = [write_scan(tmp_path, 3, "val")]
    scans += [write_scan(tmp_path, seed, "train", shift=(0, 0, 60.0 * seed)) for seed in range(3)]
    cohort = Cohort(tmp_path, tuple(scans), {})
    detector = Model(Looks(), None, VolumeTiling())
    data = HealthyDataModule(cohort, "T2w", VolumeTiling(), tmp_path / "cache")
    measure(detector, data)
    assert detector.card.grid is None
    expected = torch.stack([load_scan(scan)[0] for scan in scans[1:]]).mean(0)
    torch.testing.assert_close(detector.method.atlas.images[0], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("flip", [(0, 1, 2), (2, 0, 1)])
def test_the_order_of_the_axes_is_no_other_place(flip):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    order = np.eye(4)[:, [*flip, 3]]
    turned = np.transpose(array, flip)[::-1]
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = turned.shape[0] - 1
    np.testing.assert_array_equal(lay(turned, order @ mirror, Grid((2, 3, 4), np.eye(4))), array)


def test_a_grid_that_covers_others_has_the_voxels_of_the_first():
    second = np.diag([2.0, 2, 2, 1])
    second[:3, 3] = (-4, 2, 1)
    found = united([Grid((4, 4, 4), np.diag([2.0, 2, 2, 1])), Grid((3, 4, 4), second)])
    assert found.shape == (6, 5, 5)
    assert found.affine[:3, 3].tolist() == [-4, 0, 0]
    far = Grid((2, 2, 2), np.diag([1.0, 1, 1, 1]))
    far.affine[0, 3] = 50
    assert not lay(np.ones((2, 2, 2)), np.eye(4), far).any()


def test_scans_on_one_grid_keep_it_and_are_not_looked_at(tmp_path):
    scans = [write_scan(tmp_path, seed, "train") for seed in range(2)]
    for scan in scans:
        scan.brain_mask.unlink()
    grid, said = shared_grid(scans)
    assert (grid.shape, said) == (SHAPE, "")
    assert shared_grid([])[0] is None


def test_what_a_card_may_say_of_a_grid(tmp_path):
    grid = as_plain(Grid((2, 3, 4), np.eye(4)))
    card = dict.fromkeys(("version", "sequence"), "T2w") | {"subjects": None}
    card |= {"model": {"_target_": "brainuad.methods.intensity.IntensityDetector"}}
    card |= {"tiling": {}, "postprocess": {}}
    wrong = [
        {**grid, "shape": [2, 3]},
        {**grid, "shape": [2, 3, 10**6]},
        {**grid, "shape": [2, 3, 4.0]},
        {**grid, "affine": np.zeros((4, 4)).tolist()},
        {**grid, "affine": "eye"},
        {**grid, "more": 1},
        [1],
    ]
    for value in wrong:
        with pytest.raises(InputError, match="grid is not a grid, or null"):
            Card.from_json(tmp_path / "model.ckpt", {**card, "grid": value})
    assert Card.from_json(tmp_path / "model.ckpt", {**card, "grid": grid}).grid == grid


def test_a_scan_that_reaches_beyond_the_grid_is_said():
    image, mask = sick()
    with pytest.raises(InputError, match=r"^3% of its brain lies outside .*24 x 28 x 20 voxels"):
        laid(image, mask, affine_of((0, 0, 0), (12.0, 0, 0)), Grid(SHAPE, AFFINE))
