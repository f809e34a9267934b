"""What all published presets share: precision, which weights are kept, intensities, slices."""

import pytest
from released_values import Value, own, preset

MADAD = [
    Value("TF32 in products", "matmul_precision", "high", "train-MAD-AD.py:4-5"),
    Value("precision", "trainer.precision", "32-true", "train-MAD-AD.py:4-5"),
    Value("weights", "keep", "last", "train-MAD-AD.py:371-408, README"),
]
ANODDPM = [
    Value("precision", "trainer.precision", "32-true", "diffusion_training.py:72-104"),
    Value("weights", "keep", "last", "UNet.py:423-427"),
    Value("lower end", "input.normalise.low", -1.0, "dataset.py:621-625, :714-718"),
    Value("upper end", "input.normalise.high", 2.0, "dataset.py:621-625, :714-718"),
    Value("slices a volume", "datamodule.slices_per_volume", 1, "dataset.py:633"),
    # Slices 40 to 100 from the crown, of a brain from slice 30 on that is 140 mm high.
    Value("heights", "datamodule.heights", [0.5, 0.93], "dataset.py:633"),
]
BAUR = [
    Value("precision", "trainer.precision", "32-true", "trainers/AEMODEL.py"),
    Value("weights", "keep", "last", "run.py:125, trainers/AEMODEL.py:70-79"),
    Value(
        "percentile of the cut", "input.normalise.percentile", 99.8, "dataloaders/BRAINWEB.py:292"
    ),
    # (-52 + 73) / 156 and (58 + 73) / 156 mm.
    Value("heights", "datamodule.heights", [0.13, 0.84], "run.py:131-132"),
    Value("slices a volume", "datamodule.slices_per_volume", None, "dataloaders/BRAINWEB.py"),
]
STREGA = [
    Value("precision", "trainer.precision", "16-mixed", "engine.py:31, train.py:39, :84-86"),
    Value("weights", "keep", "last", "train.py:96"),
    Value("slices a volume", "datamodule.slices_per_volume", 256, "misc/ssae.py:68"),
    Value("with replacement", "datamodule.replace", True, "misc/ssae.py:125"),
    Value("heights", "datamodule.heights", None, "misc/ssae.py:68, :125"),
]
PDDPM = [
    Value("precision", "trainer.precision", "32-true", "DDPM_patched.yaml:39"),
    Value("weights", "keep", "val/loss", "callbacks/checkpoint.yaml"),
    Value("percentile of 0", "input.normalise.low", 1.0, "create_dataset.py:185"),
    Value("percentile of 1", "input.normalise.high", 99.0, "create_dataset.py:185"),
    Value("slices a volume", "datamodule.slices_per_volume", 1, "create_dataset.py:135-171"),
    # The middle 100 of 156 mm.
    Value("heights", "datamodule.heights", [0.18, 0.82], "DDPM_patched.yaml:12-13"),
]
DAE = [
    Value("precision", "trainer.precision", "32-true", "src/training.py"),
    Value("weights", "keep", "val/loss", "src/training.py"),
    Value("percentile of 1", "input.normalise.percentile", 99.0, "src/data_preprocessing.py:12-22"),
    Value("heights", "datamodule.heights", None, "src/data.py:59-75"),
    Value("slices a volume", "datamodule.slices_per_volume", None, "src/data.py:59-75"),
]
FPI = [
    Value("precision", "trainer.precision", "32-true", "fpiSubmit.py:94-102"),
    Value("weights", "keep", "train/loss", "fpiSubmit.py:168-178"),
    Value("least brain", "datamodule.min_brain_fraction", 0.0, "fpiSubmit.py:147-154"),
    Value("heights", "datamodule.heights", None, "fpiSubmit.py:147-154"),
]
DISYRE = [
    Value("precision", "trainer.precision", "bf16-mixed", "trainer_disyre.py"),
    Value("weights", "keep", "last", "experiments/002D/*.json: steps are counted"),
    Value("quantile of 0", "input.normalise.low", 0.0, "preprocessing/preprocessing.py:162-183"),
    Value("quantile of 1", "input.normalise.high", 0.98, "preprocessing/utils.py:24-37"),
    Value("slices a volume", "datamodule.slices_per_volume", 12, "dag2D_camcant1.json:7-9"),
    Value("with replacement", "datamodule.replace", True, "preprocessing/utils.py, randint"),
]
TABLES = {
    "madad_paper": MADAD,
    "anoddpm_paper": ANODDPM,
    "vae_paper": BAUR,
    "ae_paper": BAUR,
    "strega_paper": STREGA,
    "strega_intensity_paper": [
        *STREGA,
        Value("quantile of 0", "input.normalise.low", 0.0, "Pipeline.ipynb:178"),
        Value("quantile of 1", "input.normalise.high", 1.0, "Pipeline.ipynb:178"),
    ],
    "pddpm_paper": PDDPM,
    "dae_paper": DAE,
    "fpi_paper": FPI,
    "disyre_paper": DISYRE,
}
NORMALISERS = {
    "anoddpm_paper": "released.StandardRange",
    "vae_paper": "released.VolumeMaximum",
    "ae_paper": "released.VolumeMaximum",
    "strega_intensity_paper": "released.VolumeQuantiles",
    "pddpm_paper": "intensity.Percentile",
    "dae_paper": "released.PositivePercentile",
    "disyre_paper": "released.VolumeQuantiles",
    "intensity": "released.VolumeQuantiles",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_preset_has_the_released_values(name):
    cfg = preset(name)
    differing = {
        f"{value} ({value.source})": (own(cfg, value), value.released)
        for value in TABLES[name]
        if own(cfg, value) != value.released
    }
    assert not differing


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMALISERS)
def test_a_preset_sees_intensities_as_its_code_normalises_them(name):
    seen = preset(name).input
    assert seen.tissue is None
    assert seen.normalise._target_ == f"brainuad.preparation.normalise.{NORMALISERS[name]}"


@pytest.mark.parametrize("name", ["strega_paper", "dae_paper", "disyre_paper"])
def test_only_empty_slices_are_left_out(name):
    cfg = preset(name)
    pixels = cfg.data.slice_size[0] * cfg.data.slice_size[1]
    assert 0 < cfg.datamodule.min_brain_fraction < 1 / pixels


@pytest.mark.parametrize("name", ["pddpm", "vae", "madad", "intensity_raw"])
def test_other_presets_see_what_the_cohort_has_and_keep_the_best_epoch(name):
    cfg = preset(name)
    assert cfg.input.normalise is None
    assert cfg.datamodule.heights is cfg.datamodule.slices_per_volume is None
    assert (cfg.keep, cfg.matmul_precision) == ("val/loss", "highest")
    assert cfg.callbacks.checkpoint.monitor == "val/loss"


@pytest.mark.parametrize(("keep", "watched"), [("last", "val/loss"), ("train/loss", "train/loss")])
def test_the_best_epoch_is_told_by_the_metric_that_is_named(keep, watched):
    assert preset("vae", f"keep={keep}").callbacks.checkpoint.monitor == watched
