"""The real commands, as subprocesses, on a coarse embedded cohort."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from commands import call, without_coverage
from tiny import ROOT

from brainuad.cli.prepare import main as prepare

pytestmark = pytest.mark.counted

COUNTS = {"train": 3, "val": 2, "test": 2, "tumour": 1, "ms": 1, "stroke": 1}
TEST_SUBJECTS = 5


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A phantom cohort at 3 mm, one sequence."""
    out = tmp_path_factory.mktemp("cohort") / "phantom"
    counts = [word for name, n in COUNTS.items() for word in (f"--{name}", str(n))]
    assert prepare(["phantom", str(out), "--spacing-mm", "3", "--sequences", "T2w", *counts]) == 0
    return out


def options(cohort: Path, cache: Path, out: Path) -> list[str]:
    """Overrides that point a run at the coarse cohort and a small network."""
    return [
        # The chain of strega saturates what so short a training leaves: scores would be equal.
        "postprocess=default",
        "data=folder",
        f"data.source={cohort}",
        "data.sequence=T2w",
        "data.spacing_mm=3",
        "data.slice_size=[64,80]",
        # A process of its own for the tissue maps takes longer to start than to make them.
        "jobs=1",
        f"paths.cache_dir={cache}",
        f"paths.output_dir={out}",
        "model.network.features=[4,8,16,16]",
        "model.network.latent_dim=8",
    ]


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """A finished run folder of a short training, and its output on the terminal."""
    base = tmp_path_factory.mktemp("run")
    out = base / "run"
    arguments = ["experiment=strega", "max_epochs=2", *options(cohort, base / "cache", out)]
    done = call("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_one_command_leaves_everything(finished, cohort):
    out, printed = finished
    scores = pd.read_csv(out / "scores.csv")
    for column in ("subject", "cohort", "threshold", "metric", "value"):
        assert column in scores
    assert set(scores.method) == {"strega", "intensity", "oracle_reconstruction"}
    assert len(list(out.glob("*_anomaly.nii.gz"))) == TEST_SUBJECTS
    assert len(list(out.glob("*_mask.nii.gz"))) == TEST_SUBJECTS
    for name in ("report.html", "config.yaml", "model.ckpt", "summary.json", "metrics.csv"):
        assert (out / name).stat().st_size > 0
    assert not list(out.rglob(".*tmp*"))
    assert "oracle_reconstruction" in printed.replace("\n", "")
    oracle = scores[(scores.method == "oracle_reconstruction") & (scores.metric == "auprc")]
    learned = scores[(scores.method == "strega") & (scores.metric == "auprc")]
    assert oracle.value.mean() > learned.value.mean()


def test_maps_and_masks_lie_on_the_scan(finished, cohort):
    out, _ = finished
    manifest = pd.read_csv(cohort / "manifest.csv")
    for row in manifest[manifest.split == "test"].itertuples():
        scan = nib.load(cohort / row.image)
        found = nib.load(out / f"{row.subject}_anomaly.nii.gz")
        mask = nib.load(out / f"{row.subject}_mask.nii.gz")
        for image in (found, mask):
            assert image.shape == scan.shape
            assert np.allclose(image.affine, scan.affine)
        values = found.get_fdata()
        assert found.get_data_dtype() == np.float32
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert set(np.unique(mask.get_fdata())) <= {0, 1}


def test_volumes_from_tissue_maps_to_masks_with_how_sure_they_are(cohort, tmp_path, run):
    out = tmp_path / "run"
    done = run(
        "train.py",
        "experiment=strega_3d",
        "max_epochs=1",
        "tiling.size=[64,80,64]",
        "datamodule.batch_size=2",
        "model.n_samples=2",
        "controls=none",
        *options(cohort, tmp_path / "cache", out),
    )
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(out / "scores.csv").method) == {"strega_3d", "oracle_reconstruction"}
    assert len(list(out.glob("*_mask.nii.gz"))) == TEST_SUBJECTS
    assert len(list((out / "prepared").glob("*_uncertainty.nii.gz"))) >= TEST_SUBJECTS
    assert "latent dimensions are in use" in (out / "report.html").read_text()


