"""Archives: every file inside the folder, or none at all."""

import io
import struct
import tarfile
import zipfile

import pytest

from brainuad.errors import CannotWrite, InputError
from data_prep.unpack import unpack


def _tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_files_land_in_the_folder(tmp_path, pack):
    members = {"a-T1.nii.gz": b"one", "deep/er/b-T1.nii.gz": b"two"}
    archive = pack(tmp_path / "x.archive", members)
    out = tmp_path / "out"
    assert unpack(archive, out) == 2
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.gz")} == members


@pytest.mark.parametrize("pack", [_tar, _zip])
def test_a_second_call_mends_what_is_cut_and_keeps_the_rest(tmp_path, pack):
    archive = pack(tmp_path / "x.archive", {"a": b"one", "b": b"two"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_bytes(b"on")
    (out / "b").write_bytes(b"TWO")
    unpack(archive, out)
    assert (out / "a").read_bytes() == b"one"
    assert (out / "b").read_bytes() == b"TWO"


@pytest.mark.parametrize("pack", [_tar, _zip])
@pytest.mark.parametrize("name", ["../evil", "/tmp/brainuad-evil", "a/../../evil", "..\\evil"])
def test_paths_outside_are_refused_before_anything_is_written(tmp_path, pack, name):
    archive = pack(tmp_path / "x.archive", {"good": b"one", name: b"two"})
    out = tmp_path / "deep" / "out"
    with pytest.raises(InputError, match="leads out of the folder"):
        unpack(archive, out)
    assert [p.name for p in tmp_path.rglob("*")] == ["x.archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(InputError, match="link is a link or device"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(InputError, match="x.tar: .*download it again"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
    with pytest.raises(InputError, match="none.tar: no such file"):
        unpack(tmp_path / "none.tar", tmp_path / "out")


def test_a_cut_archive_is_named(tmp_path):
    archive = _tar(tmp_path / "x.tar", {"a": b"1" * 5000, "b": b"2" * 5000})
    archive.write_bytes(archive.read_bytes()[:7000])
    with pytest.raises(InputError, match="x.tar: .*download it again"):
        unpack(archive, tmp_path / "out")


def test_an_encrypted_archive_is_left_to_other_programs(tmp_path):
    archive = _zip(tmp_path / "x.zip", {"a": b"one"})
    data = bytearray(archive.read_bytes())
    # The flag bit of encryption, in the file's header and in the central directory.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="x.zip: .*encrypted.*another program"):
        unpack(archive, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(CannotWrite, match="a file is where a folder has to be"):
        unpack(_zip(tmp_path / "x.zip", {"a": b"one"}), tmp_path / "out")


def test_archives_of_data_are_held_to_their_claims(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a", "a" * 100)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    struct.pack_into("<I", content, at, 2**31)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="claims 2147483648 bytes in 100"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    info = tarfile.TarInfo("a")
    info.size = 2**50
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(InputError, match=r"a\.tar: "):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()
