import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import write_tiny_cohort

from brainuad.cohorts.load import load_scan
from brainuad.errors import InputError
from brainuad.tiles.augment import Augment
from brainuad.tiles.cache import TileDataset, build_cache, within_heights
from brainuad.training.datamodule import HealthyDataModule
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.tiling import SliceTiling, VolumeTiling

TILING = SliceTiling("axial", (24, 32))


def test_cache_holds_the_slices_with_brain(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("train", "T2w")
    folder, failures = build_cache(scans, TILING, tmp_path / "tiles", min_brain_fraction=0.05)
    dataset = TileDataset(folder)
    image, mask = load_scan(scans[0])
    tiles, _ = TILING.split(image)
    masks = TILING.split(mask.float())[0] > 0
    kept = masks.flatten(1).float().mean(1) >= 0.05
    assert not failures
    assert 0 < kept.sum() < len(tiles)
    assert len(dataset) > kept.sum()
    sample = dataset[0, 0]
    assert sample.image.dtype == torch.float32
    torch.testing.assert_close(sample.image, tiles[kept][0], atol=1 / 2048, rtol=0)
    assert torch.equal(sample.brain_mask, masks[kept][0])


def test_cache_says_of_each_tile_its_scan_and_its_height(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("train", "T2w")
    dataset = TileDataset(build_cache(scans, TILING, tmp_path / "tiles")[0])
    assert len(dataset.per_scan) == len(scans)
    assert sum(dataset.per_scan) == len(dataset) == len(dataset.places)
    first = dataset.per_scan[0]
    image, _ = load_scan(scans[1])
    for index in range(first, first + dataset.per_scan[1]):
        own = TILING.split(image[..., dataset.places[index, 0], None])[0][0]
        torch.testing.assert_close(dataset[0, index].image, own, atol=1 / 2048, rtol=0)


def test_cache_is_found_again_and_remade_when_a_file_changes(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("val", "T2w")
    folder, _ = build_cache(scans, TILING, tmp_path / "tiles")
    made = (folder / "images.bin").stat().st_mtime_ns
    assert build_cache(scans, TILING, tmp_path / "tiles")[0] == folder
    assert (folder / "images.bin").stat().st_mtime_ns == made
    volume = read_volume(scans[0].image)
    write_volume(scans[0].image, volume.array * 0.5, volume.affine)
    assert build_cache(scans, TILING, tmp_path / "tiles")[0] != folder
    assert build_cache(scans, SliceTiling("coronal", (32, 32)), tmp_path / "tiles")[0] != folder


def test_a_bad_scan_is_listed_and_the_others_are_kept(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("train", "T2w")
    scans[1].image.write_bytes(b"no")
    folder, failures = build_cache(scans, TILING, tmp_path / "tiles")
    assert [subject for subject, _ in failures] == [scans[1].subject]
    assert str(scans[1].image) in failures[0][1]
    assert len(TileDataset(folder)) > 0
    assert build_cache(scans, TILING, tmp_path / "tiles")[1] == failures


def test_only_bad_scans_is_an_error_that_leaves_nothing(tiny_cohort, tmp_path):
    scan = replace(tiny_cohort.scans[0], image=tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match=r"none\.nii\.gz: no such file"):
        build_cache([scan], TILING, tmp_path / "tiles")
    assert [p for p in (tmp_path / "tiles").iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image, mask: (image * 0 + 0.5, mask), "constant inside the brain"),
        (lambda image, mask: (image, mask * 0), "brain mask is empty"),
        (lambda image, mask: (image, mask[:-1]), "resample it"),
    ],
)
def test_degenerate_scans_are_refused(tiny_cohort, edit, words):
    scan = tiny_cohort.scans[0]
    image, mask = read_volume(scan.image), read_volume(scan.brain_mask)
    array, mask_array = edit(image.array, mask.array)
    write_volume(scan.image, array, image.affine)
    write_volume(scan.brain_mask, mask_array, image.affine, np.uint8)
    with pytest.raises(InputError, match=words):
        load_scan(scan)


def test_volumes_of_different_grids_cannot_be_batched(tmp_path):
    a, b = write_tiny_cohort(tmp_path / "a"), write_tiny_cohort(tmp_path / "b")
    scan = b.scans[0]
    for path in (scan.image, scan.brain_mask):
        volume = read_volume(path)
        write_volume(path, volume.array[:-2], volume.affine)
    with pytest.raises(InputError, match="tiling=axial"):
        build_cache([a.scans[0], scan], VolumeTiling(), tmp_path / "tiles")


def _loader_batches(module, epoch):
    loader = module.train_dataloader()
    loader.batches.set_epoch(epoch)
    return [batch.image for batch in loader]


def _module(cohort, folder, **options):
    module = HealthyDataModule(
        cohort, "T2w", TILING, folder, batch_size=8, augment=Augment(flip_axis=0), **options
    )
    module.setup()
    return module


def test_workers_and_repetition_change_nothing_but_seed_and_epoch_do(tiny_cohort, tmp_path):
    one = _loader_batches(_module(tiny_cohort, tmp_path, num_workers=0), 3)
    two = _loader_batches(_module(tiny_cohort, tmp_path, num_workers=2), 3)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other_epoch = _loader_batches(_module(tiny_cohort, tmp_path), 4)
    other_seed = _loader_batches(_module(tiny_cohort, tmp_path, seed=1), 3)
    assert not torch.equal(one[0], other_epoch[0])
    assert not torch.equal(one[0], other_seed[0])


def test_an_epoch_sees_every_tile_once(tiny_cohort, tmp_path):
    module = _module(tiny_cohort, tmp_path)
    keys = [key for batch in module.train_dataloader().batches for key in batch]
    assert sorted(index for _, index in keys) == list(range(len(keys)))
    assert [index for _, index in keys] != list(range(len(keys)))
    assert len(keys) == len(TileDataset(module.folders["train"]))


def test_validation_is_not_augmented(tiny_cohort, tmp_path):
    module = _module(tiny_cohort, tmp_path)
    first = next(iter(module.val_dataloader()))
    dataset = TileDataset(module.folders["val"])
    assert torch.equal(first.image[0], dataset[0, 0].image)


def test_an_empty_split_is_an_error(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", val=0)
    with pytest.raises(InputError, match="no healthy T2w scan in split 'val'"):
        _module(cohort, tmp_path)


def test_caches_survive_the_loss_of_the_scans(tiny_cohort, tmp_path):
    module = _module(tiny_cohort, tmp_path)
    shutil.rmtree(tiny_cohort.root)
    assert next(iter(module.train_dataloader())).image.shape == (8, 1, 24, 32)


def test_heights_are_shares_of_the_brain_from_its_lowest_to_its_highest_slice():
    mask = torch.zeros(1, 2, 2, 20, dtype=torch.bool)
    mask[..., 4:14] = True
    # Ten slices; the middle of the k-th lies at (k + 0.5) / 10.
    assert within_heights(mask, (0, 1)).nonzero()[:, 0].tolist() == list(range(4, 14))
    assert within_heights(mask, (0.2, 0.55)).nonzero()[:, 0].tolist() == [6, 7, 8, 9]
    # A hole within counts as height.
    mask[..., 5:13] = False
    assert within_heights(mask, (0.2, 0.55)).nonzero()[:, 0].tolist() == [6, 7, 8, 9]


def test_a_cache_holds_the_slices_of_a_range_and_knows_their_scans(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("train", "T2w")
    whole, _ = build_cache(scans, TILING, tmp_path / "tiles", 0.0)
    some, _ = build_cache(scans, TILING, tmp_path / "tiles", 0.0, heights=(0.25, 0.75))
    everything, part = TileDataset(whole), TileDataset(some)
    # Every slice, empty ones as well.
    assert everything.per_scan == [20, 20, 20]
    expected = []
    for scan in scans:
        image, mask = load_scan(scan)
        expected.append(TILING.split(image)[0][within_heights(mask, (0.25, 0.75))])
    assert part.per_scan == [len(tiles) for tiles in expected]
    assert 5 < part.per_scan[0] < 12
    np.testing.assert_allclose(part.images, torch.cat(expected), atol=1e-3)


def test_a_range_is_of_axial_slices(tiny_cohort, tmp_path):
    scans = tiny_cohort.select("train", "T2w")
    for tiling in (VolumeTiling(), SliceTiling("coronal", (32, 32))):
        with pytest.raises(InputError, match=r"datamodule\.heights is a range of axial slices"):
            build_cache(scans, tiling, tmp_path / "tiles", heights=(0.1, 0.9))
    with pytest.raises(InputError, match=r"datamodule\.heights is \[0\.9, 0\.1\]; give the lower"):
        build_cache(scans, TILING, tmp_path / "tiles", heights=(0.9, 0.1))


@pytest.mark.slow
def test_slices_are_drawn_for_training_alone(tiny_cohort, tmp_path):
    module = _module(tiny_cohort, tmp_path, slices_per_volume=2, num_workers=2)
    keys = [
        sorted(index for batch in module.train_dataloader().batches for _, index in batch)
        for _ in range(2)
    ]
    assert keys[0] == keys[1]
    sizes = TileDataset(module.folders["train"]).per_scan
    firsts = np.cumsum([0, *sizes])
    assert np.histogram(keys[0], firsts)[0].tolist() == [2, 2, 2]
    assert sum(len(batch.image) for batch in module.measuring_dataloader()) == sum(sizes)
    held_out = TileDataset(module.folders["val"])
    assert sum(len(batch.image) for batch in module.val_dataloader()) == len(held_out)
    one, two = (_loader_batches(module, epoch) for epoch in (0, 1))
    assert sum(map(len, one)) == 6
    assert not torch.equal(torch.cat(one), torch.cat(two))
    with pytest.raises(InputError, match="slices_per_volume is 0; use 1 or more"):
        _module(tiny_cohort, tmp_path, slices_per_volume=0)
