"""AutoPaint with networks whose answers are known, and short trainings of its real one."""

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from monai.networks.nets.autoencoderkl import AutoencoderKL
from tiny import write_tiny_cohort
from torch import nn
from torch.utils.data import DataLoader

from brainuad.errors import InputError
from brainuad.methods.autopaint import AutoPaint
from brainuad.methods.autopaint_prototypes import AutoPaintPrototypes
from brainuad.methods.parts.inpainting_losses import inpainting_terms
from brainuad.methods.parts.prototypes import HealthyPrototypes
from brainuad.methods.parts.repaint import Regions
from brainuad.methods.parts.residuals import signed
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.partial_unet import PartialUNet
from brainuad.settings.instantiate import instantiate
from brainuad.synthetic.masks.covering import CoveringPatterns
from brainuad.synthetic.masks.random import ShapeHoles
from brainuad.tiles.cache import brain_tiles
from brainuad.training.module import DetectorModule
from brainuad.types import Batch
from brainuad.volumes.tiling import SliceTiling

SIZE = (24, 28)


class Known(nn.Module):
    """Fills with a value, and remembers the images and the valid pixels it was given."""

    mirror = False

    def __init__(self, value=0.5):
        super().__init__()
        self.value = value
        self.asked = []
        self.down_norms = nn.ModuleList()

    def forward(self, image, valid):
        self.asked.append((image, valid))
        return torch.full_like(image, self.value)


PATTERNS = {"times": "times", "hole_sides": "sides"}
REGIONS = {"region_alpha": "alpha", "left_alpha": "left_alpha", "rounds": "rounds"}
OURS = ("prototypes", "discriminator", "adversarial_weight")


def build(network=None, **options):
    """A detector of the options, those of its groups by their own names; ours where one is."""
    torch.manual_seed(0)
    network = network or PartialUNet(1, (8, 8), (3, 3))
    options = {"hole_sides": (0.25,), "chunk": 5} | options
    adam = options.pop("optimizer", lambda p: torch.optim.Adam(p, 1e-2))
    for group, kind, names in (
        ("patterns", CoveringPatterns, PATTERNS),
        ("regions", Regions, REGIONS),
    ):
        if taken := {new: options.pop(old) for old, new in names.items() if old in options}:
            options[group] = kind(**taken)
    make = AutoPaintPrototypes if set(options) & set(OURS) else AutoPaint
    return make(network, ShapeHoles(), signed, optimizer=adam, **options)


def batch_of(count=2):
    brain_mask = torch.zeros(count, 1, *SIZE, dtype=torch.bool)
    brain_mask[:, :, 2:22, 3:25] = True
    image = 0.5 * brain_mask.float()
    image[0, 0, 8:14, 10:18] = 0.9
    return Batch(image, brain_mask)


def loader(detector, batch, steps=4):
    return DataLoader([Batch(i, m) for i, m in zip(*batch, strict=True)] * steps, batch_size=2)


