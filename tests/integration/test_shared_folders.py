"""Any number of processes in one OUT, one cohort, one cache: as if one had done all."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from commands import call
from small_disk import after
from tiny import AFFINE, brain, write_tiny_cohort, write_tiny_model

from brainuad.cli import predict, prepare
from brainuad.cohorts.manifest import read_cohort
from brainuad.inference import outputs
from brainuad.machine.locks import Claim
from brainuad.model import model as model_module
from brainuad.preparation import cohort, finish
from brainuad.volumes.nifti import write_volume

WORDS = ("preparation=extracted", "preparation.steps.spacing_mm=6")
SPLITS = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture
def lists(tmp_path):
    """CSV lists of eight scans: all, and the even and the odd ones."""
    rows = []
    for i in range(8):
        name = f"s{i}_T2w"
        write_volume(tmp_path / f"scans/{name}.nii.gz", 900 * brain(i)[0], AFFINE)
        rows.append(f"scans/{name}.nii.gz,s{i},T2w,{SPLITS[i // 2]}")
    for name, own in (("all", rows), ("even", rows[::2]), ("odd", rows[1::2])):
        text = "\n".join(["image,subject,sequence,split", *own])
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in ("all", "even", "odd")}


def predicted(model, scans, out, *words):
    return predict.main([*map(str, (model, scans, out, *words)), "--device", "cpu"])


def tables(out):
    return [(out / name).read_text() for name in ("subjects.csv", "findings.csv")]


def test_one_out_lists_the_scans_of_all_commands(model, lists, tmp_path, capsys):
    one, shared = tmp_path / "one", tmp_path / "shared"
    assert predicted(model, lists["all"], one) == 0
    assert predicted(model, lists["odd"], shared) == 0
    capsys.readouterr()
    assert predicted(model, lists["even"], shared) == 0
    assert "4 done, 0 flagged, 0 failed; 4 of other commands" in capsys.readouterr().out
    assert tables(shared) == tables(one)
    page = (shared / "index.html").read_text(encoding="utf-8")
    assert page.count("<li data-") == 8
    assert len(list((shared / "viewer/scans").glob("*.js"))) == 8


def test_files_left_aside_are_those_of_all_sources(model, tmp_path):
    for name in "ab":
        write_volume(tmp_path / name / f"{name}_T2w.nii.gz", 900 * brain(1)[0], AFFINE)
        (tmp_path / name / f"{name}.txt").write_text("no image")
        assert predicted(model, tmp_path / name, tmp_path / "out", "--no-page") == 0
    listed = pd.read_csv(tmp_path / "out/left_aside.csv")
    assert [path.rsplit("/", 1)[1] for path in sorted(listed.path)] == ["a.txt", "b.txt"]
    (tmp_path / "a/a.txt").unlink()
    assert predicted(model, tmp_path / "a", tmp_path / "out", "--no-page") == 0
    assert len(pd.read_csv(tmp_path / "out/left_aside.csv")) == 1


def test_a_record_that_comes_while_the_tables_are_written_is_in_them(
    model, lists, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    predicted(model, lists["odd"], out, "--no-page")
    late = (out / "records/s1_T2w.json").read_text()
    original, calls = outputs._write_csv, []

    def write(path, table):
        original(path, table)
        calls.append(path)
        if len(calls) == 1:
            (out / "records/z_T2w.json").write_text(late.replace('"s1_T2w"', '"z_T2w"', 1))

    monkeypatch.setattr(outputs, "_write_csv", write)
    predicted(model, lists["odd"], out, "--no-page")
    assert list(pd.read_csv(out / "subjects.csv").scan_id)[-1] == "z_T2w"


def test_anothers_damaged_or_emptied_record_is_left_out(model, lists, tmp_path, capsys):
    out = tmp_path / "out"
    predicted(model, lists["odd"], out, "--no-page")
    (out / "records/s1_T2w.json").write_text("{")
    (out / "records/s3_T2w.json").write_text("[]")
    (out / "records/.s5_T2w.json").write_text("{")
    next((out / "s7_T2w").glob("*mask.nii.gz")).unlink()
    capsys.readouterr()
    assert predicted(model, lists["even"], out, "--no-page") == 0
    assert list(pd.read_csv(out / "subjects.csv").subject) == ["s0", "s2", "s4", "s5", "s6"]
    assert "s1_T2w.json: not a record; delete it" in capsys.readouterr().out


def test_what_fails_here_and_was_done_elsewhere_is_done(model, lists, tmp_path, monkeypatch):
    out, original = tmp_path / "out", model_module.detect_volume
    calls = []

    def fails(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            # Another command does all of it meanwhile.
            assert predicted(model, lists["odd"], out, "--no-page") == 0
            raise ValueError("by chance")
        return original(*arguments, **options)

    monkeypatch.setattr(model_module, "detect_volume", fails)
    assert predicted(model, lists["odd"], out, "--no-page") == 0
    assert set(pd.read_csv(out / "subjects.csv").status) == {"done"}
    # Nor was anything done twice.
    assert len(calls) == 5


def prepared(source, out, *words):
    return prepare.main([str(source), str(out), *WORDS, *words])


def rows(out):
    table = pd.read_csv(out / "manifest.csv", keep_default_na=False)
    return table.to_dict("records")


@pytest.mark.parametrize("normalise", ["percentile", "nyul"])
def test_one_cohort_lists_the_scans_of_all_commands(lists, tmp_path, normalise):
    one, shared = tmp_path / "one", tmp_path / "shared"
    how = f"preparation/normalise={normalise}"
    for source, out in (("all", one), ("odd", shared), ("even", shared)):
        assert prepared(lists[source], out, how) == 0
    assert rows(shared) == rows(one)
    for scan in read_cohort(one).scans:
        name = scan.image.relative_to(one)
        assert (shared / name).read_bytes() == scan.image.read_bytes(), name
    page = (shared / "qc.html").read_text(encoding="utf-8")
    assert all(f"<h3>s{i}_T2w</h3>" in page for i in range(8))


def test_scans_that_leave_a_source_leave_the_cohort(lists, tmp_path):
    out = tmp_path / "out"
    prepared(lists["odd"], out)
    prepared(lists["even"], out)
    lines = lists["even"].read_text().splitlines()
    lists["even"].write_text("\n".join(lines[:-1]))
    prepared(lists["even"], out)
    assert [row["subject"] for row in rows(out)] == ["s0", "s1", "s2", "s3", "s4", "s5", "s7"]


def test_scans_prepared_in_another_way_stay_out_of_a_cohort_and_are_said(lists, tmp_path, capsys):
    out = tmp_path / "out"
    prepared(lists["odd"], out)
    capsys.readouterr()
    assert prepared(lists["even"], out, "preparation.steps.spacing_mm=5") == 0
    said = capsys.readouterr().out
    assert "4 scans of other sources that were prepared in another way" in said
    assert [row["subject"] for row in rows(out)] == ["s0", "s2", "s4", "s6"]


def test_a_person_in_two_splits_of_two_sources_is_said_before_the_work(lists, tmp_path, capsys):
    out = tmp_path / "out"
    prepared(lists["odd"], out)
    before = (out / "manifest.csv").read_bytes()
    text = lists["even"].read_text().replace("s0,T2w,train", "s1,FLAIR,val")
    lists["even"].write_text(text)
    capsys.readouterr()
    assert prepared(lists["even"], out) == 2
    assert "s1 is in two splits" in capsys.readouterr().err
    assert (out / "manifest.csv").read_bytes() == before
    assert not (out / "work/s2_T2w.nii.gz").exists()


def test_scans_that_come_while_the_manifest_is_written_are_in_it(lists, tmp_path, monkeypatch):
    out, original = tmp_path / "out", finish.fitted
    listed = []

    def fit(*arguments):
        listed.append(len(arguments[0]))
        if len(listed) == 1:
            # The other command does not know of this one's scans yet, nor does this one of its.
            assert prepared(lists["even"], out) == 0
            assert len(rows(out)) == 4
        return original(*arguments)

    monkeypatch.setattr(finish, "fitted", fit)
    assert prepared(lists["odd"], out) == 0
    assert listed == [4, 4, 8]
    assert len(rows(out)) == 8


def test_what_another_command_prepared_meanwhile_is_not_prepared_again(
    lists, tmp_path, monkeypatch
):
    out, original = tmp_path / "out", cohort.prepare_subject
    calls = []

    def prepare_one(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            assert prepared(lists["odd"], out) == 0
        return original(*arguments)

    monkeypatch.setattr(cohort, "prepare_subject", prepare_one)
    assert prepared(lists["odd"], out) == 0
    # The first twice, the others by one of the two.
    assert len(calls) == 5
    assert len(rows(out)) == 4


def options(root, out):
    words = ("experiment=intensity_raw", "data=folder", f"data.source={root}", "data.sequence=T2w")
    words += ("report=false", "evaluate=false", f"paths.cache_dir={out.parent / 'cache'}")
    return (*words, f"paths.output_dir={out}")


def seed_of(run):
    told = json.loads((run / "provenance.json").read_text())["seed"]
    assert re.search(r"^seed: (\d+)$", (run / "config.yaml").read_text(), re.M)[1] == str(told)
    return told


def test_a_run_folder_in_use_is_left_for_another(tmp_path):
    root, out = write_tiny_cohort(tmp_path / "cohort").root, tmp_path / "run"
    claim = Claim(out)
    done = call("train.py", *options(root, out), "seed=3")
    claim.release()
    assert done.returncode == 0, done.stderr
    assert f"{out} is another process's; this one takes {out}-2" in done.stdout
    assert f"run folder: {out}-2" in done.stdout
    assert seed_of(tmp_path / "run-2") == 3
    assert not list(tmp_path.rglob(".claim"))
    assert not out.exists()


def test_runs_named_in_one_second_have_folders_of_their_own(tmp_path):
    root, out = write_tiny_cohort(tmp_path / "cohort").root, tmp_path / "12-00-00"
    words = (*options(root, out), f"paths.default_output_dir={out}")
    for seed in (1, 2):
        done = call("train.py", *words, f"seed={seed}")
        assert done.returncode == 0, done.stderr
    assert [seed_of(out), seed_of(tmp_path / "12-00-00-2")] == [1, 2]


TOGETHER = """
import errno, fcntl, json, os, sys
from brainuad.cli import predict, prepare, train
import brainuad.training.run  # once for all of them

