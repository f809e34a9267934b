"""Old paths of modules and classes, and their present ones.

Configurations in checkpoints, bundles, run folders and users' own files name classes by their
path. `moved` maps the paths of version 0.1 to the present ones. Importing an old module works for
one release, with a warning.
"""

import sys
from collections.abc import Mapping
from typing import Any

ROOT = "brainuad."

MOVED = {
    "api": "model.api",
    "bundle": "model.bundle",
    "callbacks": "training.callbacks",
    "callbacks.ChannelsLast": "training.callbacks.MemoryLayout",
    "training.callbacks.ChannelsLast": "training.callbacks.MemoryLayout",
    "card": "model.card",
    "checkpoint": "model.checkpoint",
    "cli": "cli.error_line",
    "controls": "inference.controls",
    "data.augment": "tiles.augment",
    "data.batches": "training.batches",
    "data.coarse_noise": "synthetic.noise.coarse",
    "data.coarse_noise.between": "synthetic.grids.between",
    "data.datamodule": "training.datamodule",
    "data.folder": "cohorts.find",
    "data.folder.assign_splits": "cohorts.splits.assign_splits",
    "data.folds": "cohorts.folds",
    "data.latents": "tiles.latents",
    "data.lesions": "synthetic.lesions",
    "data.lesions.contract": "synthetic.lesions.contract",
    "data.lesions.contract.kth_smallest": "synthetic.grids.kth_smallest",
    "data.lesions.contract.pixel_grid": "synthetic.grids.pixel_grid",
    "data.lesions.contract.sampled": "synthetic.grids.sampled",
    "data.lesions.fillings": "synthetic.lesions.fillings",
    "data.lesions.mass": "synthetic.lesions.mass_effect",
    "data.lesions.mixture": "synthetic.lesions.mixture",
    "data.lesions.poisson": "synthetic.lesions.poisson",
    "data.lesions.shapes": "synthetic.lesions.shapes",
    "data.manifest": "cohorts.manifest",
    "data.nifti": "volumes.nifti",
    "data.phantom": "synthetic.phantom",
    "data.phantom.anatomy": "synthetic.phantom.anatomy",
    "data.phantom.cohort": "synthetic.phantom.cohort",
    "data.phantom.contrast": "synthetic.phantom.contrast",
    "data.phantom.fields": "synthetic.phantom.fields",
    "data.phantom.pathology": "synthetic.phantom.pathology",
    "data.phantom.subject": "synthetic.phantom.subject",
    "data.slices": "tiles.cache",
    "data.slices.load_scan": "cohorts.load.load_scan",
    "data.template": "volumes.template",
    "data.tiling": "volumes.tiling",
    "detection": "inference.maps",
    "detection.KINDS": "cohorts.map_folder.KINDS",
    "detection.PRECISIONS": "model.device.PRECISIONS",
    "detection.detect_volume": "model.detect.detect_volume",
    "detection.device": "model.device.device",
    "detection.write_masks": "inference.masks.write_masks",
    "difficulty": "label_free.difficulty",
    "diffusion.noise": "synthetic.noise.diffusion",
    "diffusion.noise.Moments": "methods.parts.moments.Moments",
    "diffusion.simplex": "synthetic.noise.simplex",
    "evaluate": "cli.evaluate",
    "evaluation.trust": "evaluation.trust_checks",
    "export": "cli.export",
    "export.PLACES": "model.export.PLACES",
    "export.model_card": "model.export.model_card",
    "files": "machine.files",
    "files.hash_weights": "machine.fingerprint.hash_weights",
    "fitting": "training.fit",
    "healthy_maps": "training.relative_to_healthy",
    "inpaint": "cli.inpaint",
    "inpainting.holes": "synthetic.masks.random",
    "inpainting.holes.Spacing": "synthetic.grids.Spacing",
    "inpainting.holes.draw_places": "synthetic.grids.draw_places",
    "inpainting.holes.drawn": "synthetic.grids.drawn",
    "inpainting.holes.pixel_size": "synthetic.grids.pixel_size",
    "inpainting.holes.place_coordinates": "synthetic.grids.place_coordinates",
    "inpainting.holes.smoothed": "synthetic.grids.smoothed",
    "inpainting.lesion_holes": "synthetic.masks.from_lesions",
    "inpainting.patterns": "synthetic.masks.covering",
    "inpainting.repaint": "methods.parts.repaint",
    "inputs": "preparation.model_input",
    "instantiate": "settings.instantiate",
    "kept_memory": "machine.memory",
    "methods.adversarial": "methods.parts.adversarial",
    "methods.corruption": "synthetic.lesions.boxes",
    "methods.detector": "methods.base",
    "methods.draws": "methods.parts.random_draws",
    "methods.elbo_gradient": "methods.parts.elbo_gradient",
    "methods.geco": "methods.parts.geco",
    "methods.grid_buffers": "methods.parts.grid_buffers",
    "methods.healthy_regions": "methods.parts.repaint_thresholds",
    "methods.inpainting_losses": "methods.parts.inpainting_losses",
    "methods.latent_space": "methods.parts.latent_checks",
    "methods.prototypes": "methods.parts.prototypes",
    "methods.relative": "methods.parts.relative_to_healthy",
    "methods.residuals": "methods.parts.residuals",
    "methods.schedules": "methods.parts.schedules",
    "methods.zscore.HealthyAtlas": "methods.parts.healthy_atlas.HealthyAtlas",
    "methods.zscore.MOST_STD": "methods.parts.healthy_atlas.MOST_STD",
    "metrics.records": "metrics.registry",
    "networks.inpainting_unet": "networks.partial_unet",
    "networks.layout": "networks.memory_layout",
    "painted": "label_free.objective",
    "painted.paint": "synthetic.painted.paint",
    "painted.painted_copy": "synthetic.painted.painted_copy",
    "painted.painted_scans": "synthetic.painted.painted_scans",
    "postprocess.mask": "postprocess.erode",
    "predict": "cli.predict",
    "predicting": "inference",
    "predicting.findings": "model.findings",
    "predicting.memory": "model.batch_size",
    "predicting.model": "model.predict",
    "predicting.outputs": "inference.outputs",
    "predicting.prediction": "model.prediction",
    "predicting.prepared": "model.prepared_scan",
    "predicting.preparing": "inference.prepare_scans",
    "predicting.scans": "inference.find_scans",
    "predicting.suitability": "model.suitability",
    "preemption": "training.preemption",
    "preparation.batch": "preparation.cohort",
    "preparation.brain": "preparation.skullstrip.extracted",
    "preparation.chain": "preparation.subject",
    "preparation.subject.Preparation": "preparation.pipeline.Preparation",
    "preparation.chain.Preparation": "preparation.pipeline.Preparation",
    "preparation.deform": "preparation.register.demons",
    "preparation.deform.INVERSE": "volumes.warp.INVERSE",
    "preparation.deform.displaced": "volumes.warp.displaced",
    "preparation.deform.inverse_path": "volumes.warp.inverse_path",
    "preparation.deform.read_field": "volumes.warp.read_field",
    "preparation.hmrf": "preparation.tissue.hmrf",
    "preparation.hole": "inpainting.fill",
    "preparation.intensity": "preparation.normalise.intensity",
    "preparation.itk": "volumes.itk",
    "preparation.learned": "preparation.skullstrip.hdbet",
    "preparation.learned.Deepbet": "preparation.skullstrip.deepbet.Deepbet",
    "preparation.learned.is_installed": "preparation.skullstrip.contract.is_installed",
    "preparation.levels": "preparation.normalise.cohort",
    "preparation.mirror": "preparation.quality.left_right",
    "preparation.native": "volumes.native_space",
    "preparation.orient": "volumes.orient",
    "preparation.quality": "preparation.quality.measures",
    "preparation.read": "volumes.read",
    "preparation.recipe": "settings.describe",
    "preparation.register": "preparation.register.linear",
    "preparation.resample": "volumes.resample",
    "preparation.skullstrip": "preparation.skullstrip.auto",
    "preparation.skullstrip.Extracted": "preparation.skullstrip.extracted.Extracted",
    "preparation.skullstrip.Given": "preparation.skullstrip.given.Given",
    "preparation.skullstrip.PLAUSIBLE_ML": "preparation.skullstrip.template.PLAUSIBLE_ML",
    "preparation.skullstrip.SkullStrip": "preparation.skullstrip.contract.SkullStrip",
    "preparation.skullstrip.TemplateBrain": "preparation.skullstrip.template.TemplateBrain",
    "preparation.skullstrip.upper_head": "preparation.skullstrip.template.upper_head",
    "preparation.tissue.maps": "preparation.model_input",
    "preparation.tissue": "preparation.tissue.segment",
    "prepare": "cli.prepare",
    "prepare.HELD_OUT": "preparation.from_folder.HELD_OUT",
    "prepare.PERCENTILES": "preparation.from_folder.PERCENTILES",
    "prepare.cohort_failures": "preparation.from_folder.cohort_failures",
    "prepare.folder_cohort": "preparation.from_folder.folder_cohort",
    "prepare.phantom_cohort": "synthetic.phantom.cached.phantom_cohort",
    "privacy": "tracking.privacy",
    "provenance": "machine.provenance",
    "ranks": "machine.ranks",
    "recipes": "preparation.recipes",
    "recipes.compose_preparation": "settings.compose.compose_preparation",
    "report": "cli.report",
    "report.SUBJECTS": "reporting.pages.report.SUBJECTS",
    "report.choose": "reporting.pages.report.choose",
    "report.make_report": "reporting.pages.report.make_report",
    "reporting.atlas": "reporting.drawing.false_positives",
    "reporting.compare": "reporting.comparison.runs",
    "reporting.compare_plots": "reporting.comparison.plots",
    "reporting.difficulty": "reporting.pages.difficulty",
    "reporting.figures": "reporting.drawing.curves",
    "reporting.folds": "reporting.comparison.folds",
    "reporting.html": "reporting.pages.html",
    "reporting.inpainting": "reporting.drawing.inpainted",
    "reporting.latent": "reporting.pages.latent",
    "reporting.pictures": "reporting.drawing.subject",
    "reporting.plots": "reporting.drawing.plots",
    "reporting.quality": "reporting.pages.quality",
    "reporting.sections": "reporting.pages.sections",
    "reporting.subjects": "reporting.pages.subjects",
    "reporting.trust": "reporting.pages.trust",
    "reporting.views": "reporting.drawing.views",
    "scan_inpainting": "inpainting.scan",
    "stages": "training.first_stage",
    "tracking": "tracking.tracker",
    "train": "cli.train",
    "train.detect_and_score": "training.detect_and_score.detect_and_score",
    "wandb_run": "tracking.wandb_run",
}
"""Old path to new path of modules and of things that left their module, both below `brainuad`."""

