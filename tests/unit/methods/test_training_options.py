"""What a trainer can be told, in a short training of a real method."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE
from brainuad.training.callbacks import EMA, Compile
from brainuad.training.module import DetectorModule
from brainuad.types import Batch


def detector():
    torch.manual_seed(0)
    network = ContextVAE((32, 32), features=(4, 8), latent_dim=8)
    return StRegA(network, signed, optimizer=lambda p: torch.optim.Adam(p, 3e-3))


def fit(folder, detector, callbacks=(), **options):
    torch.manual_seed(0)
    image = torch.rand(1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tiles = [Batch(image[0], torch.ones(1, 32, 32, dtype=torch.bool))] * 8
    trainer = Trainer(
        max_epochs=10,
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **options,
    )
    losses = []

    def remember(loss):
        losses.append(loss.item())
        return loss

    module = DetectorModule(detector)
    step = module.training_step
    module.training_step = lambda *given: remember(step(*given))
    trainer.fit(module, DataLoader(tiles, 4))
    return losses


FP16 = pytest.param(
    "16-mixed",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 training needs a GPU"),
)


@pytest.mark.parametrize("precision", ["bf16-mixed", FP16])
def test_half_precision_learns_and_keeps_its_weights_in_full(tmp_path, precision):
    module = detector()
    losses = fit(tmp_path, module, precision=precision, gradient_clip_val=1.0)
    full = fit(tmp_path, detector(), gradient_clip_val=1.0)
    assert losses[-1] < 0.8 * losses[0]
    assert losses != full
    assert losses[-1] == pytest.approx(full[-1], rel=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def test_clipping_bounds_a_step(tmp_path):
    module = detector()
    module.optimizer_factory = lambda p: torch.optim.SGD(p, 1.0)
    before = torch.cat([p.detach().flatten().clone() for p in module.parameters()])
    fit(tmp_path, module, gradient_clip_val=1e-3, limit_train_batches=1)
    after = torch.cat([p.detach().flatten() for p in module.parameters()])
    # Ten steps of a thousandth at most.
    assert 0 < (after - before).norm() <= 10e-3 * 1.001


def test_an_average_of_the_weights_is_what_is_left(tmp_path):
    plain, averaged = detector(), detector()
    assert fit(tmp_path, plain) == fit(tmp_path, averaged, [EMA(0.9)])
    name = next(iter(plain.state_dict()))
    assert not torch.equal(plain.state_dict()[name], averaged.state_dict()[name])


@pytest.mark.slow
def test_compiled_it_learns_the_same_and_is_itself_again(tmp_path):
    plain, compiled = detector(), detector()
    losses = fit(tmp_path, compiled, [Compile("aot_eager")])
    assert losses == pytest.approx(fit(tmp_path, plain), rel=1e-3)
    assert "forward" not in vars(compiled.network)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
