"""The latent cache: encoded once, found by content, whole or not there."""

import threading

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from monai.networks.nets.autoencoderkl import AutoencoderKL

from brainuad.methods.madad import MADAD
from brainuad.methods.parts.residuals import signed
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.masked_unet import MaskedUNet
from brainuad.tiles.augment import Augment
from brainuad.tiles.cache import TileDataset, build_cache
from brainuad.tiles.latents import Latents, build_latents
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.module import DetectorModule
from brainuad.volumes.tiling import SliceTiling

TILING = SliceTiling("axial", (24, 32))
AUGMENT = Augment(flip_axis=0)


class Encoder:
    """Cells of 4 x 4 pixels with their mean and range; counts the images it sees."""

    def __init__(self, fails_after=None):
        self.images = 0
        self.fails_after = fails_after

    def __call__(self, image, brain_mask):
        if self.fails_after is not None and self.images >= self.fails_after:
            raise KeyboardInterrupt
        self.images += len(image)
        pool = torch.nn.functional.avg_pool2d
        return Latents(pool(image, 4), pool(image**2, 4), pool(brain_mask.float(), 4))


@pytest.fixture
def folder(tiny_cohort, tmp_path):
    return build_cache(tiny_cohort.select("train", "T2w"), TILING, tmp_path / "tiles")[0]


def augmented(folder, seed=0, **options):
    return TileDataset(folder, Augment(**options), seed)


def test_every_copy_is_encoded_once(folder, tmp_path):
    tiles, encoder = augmented(folder), Encoder()
    first = build_latents(tiles, encoder, "weights", tmp_path / "latents", 3)
    assert encoder.images == 3 * len(tiles)
    again = build_latents(tiles, encoder, "weights", tmp_path / "latents", 3)
    assert encoder.images == 3 * len(tiles)
    assert torch.equal(again[2, 5].mean, first[2, 5].mean)


def test_copies_are_what_encoding_on_the_fly_gives(folder, tmp_path):
    tiles, encoder = augmented(folder, flip_axis=0), Encoder()
    found = build_latents(tiles, encoder, "weights", tmp_path / "latents", 3)
    assert len(found) == len(tiles) > 64 / 3  # more than a batch
    for epoch in (0, 1, 2, 3, 7):
        for index in (0, len(tiles) // 2, len(tiles) - 1):
            image, mask = tiles[epoch % 3, index]
            expected = encoder(image[None], mask[None])
            for part, value in zip(found[epoch, index], expected, strict=True):
                assert part.dtype == torch.float32
                torch.testing.assert_close(part, value[0], rtol=1 / 1024, atol=1e-6)
    assert not torch.equal(found[0, 0].mean, found[1, 0].mean)
    assert torch.equal(found[0, 0].mean, found[3, 0].mean)


def test_it_is_a_memory_map_in_half_precision(folder, tmp_path):
    tiles = augmented(folder)
    found = build_latents(tiles, Encoder(), "weights", tmp_path / "latents", 2)
    assert isinstance(found.values, np.memmap)
    assert found.values.dtype == np.float16
    assert not found.values.flags.writeable
    (path,) = (tmp_path / "latents").glob("*/latents.bin")
    assert path.stat().st_size == 2 * len(tiles) * 3 * 6 * 8 * 2


def test_anything_that_decides_the_latents_makes_others(folder, tiny_cohort, tmp_path):
    root = tmp_path / "latents"
    other = build_cache(tiny_cohort.select("val", "T2w"), TILING, tmp_path / "tiles")[0]
    asked = [
        (augmented(folder), "weights", 2),
        (augmented(folder), "other weights", 2),
        (augmented(folder), "weights", 3),
        (augmented(folder, seed=1), "weights", 2),
        (augmented(folder, rotation_deg=1.0), "weights", 2),
        (augmented(other), "weights", 2),
    ]
    for number, (tiles, key, copies) in enumerate(asked, start=1):
        encoder = Encoder()
        build_latents(tiles, encoder, key, root, copies)
        assert encoder.images == copies * len(tiles)
        assert len(list(root.glob("*/meta.json"))) == number


def test_without_augmentation_one_copy_is_all_whatever_the_seed(folder, tmp_path):
    encoder = Encoder()
    first = build_latents(TileDataset(folder, seed=0), encoder, "w", tmp_path / "latents", 5)
    build_latents(TileDataset(folder, seed=1), encoder, "w", tmp_path / "latents", 2)
    assert encoder.images == len(first)
    assert torch.equal(first[0, 3].mean, first[4, 3].mean)


def test_nothing_half_written_is_left(folder, tmp_path):
    tiles, root = augmented(folder), tmp_path / "latents"
    encoder = Encoder(fails_after=64)
    with pytest.raises(KeyboardInterrupt):
        build_latents(tiles, encoder, "weights", root, 3)
    assert encoder.images == 64
    assert not [path for path in root.iterdir() if path.suffix != ".lock"]
    encoder = Encoder()
    assert len(build_latents(tiles, encoder, "weights", root, 3)) == len(tiles)
    assert encoder.images == 3 * len(tiles)


def test_two_at_once_encode_once(folder, tmp_path):
    tiles, asked = augmented(folder), []
    both = threading.Barrier(2)
    encoder = Encoder()

    def ask():
        both.wait()
        asked.append(build_latents(tiles, encoder, "weights", tmp_path / "latents", 2))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in asked] == [len(tiles)] * 2
    assert encoder.images == 2 * len(tiles)


