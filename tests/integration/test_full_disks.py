"""Trainings, caches, scores and reports on full, read-only and vanishing disks."""

import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from small_disk import after, disk, fill, lose, remount, second_way
from tiny import write_tiny_cohort

from brainuad.cli import evaluate, report, train
from brainuad.errors import CannotWrite
from brainuad.evaluation import results
from brainuad.evaluation.slice_store import Slice, SliceStore
from brainuad.inference import maps, masks
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model
from brainuad.tiles import cache as tile_cache
from brainuad.training import callbacks
from brainuad.training import run as run_module

SMALL = (
    *("experiment=strega", "trainer=smoke", "trainer.accelerator=cpu", "input=intensity"),
    *("model.network.features=[4,8]", "model.network.latent_dim=3", "data.slice_size=[24,32]"),
)
GONE = "is not there any more (unmounted or removed?)"
FULL = "No space left on device"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def trained(cohort, monkeypatch, capsys):
    """A training in seconds: status and the lines of the error."""

    def call(out, cache, *words):
        data = ["data=folder", f"data.source={cohort.root}", "data.sequence=T2w", "jobs=1"]
        places = [f"paths.cache_dir={cache}", f"paths.output_dir={out}"]
        monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *data, *places, *words])
        capsys.readouterr()
        status = train.main()
        lines = capsys.readouterr().err.splitlines()
        return status, [line for line in lines if not line.startswith("note: what experiment=")]

    return call


STEPS = {
    "first epoch": (callbacks, "write_text", 1),
    "map": (maps, "write_volume", 3),
    "mask": (masks, "write_volume", 1),
    "scores": (results, "write_text", 1),
    "provenance": (run_module, "write_json", 1),
}
KEPT = tuple(STEPS)[1:]
"""After these there is a trained model."""

FAULTS = (
    *(("first epoch", "full"), ("map", "full"), ("scores", "full"), ("provenance", "full")),
    *(("first epoch", "gone"), ("mask", "gone"), ("provenance", "gone")),
)
"""After what the disk is full or gone; all others go by the same functions."""


@pytest.mark.parametrize(("step", "how"), FAULTS)
def test_a_disk_that_goes_in_a_training_is_one_line_and_costs_nothing_finished(
    trained, tmp_path, monkeypatch, step, how
):
    cache, said_of = tmp_path / "cache", {"full": FULL, "gone": GONE}
    words = () if step == "provenance" else ("report=false",)
    out = tmp_path / "mnt/run"
    with disk(tmp_path / "disk") as place:
        with second_way(place, tmp_path / "mnt") as way, monkeypatch.context() as patch:
            act = {"full": lambda: fill(place), "gone": lambda: lose(way)}[how]
            after(patch, *STEPS[step], act)
            status, said = trained(out, cache, *words)
            assert status == 2, said
            assert len(said) == 1
            assert said[0].startswith(f"error: {out}")
            assert said_of[how] in said[0]
            assert not list(way.iterdir()) or how == "full"
        (place / "filler").unlink(missing_ok=True)
        # That process has ended.
        (place / "run/.claim").unlink(missing_ok=True)
        assert (f"the trained model is in {out / 'model.ckpt'}" in said[0]) == (step in KEPT)
        with second_way(place, tmp_path / "mnt"):
            if step in KEPT:
                Model.load(out / "model.ckpt")
            before = {path: path.stat().st_mtime_ns for path in out.glob("*/*_anomaly.nii.gz")}
            status, said = trained(out, cache, "ckpt=last", *words)
            assert (status, said) == (0, [])
            assert pd.read_csv(out / "scores.csv").method.nunique() == 3
            assert len(pd.read_csv(out / "metrics.csv")) == 2
            assert read_checkpoint(out / "checkpoints/last.ckpt")
            now = {path: path.stat().st_mtime_ns for path in before}
            assert now == before


def test_a_training_is_refused_by_a_read_only_disk_and_costs_nothing_there(trained, tmp_path):
    words = ("report=false", "evaluate=false")
    with disk(tmp_path / "disk") as place:
        out, cache = place / "run", place / "cache"
        cache.mkdir()
        # A process holds a file in its cache as long as it lives, and is the same one here.
        assert trained(out, tmp_path / "cache", *words) == (0, [])
        remount(place, "ro")
        before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
        for run, kept, said_of in (
            (out, tmp_path / "cache", out),
            (place / "new", tmp_path / "cache", place / "new"),
            (tmp_path / "run", cache, cache),
        ):
            for more in ("ckpt=null", "ckpt=last"):
                status, said = trained(run, kept, *words, more)
                assert status == 2
                assert len(said) == 1
                assert said[0].startswith(f"error: {said_of}")
                assert "Read-only file system" in said[0]
        assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
        assert not (tmp_path / "run").exists()
        remount(place, "rw")
        assert trained(out, cache, *words, "ckpt=last") == (0, [])