def fit(detector, batch, **options):
    options = {"max_epochs": 1, "accelerator": "cpu", "logger": False} | options
    quiet = {"enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(**options, **quiet, enable_model_summary=False)
    trainer.fit(DetectorModule(detector), loader(detector, batch))
    return detector


def test_inpaints_only_the_hole_and_never_sees_into_it():
    detector, batch = build().eval(), batch_of()
    hole = ShapeHoles()(batch.brain_mask)
    found = detector.inpaint(batch.image, hole)
    assert torch.equal(found[~hole], batch.image[~hole])
    assert torch.equal(detector.inpaint(torch.where(hole, 1e6, batch.image), hole), found)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    network = Known(0.3)
    detector, batch = build(network, weights={"hole": 5.0, "tv": 0.0}).eval(), batch_of()
    detector.validation_seed = 3
    terms = detector.loss(batch)
    hole = detector.holes(batch.brain_mask, torch.Generator().manual_seed(3))
    expected = inpainting_terms(torch.full_like(batch.image, 0.3), batch.image, hole)
    assert terms["hole"] == expected["hole"]
    total = 5 * expected["hole"] + expected["valid"]
    torch.testing.assert_close(terms["loss"], total)
    assert torch.equal(network.asked[0][1], ~hole)


def test_the_weights_of_priornet_add_a_pyramid():
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", ["model=autopaint", "model/weights=priornet", "paths.output_dir=x"])
    weights = dict(cfg.model.weights)
    assert weights == {
        **{"hole": 240.0, "valid": 30.0, "perceptual": 0.2, "style": 0.05, "tv": 250.0},
        "pyramid": 20.0,
    }
    detector, batch = build(Known(0.3), weights=weights).eval(), batch_of()
    terms = detector.loss(batch)
    hole = detector.holes(batch.brain_mask, torch.Generator().manual_seed(0))
    difference = torch.full_like(batch.image, 0.3) - batch.image
    expected = inpainting_terms(0.3 + 0 * difference, batch.image, hole, pyramid=True)
    total = sum(weights[name] * term for name, term in expected.items())
    torch.testing.assert_close(terms["loss"], total)
    assert set(terms) == {"loss", "hole", "valid", "tv", "pyramid"}
    # Without its weight it is not computed.
    assert "pyramid" not in build(Known(0.3)).eval().loss(batch)


def test_the_autoencoder_gives_features_and_stays_as_it_is():
    network = AutoencoderKL(2, 4, 4, (2,), (8,), (False,), 4, 4)
    for name in ("encoder", "decoder"):
        assert getattr(network, name) is not None
    autoencoder = LatentAutoencoder(network, 2)
    detector = build(first_stage=autoencoder, feature_layers=1)
    batch = batch_of()
    before = [p.clone() for p in autoencoder.parameters()]
    assert len(autoencoder.features(batch.image)) > 1
    assert len(autoencoder.features(batch.image, 1)) == 1
    terms = detector.train().loss(batch)
    assert {"perceptual", "style"} <= set(terms)
    (terms["perceptual"] + terms["style"]).backward()
    assert all(p.grad is None for p in autoencoder.parameters())
    assert any(p.grad is not None for p in detector.network.parameters())
    fit(detector, batch)
    assert all(map(torch.equal, before, autoencoder.parameters()))


def test_the_second_phase_freezes_the_encoders_statistics():
    detector, batch = build(freeze_norm_epoch=1), batch_of()
    fit(detector, batch, max_epochs=1)
    first = detector.network.down_norms[1].running_mean.clone()
    others = detector.network.up_norms[1].running_mean.clone()
    assert first.abs().sum() > 0
    weights = detector.network.down_norms[1].weight.clone()
    second = build(freeze_norm_epoch=1)
    fit(second, batch, max_epochs=3)
    assert torch.equal(second.network.down_norms[1].running_mean, first)
    assert not torch.equal(second.network.up_norms[1].running_mean, others)
    # Its scale and shift are learned on.
    assert not torch.equal(second.network.down_norms[1].weight, weights)
    # Detection in the middle of it changes nothing.
    second.detect(*batch)
    assert not second.network.down_norms[1].training
    assert second.network.up_norms[1].training


def discriminating(**options):
    from brainuad.methods.parts.adversarial import spectral_discriminator

    def discriminator():
        return spectral_discriminator(spatial_dims=2, channels=4, in_channels=1, num_layers_d=1)

    return build(discriminator=discriminator, adversarial_weight=0.1, **options)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_adversarial_preset_trains_both(precision):
    detector, batch = discriminating(), batch_of()
    before = {name: value.clone() for name, value in detector.named_parameters()}
    fit(detector, batch, precision=precision, gradient_clip_val=1.0)
    for name, value in detector.named_parameters():
        assert torch.isfinite(value).all(), name
        assert not torch.equal(value, before[name]), name


def test_the_adversarial_preset_accumulates_exactly():
    """Two batches of two, accumulated, are one step: both networks move once."""
    detector, batch = discriminating(optimizer=lambda p: torch.optim.SGD(p, 0.1)), batch_of()
    twin = discriminating(optimizer=lambda p: torch.optim.SGD(p, 0.1))
    twin.load_state_dict(detector.state_dict())
    hole = ShapeHoles()(batch.brain_mask)
    detector.holes = twin.holes = lambda brain_mask, generator: hole
    fit(detector, batch, accumulate_grad_batches=2, max_steps=1)
    for _ in range(2):
        (twin.train().loss(batch)["loss"] / 2).backward()
    torch.optim.SGD(twin.parameters(), 0.1).step()
    for (name, one), other in zip(detector.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_no_discriminator_without_a_weight():
    assert build(discriminator=lambda: nn.Linear(1, 1)).discriminator is None
    with pytest.raises(ValueError, match="give a discriminator"):
        build(adversarial_weight=0.1)


def test_the_score_finds_and_removes_the_lesion():
    detector, batch = build(Known(0.5)), batch_of()
    detector.candidate_threshold.fill_(0.1)
    detector.repaint_peak.fill_(0.1)
    found = detector.detect(*batch)
    expected = torch.where(batch.image > 0.6, 0.4, 0.0)
    torch.testing.assert_close(found.anomaly_map, expected)
    torch.testing.assert_close(found.reconstruction, 0.5 * batch.brain_mask.float())
    hidden = sum((~valid).sum() for _, valid in detector.network.asked)
    assert hidden >= 3 * batch.brain_mask.sum()


def test_nothing_hidden_is_the_control():
    network = Known(0.5)
    detector, batch = build(network, times=0), batch_of()
    detector.detect(*batch)
    ((image, valid),) = network.asked
    assert torch.equal(image, batch.image)
    assert valid.all()


def test_healthy_scans_set_the_threshold(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort", val=2)
    scans = cohort.select("val", "T2w", healthy=True)
    detector = build(Known(0.5), region_alpha=0.1)
    assert detector.candidate_threshold.isinf()
    tiling = SliceTiling("axial", SIZE)
    record = detector.calibrate([], brain_tiles(scans, tiling))
    assert record["candidate_threshold"] == detector.candidate_threshold.item()
    scores = []
    for tiles, masks in brain_tiles(scans, tiling):
        scores.append((tiles - 0.5).abs()[masks])
    above = (torch.cat(scores) > detector.candidate_threshold).float().mean().item()
    assert above == pytest.approx(0.1, abs=0.002)
    # What differs from 0.5 here differs for good, so repainting cannot take it back.
    assert 0 < record["healthy_region_after"] <= record["healthy_region_before"] + 0.05
    assert record["images_a_slice"] > 12
    # It travels with the weights.
    other = build(Known(0.5))
    other.load_state_dict(detector.state_dict())
    assert other.candidate_threshold == detector.candidate_threshold


def test_little_of_healthy_scans_stays(tmp_path):
    """By a threshold of its own, above the candidates' and measured on what was repainted."""
    scans = write_tiny_cohort(tmp_path / "cohort", val=2).select("val", "T2w", healthy=True)
    left = {}
    for left_alpha in (None, 1e-6):
        detector = build(Known(0.5), region_alpha=0.1, left_alpha=left_alpha)
        tiles = brain_tiles(scans, SliceTiling("axial", SIZE))
        left[left_alpha] = detector.calibrate([], tiles)
    same, strict = left[None], left[1e-6]
    assert same["repaint_peak"] == same["candidate_threshold"] == strict["candidate_threshold"]
    assert strict["repaint_peak"] > strict["candidate_threshold"]
    assert strict["healthy_region_before"] == same["healthy_region_before"]
    assert strict["healthy_region_after"] < 0.5 * same["healthy_region_after"]


def test_a_model_of_before_there_were_two_thresholds():
    state = build(Known(0.5)).state_dict()
    state["candidate_threshold"] = torch.tensor(0.2)
    del state["repaint_peak"]
    detector = build(Known(0.5))
    detector.load_state_dict(state)
    assert detector.repaint_peak == detector.candidate_threshold == torch.tensor(0.2)


def test_the_network_sees_the_prototype_of_what_is_seen():
    torch.manual_seed(0)
    network = PartialUNet(1, (8, 8), (3, 3), hints=1, mirror=True)
    detector = build(network, prototypes=HealthyPrototypes(2, 1)).eval()
    batch = batch_of()
    assert detector.traits.left_right
    assert detector.traits.places == "used"
    assert build().traits.places == "ignored"
    detector.measure([batch])
    hole = torch.zeros_like(batch.brain_mask)
    hole[:, :, 8:14, 10:18] = True
    prototype = detector.prototypes.nearest(batch.image, ~hole)
    expected = network(batch.image, ~hole, prototype)
    found = detector.inpaint(torch.where(hole, 1e6, batch.image), hole)
    torch.testing.assert_close(found[hole], expected[hole])
    fit(detector, batch)


def test_a_threshold_needs_scans():
    with pytest.raises(InputError, match="put them back"):
        build(Known(0.5)).calibrate([], [])


@pytest.mark.parametrize(
    "options",
    [
        {"times": -1},
        {"rounds": -1},
        {"chunk": 0},
        {"region_alpha": 0.0},
        {"left_alpha": 1.0},
        {"weights": {"l2": 1.0}},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="times|rounds|chunk|alpha|weights names"):
        build(**options)


@pytest.mark.parametrize("holes", ["blobs", "lesions"])
def test_other_holes_are_a_word_away(holes, tmp_path):
    write_tiny_cohort(tmp_path / "cohort")
    lesions = tmp_path / "cohort"
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose(
            "train",
            [
                *("experiment=autopaint", f"model/holes={holes}", "paths.output_dir=x"),
                *([f"model.holes.folder={lesions}"] if holes == "lesions" else []),
            ],
            return_hydra_config=True,
        )
        HydraConfig.instance().set_config(cfg)
    detector = instantiate(cfg.model)
    batch = batch_of()
    assert detector.holes(batch.brain_mask, None).any()
