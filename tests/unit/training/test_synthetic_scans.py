"""Synthetic scans as batches: which anatomies, in which order, and the same in validation."""

import pytest
import torch
from tiny_head import write_tiny_bank

from brainuad.errors import InputError
from brainuad.synthetic.anatomies.cohort import anatomies_cohort
from brainuad.synthetic.anatomies.stream import StreamedScan
from brainuad.training.synthetic_scans import SyntheticDataModule
from brainuad.volumes.tiling import VolumeTiling

NAMES = tuple(f"head{n}" for n in range(6))


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    base = tmp_path_factory.mktemp("scans")
    write_tiny_bank(base / "bank", 8.0, NAMES)
    cohort = anatomies_cohort(base / "bank", base, ["FLAIR"], train=1, val=1, test=0, sick=0)

    def made(**settings):
        given = {"bank": base / "bank", "scans": 6, "val_scans": 3, "per_anatomy": 3}
        given |= {"cohort": cohort, "sequence": "FLAIR", "tiling": VolumeTiling()}
        given |= {"cache_dir": base, "batch_size": 2, **settings}
        return SyntheticDataModule(**given)

    made.cohort = cohort
    return made


def test_training_and_validation_draw_from_other_anatomies(make):
    datamodule = make()
    assert list(datamodule.stream.generator.names) == ["head0", "head1"]
    assert list(datamodule.val_stream.stream.generator.names) == ["head2", "head3"]


def test_batches_are_scans_in_order(make):
    loader = make().train_dataloader()
    assert list(loader.batches) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]
    batch = next(iter(loader))
    assert isinstance(batch, StreamedScan)
    assert batch.image.shape[:2] == (2, 1)
    # Of one person, so with one anatomy and two draws of lesions and contrast.
    assert not torch.equal(batch.image[0], batch.image[1])


def test_every_epoch_trains_on_new_scans_and_validates_on_the_same(make):
    datamodule = make()
    loader, val = datamodule.train_dataloader(), datamodule.val_dataloader()
    first, known = next(iter(loader)), next(iter(val))
    loader.batches.set_epoch(1)
    val.batches.set_epoch(1)
    assert not torch.equal(next(iter(loader)).image, first.image)
    assert torch.equal(next(iter(val)).image, known.image)


def test_without_a_bank_it_says_how_to_make_one(make):
    with pytest.raises(InputError, match=r"data\.bank is not set"):
        make(bank=None)


def test_real_shapes_can_be_left_out_of_training_and_validation(make):
    datamodule = make(real_shapes=0)
    assert datamodule.stream.generator.lesions.real == 0
    assert datamodule.val_stream.stream.generator.lesions.real == 0
    with pytest.raises(ValueError, match="real_shapes is 2"):
        make(real_shapes=2)


def test_backgrounds_of_a_split_are_for_that_split_and_off_by_default(make):
    assert make().stream.generator.backgrounds is None
    folder = make.cohort.root
    datamodule = make(backgrounds=folder, backgrounds_share=1)
    train, val = datamodule.stream.generator, datamodule.val_stream.stream.generator
    assert set(train.backgrounds.subjects).isdisjoint(val.backgrounds.subjects)
    assert train.anatomy(0).real is not None
    assert torch.isfinite(next(iter(datamodule.train_dataloader())).image).all()
    with pytest.raises(ValueError, match="backgrounds_share is 3; use a probability"):
        make(backgrounds=folder, backgrounds_share=3)
