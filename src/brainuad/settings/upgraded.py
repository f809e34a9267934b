"""Upgrade settings of methods whose arguments were renamed or grouped after a file was written.

Cards, bundles, run folders and users' own files hold the arguments of an older version.
"""

from collections.abc import Callable, Mapping
from typing import Any

from brainuad.settings.moved import moved

Settings = dict[str, Any]

SAMPLING = {
    "sampling_steps": "steps",
    "eta": "eta",
    "mask_threshold": "mask_threshold",
    "seed": "seed",
}
PATCHES = {
    "patch_sizes": "sizes",
    "patch_probabilities": "probabilities",
    "max_fraction": "max_fraction",
    "min_brain": "min_brain",
}
PATTERNS = {"times": "times", "hole_sides": "sides", "seed": "seed"}
REGIONS = {"region_alpha": "alpha", "left_alpha": "left_alpha", "rounds": "rounds"}


def upgraded(config: Any) -> Any:
    """Return a configuration of plain values with the present arguments of every method."""
    if isinstance(config, list):
        return [upgraded(item) for item in config]
    if not isinstance(config, dict):
        return config
    config = {key: upgraded(item) for key, item in config.items()}
    change = CHANGES.get(moved(str(config.get("_target_"))))
    return config if change is None else change(config)


def upgraded_weights(model: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights with the present name of the first stage, if the model has one."""
    old, new = "autoencoder.", "first_stage."
    if "first_stage" not in model:
        return dict(weights)
    return {
        new + name.removeprefix(old) if name.startswith(old) else name: value
        for name, value in weights.items()
    }


def _madad(model: Settings) -> Settings:
    model = _with_first_stage(model)
    model = _grouped(model, "patches", "brainuad.diffusion.masks.Patches", PATCHES)
    model = _grouped(model, "sampling", "brainuad.diffusion.process.Sampling", SAMPLING)
    ours: Settings = {"prototypes": None, "noise": None, "latent_noise": False}
    ours |= {"scores_by": "residual", "reference": "decoded"}
    return _of_subclass(model, "brainuad.methods.madad_clean.MADADClean", ours)


def _autopaint(model: Settings) -> Settings:
    model = _with_first_stage(model)
    target = "brainuad.synthetic.masks.covering.CoveringPatterns"
    model = _grouped(model, "patterns", target, PATTERNS)
    model = _grouped(model, "regions", "brainuad.methods.parts.repaint.Regions", REGIONS)
    ours = {"prototypes": None, "adversarial_weight": 0.0}
    target = "brainuad.methods.autopaint_prototypes.AutoPaintPrototypes"
    model = _of_subclass(model, target, ours)
    if "adversarial_weight" not in model:
        model.pop("discriminator", None)
    return model


def _strega(model: Settings) -> Settings:
    """Upgrade to the VAE or AE if there is no context term and no GECO."""
    others = ("geco", "scale_slices", "keeps_background")
    if model.get("ce_factor", 0.5) != 0 or any(model.get(name) for name in others):
        return model
    network = model.get("network")
    variational = not isinstance(network, dict) or network.get("variational", True)
    kept = ["network", "residual", "optimizer", "scheduler", "bright_quantile"]
    if variational:
        kept += ["kl_weight", "reconstruction_weight", "n_samples", "sample_seed", "gradient"]
        kept += ["times_residual"]
    name = "VAE" if variational else "AE"
    return {
        "_target_": f"brainuad.methods.vae.{name}",
        **{key: model[key] for key in kept if key in model},
    }


def _with_first_stage(model: Settings) -> Settings:
    return {"first_stage" if key == "autoencoder" else key: item for key, item in model.items()}


def _grouped(model: Settings, group: str, target: str, names: Mapping[str, str]) -> Settings:
    """Move arguments with old names into a group, under their present names."""
    taken = {new: model[old] for old, new in names.items() if old in model}
    if not taken:
        return model
    rest = {key: item for key, item in model.items() if key not in names}
    rest[group] = {"_target_": target, **(rest.get(group) or {}), **taken}
    return rest


def _of_subclass(model: Settings, target: str, ours: Settings) -> Settings:
    """Name the subclass if one of its arguments is used; otherwise leave them out."""
    if any(model.get(key, usual) != usual for key, usual in ours.items()):
        return {**model, "_target_": target}
    return {key: item for key, item in model.items() if key not in ours}


CHANGES: dict[str, Callable[[Settings], Settings]] = {
    "brainuad.methods.autopaint.AutoPaint": _autopaint,
    "brainuad.methods.madad.MADAD": _madad,
    "brainuad.methods.strega.StRegA": _strega,
}
"""Functions that upgrade arguments, by the present path of the class."""
