"""Which epoch's weights a training leaves, and the precision of its products."""

import pytest
import torch
from released_values import preset
from tiny import write_tiny_cohort
from torch import nn

from brainuad.cli.run_settings import settings_of
from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.model.model import Model
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.fit import fit
from brainuad.volumes.tiling import SliceTiling

LOSSES = {True: [0.0, 2.0, 1.0], False: [2.0, 0.0, 1.0]}
"""By epoch: of training the first is the lowest, of validation the second."""


class Falling(AnomalyDetector):
    """A weight that is -k after k steps, with losses that are told beforehand."""

    def __init__(self):
        super().__init__(lambda parameters: torch.optim.SGD(parameters, 1.0))
        self.weight = nn.Parameter(torch.zeros(1))
        self.epoch = 0
        self.products = set()

    def start_epoch(self, epoch):
        self.epoch = epoch

    def loss(self, batch):
        self.products.add(torch.get_float32_matmul_precision())
        known = LOSSES[self.training][self.epoch]
        return {"loss": (self.weight - self.weight.detach()).sum() + known}

    def score(self, image, brain_mask):
        raise NotImplementedError


@pytest.fixture
def train(tmp_path):
    """Three epochs of two steps, with these words; the detector that is left."""
    cohort = write_tiny_cohort(tmp_path / "cohort")

    def run(*words, resume=None):
        place = [f"paths.output_dir={tmp_path / 'run'}", "++trainer.enable_progress_bar=false"]
        small = ["max_epochs=3", "trainer.accelerator=cpu", "++trainer.limit_train_batches=2"]
        cfg = preset("vae", *place, *small, "trainer.gradient_clip_val=null", *words)
        tiling = SliceTiling("axial", (24, 32))
        datamodule = HealthyDataModule(cohort, "T2w", tiling, tmp_path / "cache", batch_size=8)
        detector = Falling()
        fit(settings_of(cfg), Model(detector, None, tiling), datamodule, resume)
        return detector

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "steps"), [("val/loss", 4), ("train/loss", 2), ("last", 6)])
def test_the_weights_of_the_epoch_that_is_asked_for_are_left(train, keep, steps):
    assert train(f"keep={keep}").weight.item() == -steps


def test_the_last_average_is_left_and_found_again_when_nothing_is_left_to_train(train, tmp_path):
    # The averages with decay 0.5 of -1 to -6, of which the first is the weight itself, and the
    # others approach it by 1 - min(0.5, (1 + n) / (10 + n)).
    average = -1.0
    for n in range(1, 6):
        average += (1 - min(0.5, (1 + n) / (10 + n))) * (-(n + 1) - average)
    words = ["keep=last", "callbacks=ema", "callbacks.ema.decay=0.5"]
    assert train(*words).weight.item() == pytest.approx(average)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert train(*words, resume=last).weight.item() == pytest.approx(average)


def test_products_have_the_precision_asked_for_while_training_and_the_old_one_after_it(train):
    before = torch.get_float32_matmul_precision()
    assert train("matmul_precision=high").products == {"high"}
    assert torch.get_float32_matmul_precision() == before
    assert train().products == {"highest"}


def test_an_unknown_precision_of_products_is_refused(train):
    with pytest.raises(InputError, match="matmul_precision is tf32; use highest, high or medium"):
        train("matmul_precision=tf32")