def madad(copies, seed=0):
    torch.manual_seed(seed)
    none = (False, False)
    autoencoder = LatentAutoencoder(AutoencoderKL(2, 1, 1, 1, (8, 8), none, 4, 4))
    network = MaskedUNet(4, 8, 2, (1, 2), 1, 0.0, 4, none)
    detector = MADAD(
        *(autoencoder, network, signed, lambda p: torch.optim.SGD(p, 0.1)), latent_copies=copies
    )
    detector.encoded = 0
    encode = autoencoder.encode

    def counting(image):
        detector.encoded += len(image)
        return encode(image)

    autoencoder.encode = counting
    return detector


def fit(detector, cohort, folder, epochs=2, augment=AUGMENT):
    module = HealthyDataModule(cohort, "T2w", TILING, folder, augment=augment)
    module.training_set = detector.training_set
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        *("cpu",), max_epochs=epochs, num_sanity_val_steps=0, enable_model_summary=False, **silent
    )
    trainer.fit(DetectorModule(detector), module)
    return {split: len(TileDataset(path)) for split, path in module.folders.items()}


@pytest.mark.slow
def test_training_on_kept_latents_never_runs_the_encoder(tiny_cohort, tmp_path):
    first = madad(copies=2)
    tiles = fit(first, tiny_cohort, tmp_path)
    # Two copies of the training tiles, one of the others, however many epochs there are.
    assert first.encoded == 2 * tiles["train"] + tiles["val"]
    second = madad(copies=2)
    fit(second, tiny_cohort, tmp_path, epochs=3)
    assert second.encoded == 0
    other = madad(copies=2, seed=1)
    fit(other, tiny_cohort, tmp_path)
    assert other.encoded == first.encoded


def test_without_kept_latents_every_step_encodes(tiny_cohort, tmp_path):
    detector = madad(copies=0)
    tiles = fit(detector, tiny_cohort, tmp_path)
    # But those of the validation, which are the same in every epoch.
    assert detector.encoded == 2 * tiles["train"] + tiles["val"]
    assert len(list((tmp_path / "latents").glob("*/latents.bin"))) == 1


def test_what_is_not_augmented_is_encoded_once(tiny_cohort, tmp_path):
    detector = madad(copies=0)
    tiles = fit(detector, tiny_cohort, tmp_path, augment=None)
    assert detector.encoded == tiles["train"] + tiles["val"]


def test_as_many_copies_as_epochs_train_as_on_the_fly(tiny_cohort, tmp_path):
    found = []
    for copies in (0, 2):
        detector = madad(copies)
        torch.manual_seed(3)
        fit(detector, tiny_cohort, tmp_path)
        found.append(torch.cat([p.detach().flatten() for p in detector.network.parameters()]))
    start = torch.cat([p.detach().flatten() for p in madad(0).network.parameters()])
    moved = (found[0] - start).norm()
    assert moved > 0
    assert (found[1] - found[0]).norm() < 0.01 * moved
