"""The data folder, and downloads from a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import sys
import threading
import types

import pytest

from pbench.bench.contracts.errors import DataError, MissingDependency
from pbench.datasets.download import verified, with_pertpy, with_pooch
from pbench.datasets.folder import data_folder, find

BYTES = b"a screen" * 1000
SHA = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path):
    """Address of a server that has ``screen.h5ad``."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "screen.h5ad").write_bytes(BYTES)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_the_variable_decides(folder, monkeypatch, tmp_path):
    assert data_folder() == folder
    monkeypatch.delenv("PBENCH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder().name == "data" and "pbench" in str(data_folder())


def test_find_takes_the_first_that_is_there(folder):
    assert find(["a.h5ad", "b.h5ad"]) is None
    folder.mkdir()
    (folder / "b.h5ad").write_bytes(b"")
    assert find(["a.h5ad", "b.h5ad"]) == folder / "b.h5ad"
    (folder / "a.h5ad").write_bytes(b"")
    assert find(["a.h5ad", "b.h5ad"]) == folder / "a.h5ad"


def test_downloads_once(folder, server, tmp_path):
    path = with_pooch("demo", f"{server}/screen.h5ad", ["demo.h5ad"], sha256=SHA)
    assert path == folder / "demo.h5ad" and path.read_bytes() == BYTES
    (tmp_path / "site" / "screen.h5ad").unlink()
    assert with_pooch("demo", f"{server}/screen.h5ad", ["demo.h5ad"], sha256=SHA) == path


def refused(exit_code, *words):
    caught = pytest.raises(DataError)

    class Check:
        def __enter__(self):
            self.info = caught.__enter__()

        def __exit__(self, *details):
            assert caught.__exit__(*details)
            message = str(self.info.value)
            assert not [w for w in words if w not in message], message
            assert self.info.value.exit_code == exit_code and "\n" not in message
            return True

    return Check()


def test_wrong_checksum_leaves_nothing(folder, server):
    with refused(3, "demo", "screen.h5ad", "does not match", "norman-sim"):
        with_pooch("demo", f"{server}/screen.h5ad", ["demo.h5ad"], sha256="0" * 64)
    assert list(folder.iterdir()) == []


def test_missing_page_leaves_nothing(folder, server):
    with refused(3, f"{server}/absent.h5ad", "404", str(folder), "norman-sim"):
        with_pooch("demo", f"{server}/absent.h5ad", ["demo.h5ad"], sha256=None)
    assert list(folder.iterdir()) == []


def test_unreachable_host_is_one_message(folder):
    with refused(3, "'demo'", "demo.h5ad or other.h5ad", str(folder), "PBENCH_DATA", "http://127.0.0.1:9/x", "norman-sim"):
        with_pooch("demo", "http://127.0.0.1:9/x", ["demo.h5ad", "other.h5ad"], sha256=None)


def test_a_download_that_breaks_off_leaves_nothing(folder, tmp_path):
    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(BYTES)))
            self.end_headers()
            self.wfile.write(BYTES[: len(BYTES) // 2])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        with refused(3, "demo", "norman-sim"):
            with_pooch("demo", f"http://127.0.0.1:{running.server_address[1]}/x", ["demo.h5ad"], sha256=None)
        running.shutdown()
    assert list(folder.iterdir()) == []


def test_a_data_folder_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("not a folder")
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    with refused(3, "demo", str(tmp_path / "data"), "PBENCH_DATA"):
        with_pooch("demo", "http://127.0.0.1:9/x", ["demo.h5ad"], sha256=None)
    fake_pertpy(monkeypatch, lambda into: None)
    with refused(3, "demo", str(tmp_path / "data"), "PBENCH_DATA"):
        with_pertpy("demo", "demo_2020", ["demo_2020.h5ad"])


def test_checksum_of_the_first_download_holds(folder, server):
    path = with_pooch("demo", f"{server}/screen.h5ad", ["demo.h5ad"], sha256=None)
    assert json.loads((folder / "demo.h5ad.sha256.json").read_text())["sha256"] == SHA
    assert verified("demo", path, None) == path
    path.write_bytes(BYTES[:-1])
    with refused(3, "demo", SHA[:16], "pbench fetch demo"):
        verified("demo", path, None)


def fake_pertpy(monkeypatch, load):
    """Modules in place of pertpy and scanpy, whose real import takes half a minute."""
    scanpy, pertpy = types.ModuleType("scanpy"), types.ModuleType("pertpy")
    scanpy.settings = types.SimpleNamespace(datasetdir=None)
    pertpy.dt = types.SimpleNamespace(demo_2020=lambda: load(scanpy.settings.datasetdir))
    monkeypatch.setitem(sys.modules, "scanpy", scanpy)
    monkeypatch.setitem(sys.modules, "pertpy", pertpy)


def test_pertpy_writes_into_the_data_folder(folder, monkeypatch):
    fake_pertpy(monkeypatch, lambda into: (into / "demo_2020.h5ad").write_bytes(BYTES))
    path = with_pertpy("demo", "demo_2020", ["demo_2020.h5ad"])
    assert path.read_bytes() == BYTES
    assert json.loads((folder / "demo_2020.h5ad.sha256.json").read_text())["sha256"] == SHA


def test_pertpy_that_fails_leaves_nothing(folder, monkeypatch):
    def load(into):
        (into / "demo_2020.h5ad.part").write_bytes(b"half")
        raise OSError("Name or service not known")

    fake_pertpy(monkeypatch, load)
    with refused(3, "pertpy.dt.demo_2020()", "Name or service not known", str(folder), "norman-sim"):
        with_pertpy("demo", "demo_2020", ["demo_2020.h5ad"])
    assert list(folder.iterdir()) == []


def test_a_pertpy_that_lacks_the_loader(folder, monkeypatch):
    fake_pertpy(monkeypatch, lambda into: None)
    with refused(3, "'demo'", "absent_2020", "norman-sim"):
        with_pertpy("demo", "absent_2020", ["absent_2020.h5ad"])


def test_a_pertpy_that_stores_elsewhere(folder, monkeypatch):
    fake_pertpy(monkeypatch, lambda into: None)
    with refused(3, "pertpy.dt.demo_2020()", str(folder / "demo_2020.h5ad"), "elsewhere"):
        with_pertpy("demo", "demo_2020", ["demo_2020.h5ad"])


def test_without_pertpy_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pertpy", None)
    with pytest.raises(MissingDependency, match=r"pip install 'pbench\[pertpy\]'"):
        with_pertpy("demo", "demo_2020", ["demo_2020.h5ad"])
