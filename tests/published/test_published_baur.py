"""The VAE and the AE of Baur et al. against the values of their released code.

github.com/StefanDenn3r/Unsupervised_Anomaly_Detection_Brain_MRI at 3e413c09.
"""

import math

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from released_values import Value, own, preset
from torch.utils.data import DataLoader

from brainuad.settings.instantiate import RUN_PACKAGES, instantiate

BOTH = [
    Value("size", "data.slice_size", [128, 128], "run.py:127-128"),
    Value("augmentation", "datamodule.augment", None, "utils/default_config_setup.py:97"),
    Value("maps down", "model.network.features", [32, 64, 128, 128], "models/customlayers.py:20"),
    Value("maps up", "model.network.up_features", [128, 64, 32, 32], "models/customlayers.py:33"),
    Value("normalisation", "model.network.norm", "rest", "models/customlayers.py:22"),
    Value("initial weights", "model.network.glorot", True, "models/customlayers.py:21"),
    Value("latent length", "model.network.latent_dim", 128, "run.py:126"),
    Value("dropout", "model.network.dropout", 0.2, "run.py:40"),
    Value("learning rate", "model.optimizer.lr", 1e-4, "run.py:124"),
    Value("betas", "model.optimizer.betas", [0.5, 0.999], "utils/default_config_setup.py:257"),
    Value("optimiser", "model.optimizer._target_", "torch.optim.Adam", "run.py:129"),
    Value("schedule", "model.scheduler", None, "trainers/VAE.py:45-46"),
    Value("clipping", "trainer.gradient_clip_val", None, "trainers/VAE.py:45-46"),
    Value("batch", "datamodule.batch_size", 8, "run.py:123"),
    Value("epochs at most", "max_epochs", 1000, "run.py:125"),
    Value("patience", "callbacks.early_stopping.patience", 5, "trainers/AEMODEL.py:70-79"),
    Value("sign", "model.residual.sign", "positive", "utils/Evaluation.py:282-289"),
    Value("smallest brightness", "model.bright_quantile", 0.9, "utils/Evaluation.py:205"),
    Value(
        "erosion by 12 crosses",
        "postprocess.map_steps.0",
        {"_target_": "brainuad.postprocess.erode.ErodeSlices", "radius_mm": 12 * 1.7},
        "utils/Evaluation.py:84-89",
    ),
    Value(
        "median over 5 voxels",
        "postprocess.map_steps.1",
        {"_target_": "brainuad.postprocess.smooth.Median", "size_mm": 5 * 1.7},
        "utils/Evaluation.py:108-127",
    ),
]
VAE = [
    Value("no context term", "model._target_", "brainuad.methods.vae.VAE", "VAE.py:36-42"),
    Value("KL, as a sum", "model.kl_weight", 128 / 128**2, "trainers/VAE.py:37-42"),
    Value("posterior", "model.network.variational", True, "models/variational_autoencoder.py:34"),
    Value("dropout again", "model.network.decoder_dropout", True, "variational_autoencoder.py:35"),
]
AE = [
    Value("no KL", "model._target_", "brainuad.methods.vae.AE", "trainers/AE.py:28-29"),
    Value("no posterior", "model.network.variational", False, "models/autoencoder.py:29"),
    Value("dropout once", "model.network.decoder_dropout", False, "models/autoencoder.py:30"),
]


@pytest.fixture(scope="module")
def presets():
    return {name: preset(name) for name in ("vae_paper", "ae_paper", "vae", "ae")}


@pytest.mark.parametrize("value", [*BOTH, *VAE], ids=str)
def test_the_vae(presets, value):
    assert own(presets["vae_paper"], value) == pytest.approx(value.released), value.source


@pytest.mark.parametrize("value", [*BOTH, *AE], ids=str)
def test_the_autoencoder(presets, value):
    assert own(presets["ae_paper"], value) == pytest.approx(value.released), value.source


@pytest.mark.parametrize(("name", "count"), [("vae_paper", 1_758_449), ("ae_paper", 1_627_249)])
def test_parameter_counts(presets, name, count):
    with torch.device("meta"):
        network = instantiate(presets[name].model).network
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", ["vae", "ae"])
def test_the_scaled_presets_detect_in_the_same_way(presets, name):
    small, large = presets[name], presets[f"{name}_paper"]
    for key in ("postprocess", "datamodule.augment", "trainer.gradient_clip_val"):
        assert own(small, Value(key, key, None, "")) == own(large, Value(key, key, None, ""))
    for key in ("_target_", "residual", "bright_quantile"):
        assert small.model[key] == large.model[key]
    for key in ("norm", "glorot", "dropout", "decoder_dropout", "variational", "latent_dim"):
        assert small.model.network[key] == large.model.network[key]
    height, width = small.data.slice_size
    if name == "vae":
        assert small.model.kl_weight == pytest.approx(128 / (height * width), rel=1e-3)
        assert small.model.n_samples == large.model.n_samples


class Scripted(LightningModule):
    """Its validation loss in each epoch is what it is told."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, index):
        return self.weight

    def validation_step(self, batch, index):
        self.log("val/loss", self.losses[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def released_epochs(losses):
    """How many epochs `indicate_early_stopping` (trainers/AEMODEL.py:70-79) lets a training run."""
    best, last_improvement = math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        if loss < best:
            best, last_improvement = loss, 0
        else:
            last_improvement += 1
            if last_improvement >= 5:
                return epoch
    return len(losses)


@pytest.mark.parametrize(
    "losses",
    [
        [3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 2.3, 1.0, 1.0],
        [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 1.999, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0],
        [3.0, 2.0, 1.0],
    ],
)
def test_the_training_stops_when_the_released_one_does(presets, losses, tmp_path):
    stop = instantiate(presets["vae_paper"].callbacks.early_stopping, packages=RUN_PACKAGES)
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = Trainer(
        max_epochs=len(losses),
        callbacks=[stop],
        accelerator="cpu",
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        **dict.fromkeys(quiet, False),
    )
    tiles = DataLoader([0.0])
    trainer.fit(Scripted(losses), tiles, tiles)
    assert trainer.current_epoch == released_epochs(losses)
