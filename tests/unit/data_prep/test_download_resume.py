"""Downloads against a local server: resumed, restarted, checked, and nothing lost."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from brainuad.errors import InputError
from data_prep import download as module
from data_prep.dataset import Download
from data_prep.download import download

CONTENT = bytes(range(256)) * 400
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; says how it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.cuts = []  # after how many bytes the next connections are cut
        self.status = 200
        self.asked = []  # Range headers
        self.sent = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file.tar"


class Handler(BaseHTTPRequestHandler):
    """Byte ranges as RFC 9110 says, or none."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        content, start = server.content, 0
        fresh = self.headers.get("If-Range", server.etag) == server.etag
        if asked and server.ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        body = content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server():
    served = Server()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def _item(server, **known):
    return Download(server.url, "file.tar", **known)


def test_a_whole_file(server, tmp_path):
    path = download(_item(server, sha256=SUM, size=len(CONTENT)), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["file.tar"]
    # A file that is there is checked, not fetched again.
    assert download(_item(server, sha256=SUM), tmp_path / "new") == path
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cuts = [1000, 5000]
    path = download(_item(server, sha256=SUM), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=6000-"]
    assert server.sent == len(CONTENT)


def test_a_second_call_goes_on_where_the_first_gave_up(server, tmp_path):
    server.cuts = [100] * module.ATTEMPTS
    with pytest.raises(InputError, match=f"cut off at {100 * module.ATTEMPTS} bytes"):
        download(_item(server), tmp_path)
    part = tmp_path / "file.tar.part"
    assert part.read_bytes() == CONTENT[: 100 * module.ATTEMPTS]
    assert not (tmp_path / "file.tar").exists()
    assert download(_item(server, sha256=SUM), tmp_path).read_bytes() == CONTENT
    assert server.sent == len(CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["file.tar"]


def test_a_server_that_ignores_ranges_sends_it_anew(server, tmp_path):
    server.ranges = False
    server.cuts = [1000]
    assert download(_item(server, sha256=SUM), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]
    assert server.sent == 1000 + len(CONTENT)


def test_a_file_that_changed_is_not_mixed(server, tmp_path):
    server.cuts = [1000] * module.ATTEMPTS
    with pytest.raises(InputError, match="cut off"):
        download(_item(server), tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    # No checksum is known: only the server's tag tells that the file is another one.
    assert download(_item(server), tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("have", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, have):
    (tmp_path / "file.tar.part").write_bytes((CONTENT + b"extra")[:have])
    assert download(_item(server, sha256=SUM), tmp_path).read_bytes() == CONTENT
    assert server.sent == (0 if have == len(CONTENT) else len(CONTENT))


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"size": 7}])
def test_a_wrong_file_deletes_only_its_part(server, tmp_path, known):
    (tmp_path / "other.tar").write_bytes(b"mine")
    (tmp_path / "other.tar.part").write_bytes(b"half")
    with pytest.raises(InputError, match="(not 0{64}|than the 7 bytes .*); the part is deleted"):
        download(_item(server, **known), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"other.tar", "other.tar.part"}


def test_a_wrong_file_that_was_there_stays(server, tmp_path):
    (tmp_path / "file.tar").write_bytes(b"mine")
    with pytest.raises(InputError, match="file.tar: its SHA-256 is .* move it away"):
        download(_item(server, sha256=SUM), tmp_path)
    assert (tmp_path / "file.tar").read_bytes() == b"mine"
    assert not server.asked


def test_refusals_of_the_server_name_the_address(server, tmp_path):
    server.status = 404
    with pytest.raises(InputError, match=r"file.tar: 404 .*homepage"):
        download(_item(server), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_network_is_said(server, tmp_path):
    with pytest.raises(InputError, match="is there a network"):
        download(Download("http://127.0.0.1:9/file.tar", "file.tar"), tmp_path, timeout_s=2)