@pytest.mark.parametrize("size", [4, 12, 60, 220])
def test_a_training_into_a_small_disk_is_one_line(trained, tmp_path, size):
    words = ("report=false", "evaluate=false", "ckpt=last")
    with disk(tmp_path / "disk", f"{size}k") as place:
        status, said = trained(place / "run", tmp_path / "cache", *words)
        assert status == 2, said
        assert len(said) == 1
        assert said[0].startswith(f"error: {place / 'run'}")
        assert "free" in said[0]
        assert not list(place.rglob(".*"))
        remount(place, "size=50m")
        assert trained(place / "run", tmp_path / "cache", *words) == (0, [])


@pytest.mark.parametrize("how", ["full", "gone"])
def test_a_cache_on_a_disk_that_goes_is_one_line_and_made_anew(trained, tmp_path, monkeypatch, how):
    words, out = ("report=false", "evaluate=false"), tmp_path / "run"
    cache, at_exit = tmp_path / "mnt/cache", []
    with disk(tmp_path / "disk", "200k") as place:
        with second_way(place, tmp_path / "mnt") as way, monkeypatch.context() as patch:
            patch.setattr("atexit.register", lambda *call: at_exit.append(call))
            act = {"full": lambda: fill(place), "gone": lambda: lose(way)}[how]
            after(patch, tile_cache, "_fill_cache", 1, act)
            status, said = trained(out, cache, *words)
            assert status == 2
            assert len(said) == 1
            assert said[0].startswith(f"error: {cache}")
            assert {"full": FULL, "gone": GONE}[how] in said[0]
            # What is done at the end of the process.
            for function, *values in at_exit:
                function(*values)
            assert not list(way.iterdir()) or how == "full"
        (place / "filler").unlink(missing_ok=True)
        with second_way(place, tmp_path / "mnt"):
            assert trained(out, cache, *words) == (0, [])


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """A run folder with scores and a report."""
    place = tmp_path_factory.mktemp("finished")
    words = ["experiment=intensity_raw", "data=folder", f"data.source={cohort.root}", "jobs=1"]
    words += ["data.sequence=T2w", f"paths.cache_dir={place / 'cache'}", "report=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words, f"paths.output_dir={place / 'run'}"])
        assert train.main() == 0
    return place / "run"


@pytest.mark.parametrize("how", ["full", "nearly", "read-only"])
@pytest.mark.parametrize("command", ["evaluate", "report", "compare"])
def test_scores_and_pages_on_such_a_disk_are_one_line(
    cohort, finished, tmp_path, monkeypatch, capsys, command, how
):
    with disk(tmp_path / "disk") as place:
        run = place / "run"
        shutil.copytree(finished, run)
        (place / "runs").mkdir()
        data = [f"maps={run / 'prepared'}", "data=folder", f"data.source={cohort.root}"]
        data += ["data.sequence=T2w", f"paths.output_dir={place / 'scores'}"]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *data])
        monkeypatch.chdir(tmp_path)
        call = {
            "evaluate": evaluate.main,
            "report": lambda: report.main([str(run)]),
            "compare": lambda: report.main(["compare", *[str(run)] * 2, "--out", str(place / "c")]),
        }[command]
        filler = fill(place)
        if how == "nearly":
            os.truncate(filler, filler.stat().st_size - 8192)
        elif how == "read-only":
            filler.unlink()
            remount(place, "ro")
        before = {path for path in place.rglob("*") if path.is_file()}
        capsys.readouterr()
        assert call() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {place}/")
        assert ("Read-only file system" if how == "read-only" else FULL) in line
        left = {path for path in place.rglob("*") if path.is_file()}
        assert before <= left
        assert not [path for path in left - before if path.name.startswith(".")]


def test_scores_that_a_temporary_folder_does_not_take_are_one_line(tmp_path):
    with disk(tmp_path / "disk", "300k") as place:
        store, found = SliceStore(place / "slices"), np.ones((400, 400), np.float32)
        with pytest.raises(CannotWrite, match=f"^{place}/slices.*No space left"):
            store.add([Slice(found, found > 0, found > 0, "a", 1, True, True)])
