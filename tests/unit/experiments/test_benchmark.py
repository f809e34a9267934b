"""The study of all methods: its settings, its bars, its cohorts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import a_benchmark, found_runs
from hydra import compose, initialize_config_module
from tiny import AFFINE, ROOT, brain, lesion

from brainuad.benchmark.cohorts import MAKERS
from brainuad.benchmark.plan import make_plan, read_settings
from brainuad.benchmark.scores import BELOW, results
from brainuad.errors import InputError
from brainuad.volumes.nifti import read_volume, write_volume
from experiments.benchmark.__main__ import SETTINGS
from experiments.benchmark.bars import bars
from experiments.benchmark.cohorts import carried
from experiments.benchmark.healthy_slices import healthy_slices


def test_every_size_of_the_shipped_benchmark_is_the_experiments_own():
    """Another size than its own would make another method of a published preset."""
    for size in read_settings(SETTINGS)["sizes"].values():
        words = [*size["options"], *size.get("again", [])]
        assert not [word for word in words if not word.startswith("postprocess=")]


@pytest.mark.slow
def test_what_the_shipped_settings_name_exists(monkeypatch):
    settings = read_settings(SETTINGS)
    for line in settings["methods"].values():
        for size in settings["sizes"]:
            name = line[size].split()[0]
            assert (ROOT / "configs" / "experiment" / f"{name}.yaml").is_file()
    monkeypatch.setenv("BRAINUAD_REAL_DATA", "somewhere")
    monkeypatch.setattr("brainuad.benchmark.plan._lacking", lambda cohort: "")
    plan = make_plan(settings, "small", methods=["madad_prototypes"], seeds=[0])
    assert {run.cohort for run in plan.runs} == {
        name for name, cohort in settings["cohorts"].items() if "pool" not in cohort
    }
    assert {run.prepare for run in plan.runs} - {""} <= {*MAKERS, "real_t1"}
    for run in {run.cohort: run for run in plan.runs}.values():
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            words = [word for word in run.command(None)[1:] if "output_dir" not in word]
            cfg = compose("train", words)
        assert cfg.name == "madad_prototypes"
        # One chain for all methods of a cohort.
        assert cfg.postprocess.mask_steps[0].min_volume_mm3 == 50


def test_the_bars_take_all_of_it(tmp_path):
    settings = a_benchmark()
    table = results(found_runs(settings, tmp_path, seeds=(0, 1, 2)), "intensity")

    def last_cells(statistics):
        lines = bars(statistics, settings).splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        return {row[0]: row[-1] for row in rows if "---" not in row}

    assert last_cells(table) == {
        "method": "all of it by",
        "good": "AP and Dice",
        "bad": "neither",
        "like": "neither",
    }
    tumours = (table.sequence == "T2w") & (table.group == "tumour") & (table.method == "good")
    for metric, value in (("Dice", 0.549), ("gap", 0.1)):
        other = table.copy()
        other.loc[tumours & (other.metric == metric), "mean"] = value
        assert last_cells(other)["good"] == "neither"
    bright = (table.sequence == "FLAIR") & (table.group == "bright") & (table.metric == "AP")
    other = table.copy()
    other.loc[bright & (table.method == "good"), "verdict"] = BELOW
    assert last_cells(other)["good"] == "Dice"


def test_a_lesion_goes_to_the_same_place_of_another_brain():
    small = np.zeros((24, 24, 8), bool)
    small[2:22, 2:22] = True
    shape = np.zeros_like(small)
    shape[2:7, 12:17] = True
    large = np.zeros((48, 48, 8), bool)
    large[4:44, 4:44] = True
    found = np.argwhere(carried(shape, small, large))
    assert found.min(axis=0)[:2].tolist() == pytest.approx([4, 24], abs=2)
    assert found.max(axis=0)[:2].tolist() == pytest.approx([13, 33], abs=2)


def test_healthy_slices_are_those_that_the_lesion_does_not_reach(tmp_path):
    rows = ["subject,sequence,image,lesion_mask,split"]
    for number, split in enumerate(("train", "val", "test")):
        image, _ = brain(number)
        write_volume(tmp_path / f"s{number}.nii.gz", image, AFFINE)
        write_volume(tmp_path / f"s{number}_seg.nii.gz", lesion(), AFFINE, np.uint8)
        rows.append(f"s{number},T2w,s{number}.nii.gz,s{number}_seg.nii.gz,{split}")
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    table = pd.read_csv(healthy_slices(tmp_path / "rows.csv", tmp_path / "out"))
    assert table.healthy.tolist() == [True, True, False]
    assert table.lesion_mask.isna().tolist() == [True, True, False]
    before, after = read_volume(tmp_path / "s0.nii.gz"), read_volume(Path(table.image[0]))
    # Slices 8 to 11 have the lesion; 5 mm are two slices of 3 mm more.
    assert not after.array[..., 6:14].any()
    np.testing.assert_array_equal(after.array[..., :6], before.array[..., :6])
    np.testing.assert_array_equal(after.array[..., 14:], before.array[..., 14:])
    (tmp_path / "rows.csv").write_text("subject,image\ns0,s0.nii.gz\n")
    with pytest.raises(InputError, match="no lesion mask; make the rows with --labelled"):
        healthy_slices(tmp_path / "rows.csv", tmp_path / "out")
