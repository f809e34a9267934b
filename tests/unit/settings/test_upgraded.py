"""Arguments of older versions become the present ones, whoever wrote them."""

import pytest
import torch

from brainuad.settings.instantiate import instantiate
from brainuad.settings.upgraded import upgraded, upgraded_weights

METHODS = "brainuad.methods"
RESIDUAL = {"_target_": f"{METHODS}.parts.residuals.signed", "_partial_": True}
MADAD = {
    "_target_": f"{METHODS}.madad.MADAD",
    **{"autoencoder": {"patch": 4}, "residual": RESIDUAL, "num_timesteps": 10},
    **{"patch_sizes": [1, 2], "patch_probabilities": [0.5, 0.5]},
    **{"max_fraction": 0.4, "min_brain": 0.9, "mask_weight": 0.001},
    **{"half_encoding": True, "latent_copies": 0, "sampling_steps": None},
    **{"eta": 0.5, "mask_threshold": 0.8, "seed": 3, "n_samples": 1},
    **{"scores_by": "residual", "reference": "decoded", "prototypes": None},
    **{"noise": None, "latent_noise": False},
}
AUTOPAINT = {
    "_target_": f"{METHODS}.autopaint.AutoPaint",
    **{"autoencoder": None, "residual": RESIDUAL, "feature_layers": 1, "chunk": 64},
    **{"adversarial_weight": 0.0, "times": 2, "hole_sides": [0.12, 0.2], "seed": 0},
    **{"region_alpha": 0.02, "rounds": 4, "prototypes": None, "left_alpha": None},
    **{"regions": {"_target_": f"{METHODS}.parts.repaint.Regions", "opening": 1, "dilation": 2}},
    "discriminator": {"_target_": "x.y", "_partial_": True},
}
VAE = {
    "_target_": f"{METHODS}.strega.StRegA",
    **{"ce_factor": 0.0, "kl_weight": 0.1, "reconstruction_weight": 1.0, "geco": None},
    **{"bright_quantile": 0.9, "n_samples": 0, "sample_seed": 0, "gradient": None},
    **{"times_residual": False, "residual": RESIDUAL},
    "network": {
        "_target_": "brainuad.networks.unified_autoencoder.UnifiedAutoencoder",
        **{"image_size": [16, 16], "features": [8, 8], "latent_dim": 4},
    },
}


def test_mad_ad_has_a_first_stage_and_groups():
    found = upgraded(MADAD)
    assert found["_target_"] == f"{METHODS}.madad.MADAD"
    assert found["first_stage"] == {"patch": 4}
    sampling = {"steps": None, "eta": 0.5, "mask_threshold": 0.8, "seed": 3}
    assert found["sampling"] == {"_target_": "brainuad.diffusion.process.Sampling", **sampling}
    assert found["patches"]["sizes"] == [1, 2]
    assert found["patches"]["min_brain"] == 0.9
    gone = {"autoencoder", "eta", "seed", "prototypes", "scores_by", "noise"}
    assert not gone & set(found)


@pytest.mark.parametrize(
    "ours", [{"scores_by": "clean"}, {"latent_noise": True}, {"prototypes": {"_target_": "x.y"}}]
)
def test_what_is_ours_names_the_class_that_has_it(ours):
    found = upgraded({**MADAD, **ours})
    assert found["_target_"] == f"{METHODS}.madad_clean.MADADClean"
    assert found["reference"] == "decoded"
    assert all(found[key] == value for key, value in ours.items())


def test_autopaint_has_patterns_and_regions():
    found = upgraded(AUTOPAINT)
    assert found["_target_"] == f"{METHODS}.autopaint.AutoPaint"
    assert found["patterns"]["times"] == 2
    region = {"opening": 1, "dilation": 2, "alpha": 0.02, "left_alpha": None, "rounds": 4}
    assert region.items() <= found["regions"].items()
    assert "discriminator" not in found
    adversarial = upgraded({**AUTOPAINT, "adversarial_weight": 0.1})
    assert adversarial["_target_"] == f"{METHODS}.autopaint_prototypes.AutoPaintPrototypes"
    assert adversarial["discriminator"] == AUTOPAINT["discriminator"]


@pytest.mark.parametrize(("variational", "name"), [(True, "VAE"), (False, "AE")])
def test_strega_without_context_is_the_vae_or_the_ae_with_the_same_maps(variational, name):
    old = {**VAE, "network": {**VAE["network"], "variational": variational}}
    new = upgraded(old)
    assert new["_target_"] == f"{METHODS}.vae.{name}"
    one = instantiate(new)
    from brainuad.methods.strega import StRegA

    given = {key: value for key, value in old.items() if key not in ("_target_", "network")}
    given |= {"network": one.network, "residual": one.residual}
    other = StRegA(**given)
    image, mask = torch.rand(2, 1, 16, 16), torch.ones(2, 1, 16, 16, dtype=torch.bool)
    assert torch.equal(one.anomaly_map(image, mask), other.anomaly_map(image, mask))
    # A context term makes it StRegA.
    assert upgraded({**old, "ce_factor": 0.5})["_target_"] == VAE["_target_"]


def test_present_arguments_stay():
    for old in (MADAD, {**MADAD, "scores_by": "clean"}, AUTOPAINT, VAE):
        once = upgraded(old)
        assert upgraded(once) == once
    assert upgraded({"a": [MADAD]}) == {"a": [upgraded(MADAD)]}


def test_the_weights_of_the_first_stage_take_its_name():
    weights = {"autoencoder.scale": 1, "network.autoencoder.x": 2}
    named = upgraded_weights(upgraded(MADAD), weights)
    assert named == {"first_stage.scale": 1, "network.autoencoder.x": 2}
    assert upgraded_weights({"autoencoder": {}}, weights) == weights
