"""Claims are compared with what is there before memory is asked for."""

import csv
import gzip
import io
import json
import os
import resource
import struct
import subprocess
import tracemalloc
import zipfile
from contextlib import suppress
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainuad.cohorts.find import find_raw
from brainuad.cohorts.manifest import read_cohort
from brainuad.errors import InputError
from brainuad.machine import limits
from brainuad.machine.limits import available_bytes
from brainuad.machine.read import read_json, read_table
from brainuad.model.bundle import read_bundle, read_bundle_card, write_bundle
from brainuad.model.model_file import read_card
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.transforms.grid import PreparedGridd
from brainuad.reporting.run_files import read_arrays
from brainuad.reporting.run_folder import read_run
from brainuad.types import Volume
from brainuad.volumes.nifti import open_nifti, read_volume
from brainuad.volumes.read import read_scan
from brainuad.volumes.tiling import SliceTiling, VolumeTiling

MOST = 50e6  # bytes that a refusal may take


@pytest.fixture(autouse=True)
def _small():
    """No refusal takes much memory."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST


def _header(shape, offset=352.0, bits=32):
    header = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_bytes()[:352])
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<h", header, 72, bits)
    struct.pack_into("<f", header, 108, offset)
    return bytes(header)


@pytest.mark.parametrize(
    "header",
    [
        _header((32767, 32767, 32767)),
        _header((-5, 10, 10)),
        _header((10, 10, 10), offset=float("inf")),
        _header((10, 10, 10), offset=float("nan")),
        _header((10, 10, 10), offset=-1.0),
        _header((10, 10, 10), offset=1e12),
        _header((32767,) * 7),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("read", [read_volume, read_scan, open_nifti])
def test_a_header_cannot_claim_more_than_the_file_holds(tmp_path, header, ending, read):
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(header) if ending.endswith("gz") else header)
    with pytest.raises(InputError, match=r"truncated|header") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "report" not in str(caught.value)


def test_what_is_true_but_too_large_is_refused_with_the_numbers(tmp_path, monkeypatch):
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 40), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.setattr(limits, "available_bytes", lambda: 1e5)
    with pytest.raises(InputError, match=r"needs 0\.000768 GB of memory, 0\.0001 GB are at hand"):
        read_volume(tmp_path / "a.nii.gz")


def test_the_memory_of_a_container_counts(tmp_path):
    for name, text in (
        ("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n"),
        ("sys/fs/cgroup/memory.max", "3000000000\n"),
        ("sys/fs/cgroup/memory.current", "1000000000\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_bytes(tmp_path) == 2_000_000_000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert available_bytes(tmp_path) == 8_000_000 * 1024
    assert available_bytes() > 1e6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.safetensors", "card.json", "sha256.json"])
def test_a_bundle_does_not_unpack_a_bomb(tmp_path, name):
    path = tmp_path / "a.zip"
    write_bundle(path, {"a": torch.zeros(3)}, {}, "")
    members = {}
    with zipfile.ZipFile(path) as file:
        members = {member: file.read(member) for member in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            if member == name:
                with file.open(name, "w", force_zip64=True) as target:
                    for _ in range(100):
                        target.write(bytes(2**20))
            else:
                file.writestr(member, content)
    with pytest.raises(InputError, match="unpacks to 0.105 GB"):
        read_bundle(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *(("a.json", read_json), ("a.csv", lambda path: read_table(path, "x"))),
        *(("a.ckpt", read_card), ("a.zip", read_card), ("a.nii.gz", read_volume)),
        *(("a.nii", read_volume), ("a.npz", read_arrays)),
    ],
)
def test_an_endless_device_is_not_read(tmp_path, name, read):
    """It stands in place of a file, by a link."""
    (tmp_path / name).symlink_to("/dev/zero")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # What is no file is not there, or refused.
    with suppress(InputError):
        assert read(tmp_path / name) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", ["a.zip", "a.ckpt", "folder/card.json"])
def test_pipes_are_not_waited_for(tmp_path, name):
    path = tmp_path / name
    if path.parent != tmp_path:
        write_bundle(path.parent, {"a": torch.zeros(3)}, {}, "")
        path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"pipe|no such checkpoint"):
        read_card(path if path.parent == tmp_path else path.parent)
    with pytest.raises(InputError, match=r"pipe|such"):
        read_volume(path)
    with pytest.raises(InputError):
        read_scan(path.parent)
    with pytest.raises(InputError, match="pipe"):
        read_json(path)


def _npz(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a.npy", "w") as target,
    ):
        target.write(b"\x93NUMPY\x01\x00v\x00")
        shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }"
        target.write(f"{shape:<117}\n".encode())


def _npz_bomb(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a.npy", "w") as target,
    ):
        for _ in range(1100):
            target.write(bytes(2**20))


@pytest.mark.slow
@pytest.mark.parametrize("make", [_npz, _npz_bomb])
def test_curves_do_not_unpack_a_bomb(tmp_path, make):
    (tmp_path / "config.yaml").write_text("")
    make(tmp_path / "curves.npz")
    with pytest.raises(InputError, match=r"curves\.npz"):
        _ = read_run(tmp_path).arrays


PLAIN = Preparation(Extracted(), None, None, None, ("T1w",), 3.0)


@pytest.mark.parametrize(
    "change",
    [{"spacing_mm": value} for value in (0.004, 0.0, -1.0, float("nan"), float("inf"))]
    + [{"margin_mm": value} for value in (1e6, -1.0, float("nan"))],
)
def test_a_grid_for_no_head_is_refused(change):
    with pytest.raises(InputError, match="use a number from"):
        replace(PLAIN, **change)


def test_a_grid_that_fits_no_memory_is_refused_with_the_numbers():
    brain = np.ones((10, 10, 10), bool)
    image = Volume(brain.astype(np.float32), np.diag([30.0, 30, 30, 1]))
    with pytest.raises(InputError, match=r"needs .* GB of memory, .* GB are at hand"):
        PreparedGridd(["T1w"], spacing_mm=0.01).grid_of(image, brain)


@pytest.mark.parametrize(
    "tiling", [SliceTiling("axial", (10**31, 10**31)), VolumeTiling((10**9,) * 3)]
)
def test_tiles_that_fit_no_memory_are_refused(tiling):
    with pytest.raises(InputError, match=r"tiling\.size: needs"):
        tiling.split(torch.zeros(1, 4, 4, 4))


def test_deep_folders_are_walked_so_far_and_no_further(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        open("b.nii.gz", "w").close()
    finally:
        os.chdir(here)
    try:
        assert [scan.image.name for scan in find_raw(tmp_path, "T1w")] == ["a.nii.gz"]
        (tmp_path / "a.nii.gz").unlink()
        with pytest.raises(InputError):
            find_raw(tmp_path, "T1w")
    finally:
        # Too deep for pytest's own way to remove it.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


BAD_JSON = (b"", b"{", b"[" * 100_000, b'{"a":' * 1500, b"\x80", b"[1]",
            b'{"a": ' + b"9" * 10_000 + b"}")  # fmt: skip


@pytest.mark.parametrize("content", BAD_JSON)
def test_damaged_json_is_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: ") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


BAD_TABLES = ("sübject,image\n".encode("latin-1"), "subject,image\n".encode("utf-16"),
              b"image\n" + b"x" * 200_000 + b"\n", b"image\na\x00b\n", b"\xff")  # fmt: skip


@pytest.mark.parametrize("content", BAD_TABLES)
@pytest.mark.parametrize("name", ["list.csv", "manifest.csv"])
def test_damaged_tables_are_one_line(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_raw(path, "T1w") if name == "list.csv" else read_cohort(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_good_table_is_read_with_its_byte_order_mark(tmp_path):
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], ["1", "x\ny"], ["2"]])
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8-sig")
    rows = [{"a": "1", "b": "x\ny"}, {"a": "2", "b": ""}]
    assert read_table(tmp_path / "a.csv") == (["a", "b"], rows)
    (tmp_path / "a.json").write_text(json.dumps({"a": [1]}))
    assert read_json(tmp_path / "a.json") == {"a": [1]}


def test_the_card_alone_is_held_to_its_claims_too(tmp_path):
    path = tmp_path / "a.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("sha256.json", "w") as target,
    ):
        for _ in range(100):
            target.write(bytes(2**20))
    with pytest.raises(InputError, match="unpacks to"):
        read_bundle_card(path)
