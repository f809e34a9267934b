"""`python -m data_prep`: what it prints, writes and refuses."""

import subprocess
import sys
import tarfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from tiny import ROOT

from brainuad.cohorts.find import find_raw
from data_prep import registry
from data_prep.__main__ import main
from data_prep.dataset import Download
from data_prep.registry import DATASETS

CASES = [
    f"BraTS2021_0000{n}/BraTS2021_0000{n}_{word}.nii.gz"
    for n, words in ((1, ("flair", "seg")), (2, ("flair", "t1")))
    for word in words
]


def test_list_names_every_set(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_show_says_licence_access_and_options(capsys, name):
    assert main(["show", name]) == 0
    out, item = capsys.readouterr().out, DATASETS[name]
    for text in (item.licence, item.access, item.citation, item.layout, *item.options):
        assert text in out


def test_rows_are_written_and_unlabelled_patients_told(touch, tmp_path, capsys):
    out = tmp_path / "rows.csv"
    assert main(["rows", "brats2021", str(touch(CASES)), str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 subjects" in said
    assert "1 scans with a lesion label" in said
    assert "2 scans of patients have no lesion label" in said
    scans = find_raw(out, "")
    assert scans == DATASETS["brats2021"].find(tmp_path / "download")


def test_rows_of_labelled_patients_only(touch, tmp_path, capsys):
    out = tmp_path / "rows.csv"
    assert main(["rows", "brats2021", str(touch(CASES)), str(out), "--labelled"]) == 0
    assert "cannot be scored" not in capsys.readouterr().out
    assert [s.subject for s in find_raw(out, "")] == ["BraTS2021_00001"]
    lone = str(tmp_path / "download")
    (tmp_path / "download/BraTS2021_00001/BraTS2021_00001_seg.nii.gz").unlink()
    assert main(["rows", "brats2021", lone, str(out), "--labelled"]) == 2
    assert "drop --labelled" in capsys.readouterr().err


def test_options_and_splits_reach_the_rows(touch, tmp_path):
    root = touch(["sub-1/anat/sub-1_T1w.nii", "sub-2/anat/sub-2_T1w.nii"])
    (root / "participants.tsv").write_text("participant_id\tdx\nsub-1\thc\nsub-2\tad\n")
    (tmp_path / "splits.csv").write_text("subject,split\nsub-1,val\n")
    words = ["rows", "bids_healthy", str(root), str(tmp_path / "rows.csv"), "column=dx", "value=hc"]
    assert main([*words, "--splits", str(tmp_path / "splits.csv")]) == 0
    (scan,) = find_raw(tmp_path / "rows.csv", "")
    assert (scan.subject, scan.split, scan.healthy) == ("sub-1", "val", True)


@pytest.mark.parametrize("word", ["age=3", "ages"])
def test_unknown_options_are_refused(touch, tmp_path, capsys, word):
    root = touch(["IXI012-HH-1211-T1.nii.gz"])
    assert main(["rows", "ixi", str(root), str(tmp_path / "rows.csv"), word]) == 2
    assert f"{word}: not an option of ixi; options are: ages=..." in capsys.readouterr().err
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize("name", [name for name, item in DATASETS.items() if not item.files])
def test_sets_that_need_registration_say_how(capsys, tmp_path, name):
    assert main(["download", name, str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert DATASETS[name].access in error
    assert DATASETS[name].homepage in error
    assert not (tmp_path / "x").exists()


def test_from_download_to_rows(tmp_path, capsys, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    scan = tmp_path / "IXI012-HH-1211-T1.nii.gz"
    scan.write_bytes(b"scan")
    with tarfile.open(served / "IXI-T1.tar", "w") as tar:
        tar.add(scan, scan.name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        file = Download(f"http://127.0.0.1:{server.server_port}/IXI-T1.tar", "IXI-T1.tar")
        monkeypatch.setitem(
            registry.DATASETS, "ixi", replace(registry.DATASETS["ixi"], files=(file,))
        )
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert main(["download", "ixi", str(tmp_path / "ixi")]) == 0
        finally:
            server.shutdown()
            thread.join()
    assert "CC BY-SA 3.0" in capsys.readouterr().out
    archive = tmp_path / "ixi" / "IXI-T1.tar"
    assert main(["unpack", str(archive), str(tmp_path / "ixi" / "IXI-T1")]) == 0
    assert main(["rows", "ixi", str(tmp_path / "ixi"), str(tmp_path / "ixi.csv")]) == 0
    (found,) = find_raw(tmp_path / "ixi.csv", "")
    assert (found.subject, found.image.read_bytes()) == ("IXI012", b"scan")


def test_help_shows_an_example_from_the_root_of_the_repository():
    done = subprocess.run(
        [sys.executable, "-m", "data_prep", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "python -m data_prep rows ixi data/ixi data/ixi.csv" in done.stdout


@pytest.mark.parametrize("words", [[], ["rowz"], ["--labelled", "rows"]])
def test_unknown_commands_list_the_known(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "{list,show,rows,download,unpack,anatomies}" in capsys.readouterr().err


def test_flags_and_options_in_any_order(touch, tmp_path):
    root = touch(["brain_train/00000.nii.gz"])
    words = ["mood", "--labelled", str(root), str(tmp_path / "rows.csv"), "sequence=T2w"]
    assert main(["--debug", "rows", *words]) == 0
    (scan,) = find_raw(tmp_path / "rows.csv", "")
    assert (scan.sequence, scan.healthy) == ("T2w", True)