def test_same_seed_same_scores_whatever_the_workers(finished, cohort, tmp_path, run):
    out, _ = finished
    again = tmp_path / "again"
    done = run(
        "train.py",
        "experiment=strega",
        "max_epochs=2",
        "datamodule.num_workers=2",
        "report=false",
        *options(cohort, tmp_path / "cache", again),
    )
    assert done.returncode == 0, done.stderr
    for name in ("metrics.csv", "scores.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes()
    other = tmp_path / "other"
    done = run(
        "train.py",
        "experiment=strega",
        "max_epochs=2",
        "seed=1",
        "predict=false",
        "report=false",
        *options(cohort, tmp_path / "cache", other),
    )
    assert done.returncode == 0, done.stderr
    assert (other / "metrics.csv").read_bytes() != (out / "metrics.csv").read_bytes()


def test_a_killed_run_resumes_to_the_same_weights(cohort, tmp_path, run):
    def arguments(out):
        return [
            "experiment=strega",
            "max_epochs=8",
            "predict=false",
            "report=false",
            *options(cohort, tmp_path / "cache", out),
        ]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run("train.py", *arguments(whole)).returncode == 0
    last = killed / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", *arguments(killed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=without_coverage(),
    )
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    epochs = torch.load(last, weights_only=True)["epoch"]
    assert epochs < 7
    done = run("train.py", *arguments(killed), "ckpt=last")
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    first, second = (
        torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
        for folder in (whole, killed)
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6)
    assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()


def test_predict_and_evaluate_alone_agree_with_the_run(finished, cohort, tmp_path, run):
    out, _ = finished
    where = [
        "data=folder",
        f"data.source={cohort}",
        "data.sequence=T2w",
        f"paths.cache_dir={tmp_path / 'cache'}",
    ]
    maps = tmp_path / "predicted"
    done = run("predict.py", out / "model.ckpt", cohort, maps, "--keep-maps", "--no-page")
    assert done.returncode == 0, done.stderr
    assert "3 that the model was trained on left out" in done.stdout
    for path in out.glob("*_mask.nii.gz"):
        subject = path.name.split("_")[0]
        found = nib.load(maps / subject / path.name).get_fdata()
        np.testing.assert_array_equal(found, nib.load(path).get_fdata())
    table = pd.read_csv(maps / "subjects.csv").set_index("scan_id")
    scores = pd.read_csv(out / "scores.csv")
    own = scores[(scores.method == "strega") & (scores.metric == "anomaly_score")]
    for row in own.itertuples():
        assert table.score[row.subject] == pytest.approx(row.value, rel=1e-4)
    # Of two healthy validation subjects one scores lower, or none.
    assert set(table.percentile[["val000", "val001"]]) == {25, 75}
    scored = tmp_path / "scored"
    done = run(
        "evaluate.py",
        f"maps={maps / 'prepared'}",
        "name=strega",
        *where,
        f"paths.output_dir={scored}",
    )
    assert done.returncode == 0, done.stderr
    first, second = pd.read_csv(out / "scores.csv"), pd.read_csv(scored / "scores.csv")
    # The controls stand beside foreign maps as well.
    pd.testing.assert_frame_equal(first, second)
    done = run(
        "evaluate.py",
        f"maps={maps / 'prepared'}",
        "name=strega",
        "protocol=slice_madad",
        *where,
        f"paths.output_dir={tmp_path / 'slices'}",
    )
    assert done.returncode == 0, done.stderr
    slices = pd.read_csv(tmp_path / "slices" / "scores.csv")
    assert set(slices.space) == {"slice:madad"}
    assert {"dice_slice", "dice_pooled", "auprc_pooled"} <= set(slices.metric)
    assert "slice Dice" in done.stdout
    assert "one rule switched at a time" in done.stdout
    flatter = pd.read_csv(tmp_path / "slices" / "flatter.csv")
    assert {"strega", "intensity"} <= set(flatter.method)
    assert {"ours", "oracle threshold", "all of madad"} <= set(flatter.rule)
    # Another precision is another map, nearly the same, and not the one that is there already.
    path = next((maps / "prepared").glob("*_anomaly.nii.gz"))
    exact = nib.load(path).get_fdata()
    half = ["--keep-maps", "--no-page", "--precision", "bf16-mixed"]
    done = run("predict.py", out / "model.ckpt", cohort, maps, *half)
    assert done.returncode == 0, done.stderr
    difference = np.abs(nib.load(path).get_fdata() - exact).max()
    assert 0 < difference < 0.05