RENAMED_OPTIONS = {
    "experiment": {
        "ae_small": "ae",
        "anoddpm_small": "anoddpm",
        "dae_small": "dae",
        "disyre_small": "disyre",
        "fpi_small": "fpi",
        "pddpm_small": "pddpm",
        "strega_small": "strega",
        "vae_small": "vae",
    },
    "model/network": {
        "small": "context_vae_small",
        "compact": "context_vae_compact",
        "released": "context_vae_released",
        "volume": "context_vae_3d",
        "unified": "unified_autoencoder",
        "denoising": "denoising_unet",
    },
    "protocol": {"slice": "slice_madad"},
}
"""Old and present names of options, by configuration group; the old ones are still there."""

CHANGED_OPTIONS = {
    "experiment": {
        "ae": "ae_paper",
        "anoddpm": "anoddpm_paper",
        "autopaint": "autopaint_prototypes",
        "dae": "dae_paper",
        "disyre": "disyre_paper",
        "fpi": "fpi_paper",
        "madad": "madad_prototypes",
        "pddpm": "pddpm_paper",
        "strega": "strega_paper",
        "vae": "vae_paper",
    },
}
"""Options that were something else before, and what they were then is called now."""

_OLD = {old: new for new, old in MOVED.items()}


def moved(path: str) -> str:
    """Return the present path of a module, or of a thing defined in one.

    Args:
        path: dotted path, an old or a present one, for example the `_target_` of a configuration.
    """
    return _renamed(path, MOVED)