def work(model, source, scans, out, seed):
    words = ["preparation=extracted", "preparation.steps.spacing_mm=6"]
    status = prepare.main([source, f"{out}/cohort", *words])
    status = status or predict.main([model, source, f"{out}/out", "--device", "cpu"])
    sys.argv = ["train", "experiment=intensity_raw", "data=folder", f"data.source={scans}"]
    sys.argv += ["data.sequence=T2w", "report=false", "evaluate=false", f"seed={seed}"]
    sys.argv += [f"paths.cache_dir={out}/cache", f"paths.output_dir={out}/run"]
    return status or train.main()

def no_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

def start(words):
    number = os.fork()
    if number == 0:
        log = os.open(f"{words[3]}-{words[4]}.log", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.exit(work(*words))
    return number

locks, *jobs = json.loads(sys.argv[1])
if not locks:
    fcntl.flock = no_locks
children = [start(words) for words in jobs]
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
"""Start processes at the same moment, and print the exit status of each."""


@pytest.mark.parametrize("name", ["fitted", "write_normalised", "check_scans", "write_cohort"])
def test_whoever_writes_the_manifest_last_lists_the_scans_of_both(
    lists, tmp_path, monkeypatch, name
):
    """Another command does all its work after this step of ours."""
    out, again = tmp_path / "cohort", []

    def other():
        if not again:
            again.append(True)
            assert prepared(lists["even"], out) == 0

    after(monkeypatch, finish, name, 1, other)
    assert prepared(lists["odd"], out) == 0
    assert len(read_cohort(out).scans) == 8


ROUNDS = [pytest.param(1, id="once"), pytest.param(20, marks=pytest.mark.fuzz, id="20")]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no-locks"])
def test_four_processes_do_what_one_does(model, lists, tmp_path, locks, rounds):
    """Started together; twenty times by `pytest -m fuzz`."""

    def start(out, *sources):
        jobs = [
            [str(word) for word in (model, lists[name], lists["all"], out, seed)]
            for seed, name in enumerate(sources)
        ]
        script = tmp_path / "together.py"
        script.write_text(TOGETHER)
        done = call(script, json.dumps([locks, *jobs]), timeout=900)
        said = "".join(path.read_text() for path in sorted(tmp_path.glob(f"{out.name}-*.log")))
        assert done.stdout.splitlines()[-1:] == [str([0] * len(sources))], said + done.stderr
        return said

    one, sources = tmp_path / "one", ("even", "odd", "all", "all")
    start(one, "all")
    for number in range(rounds):
        four = tmp_path / f"four{number}"
        said = start(four, *sources)
        assert "error" not in said
        _assert_alike(one, four, said, len(sources))


def _assert_alike(one, four, said, count):
    """What four processes left is what one left."""
    assert tables(four / "out") == tables(one / "out")
    assert rows(four / "cohort") == rows(one / "cohort")
    for path in sorted((one / "cohort/scans").glob("*.nii.gz")):
        assert path.read_bytes() == (four / "cohort/scans" / path.name).read_bytes()
    runs = sorted(four.glob("run*"))
    # One that ended before another began left its folder to that one, which said so.
    seeds = list(map(seed_of, runs))
    replaced = said.count("holds an earlier run; its files are replaced")
    assert len(set(seeds)) == len(seeds) == count - replaced
    for run in runs:
        for path in (one / "run/prepared").glob("*.nii.gz"):
            assert path.read_bytes() == (run / "prepared" / path.name).read_bytes()
    assert np.all([not list(four.rglob(name)) for name in (".claim", ".brainuad-*", "*.lease")])