def test_the_baseline_needs_no_training(cohort, tmp_path, run):
    done = run(
        "train.py",
        "experiment=intensity",
        *options(cohort, tmp_path / "cache", tmp_path / "run")[:-2],
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_smoke_trains_the_embedded_cohort_end_to_end(tmp_path, run):
    done = run(
        "train.py",
        "experiment=strega",
        "trainer=smoke",
        "limit=1",
        "data.cohort.sequences=[T2w]",
        "data.spacing_mm=3",
        "data.slice_size=[64,80]",
        "jobs=1",
        f"paths.cache_dir={tmp_path / 'cache'}",
        f"paths.runs_dir={tmp_path / 'runs'}",
    )
    assert done.returncode == 0, done.stderr
    folders = list((tmp_path / "runs" / "strega").iterdir())
    assert len(folders) == 1
    assert (folders[0] / "report.html").is_file()


def test_a_bad_subject_is_listed_and_the_others_are_scored(cohort, tmp_path, run):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", cohort, copy], check=True)
    manifest = pd.read_csv(copy / "manifest.csv")
    bad = manifest[manifest.split == "test"].iloc[0]
    (copy / bad.image).write_bytes((copy / bad.image).read_bytes()[:2000])
    done = run(
        *("train.py", "experiment=intensity", "report=false"),
        *options(copy, tmp_path / "c", tmp_path / "run")[:-2],
    )
    assert done.returncode == 3
    assert f"{bad.subject}: {copy / bad.image}: truncated" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "run").glob("*_mask.nii.gz"))) == TEST_SUBJECTS - 1
    assert (tmp_path / "run" / "scores.csv").is_file()


def _no_validation(root: Path) -> None:
    path = root / "manifest.csv"
    path.write_text(path.read_text().replace(",val,", ",train,"))


def _two_splits(root: Path) -> None:
    path = root / "manifest.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace("T2w", "T1w").replace(",train,", ",val,")]))


@pytest.mark.parametrize(
    ("edit", "arguments", "words"),
    [
        (None, ["experiment=stregga"], ["experiment/stregga", "strega"]),
        (None, ["experiment=strega", "model.kl_wieght=1"], ["model.kl_wieght"]),
        (None, ["experiment=strega", "datta.sequence=T2w"], ["datta"]),
        (
            None,
            ["experiment=strega", "data.sequence=PDw"],
            ["no healthy PDw scan", "data.sequence"],
        ),
        (None, ["experiment=strega", "data.source=/nowhere"], ["/nowhere", "data.source"]),
        (_no_validation, ["experiment=strega"], ["manifest.csv", "split 'val'"]),
        (_two_splits, ["experiment=strega"], ["manifest.csv", "in two splits"]),
    ],
)
def test_bad_input_is_one_line(cohort, tmp_path, run, edit, arguments, words):
    source = cohort
    if edit:
        source = tmp_path / "copy"
        subprocess.run(["cp", "-r", cohort, source], check=True)
        edit(source)
    done = run("train.py", *options(source, tmp_path / "c", tmp_path / "run"), *arguments)
    assert done.returncode == 2
    # The names of experiments have changed, and each run says so for a release.
    said = done.stderr.strip().splitlines()
    lines = [line for line in said if not line.startswith("note: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_resuming_with_another_model_is_refused(finished, cohort, tmp_path, run):
    out, _ = finished
    done = run(
        "train.py",
        "experiment=strega",
        *options(cohort, tmp_path / "cache", out),
        "model.network.latent_dim=9",
        "ckpt=last",
    )
    assert done.returncode == 2
    assert "was made with another model" in done.stderr


@pytest.mark.parametrize("script", ["train.py", "predict.py", "evaluate.py"])
def test_help_has_an_example(script, run):
    done = run(script, "--help")
    assert done.returncode == 0
    assert f"python {script} " in done.stdout