def as_before(path: str) -> str:
    """Return the path that version 0.1 had, for fingerprints that must not change."""
    return _renamed(path, _OLD)


def retargeted(config: Any, rename: Any = moved) -> Any:
    """Return a configuration of plain values with every `_target_` renamed."""
    if isinstance(config, dict):
        return {
            key: rename(value)
            if key == "_target_" and isinstance(value, str)
            else retargeted(value, rename)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(retargeted(item, rename) for item in config)
    return config


def present_experiment(name: str) -> str | None:
    """Return what an experiment of version 0.1 is called now; None where the name is the same."""
    return RENAMED_OPTIONS["experiment"].get(name) or CHANGED_OPTIONS["experiment"].get(name)


def warn_of_options(choices: Mapping[str, Any]) -> None:
    """Print a warning for each option that was chosen by its old name, or means another thing now.

    Args:
        choices: option of each configuration group, as Hydra composed them.
    """
    for group, table in RENAMED_OPTIONS.items():
        old = choices.get(group)
        if old in table:
            print(
                f"warning: {group}={old} is now {group}={table[old]}; the next release drops the "
                "old name",
                file=sys.stderr,
            )
    for group, table in CHANGED_OPTIONS.items():
        new = choices.get(group)
        if new in table:
            print(
                f"note: what {group}={new} was in version 0.1 is {group}={table[new]} now",
                file=sys.stderr,
            )


def _renamed(path: str, table: dict[str, str]) -> str:
    if not path.startswith(ROOT):
        return path
    name = path.removeprefix(ROOT)
    if name in table:
        return ROOT + table[name]
    # Only what a module defines itself: a present package may have the name of an old module.
    module, _, leaf = name.rpartition(".")
    return f"{ROOT}{table[module]}.{leaf}" if module in table else path
