"""The annotations that GEARS downloads: read without running what a pickle may hold, and made into the resource ``go``."""

from __future__ import annotations

import http.server
import os
import pickle
import threading

import pytest

from pbench.bench.contracts.errors import DataError
from pbench.datasets import gene2go
from pbench.datasets.feature_table import default_path, read_feature_table

TERMS = {"KLF1": {"GO:1", "GO:2"}, "BAK1": {"GO:2"}, "A": frozenset({"GO:3"}), "NONE": set()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def served(tmp_path):
    """A web server on this machine with the file in the format of GEARS."""
    root = tmp_path / "web"
    root.mkdir()
    (root / "6153417").write_bytes(pickle.dumps(TERMS))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/6153417"
    server.shutdown()


def test_it_becomes_the_resource_go(folder, served):
    path = gene2go.fetch(served)
    assert path.read_text() == "gene,term\nA,GO:3\nBAK1,GO:2\nKLF1,GO:1\nKLF1,GO:2\n"
    assert default_path("go", folder) == path
    table = read_feature_table(path)
    assert table.names == ("A", "BAK1", "KLF1")
    pairs = {(int(s), int(t)): float(w) for s, t, w in zip(*vars(table.edges).values(), strict=True)}
    assert pairs[1, 2] == pairs[2, 1] == pytest.approx(0.5)
    # What is there is not fetched again.
    assert gene2go.fetch("http://127.0.0.1:9/nowhere") == path


def test_a_host_that_cannot_be_reached(folder):
    with pytest.raises(DataError, match="Downloading http://127.0.0.1:9/x failed"):
        gene2go.fetch("http://127.0.0.1:9/x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_instructions_are_followed_as_the_standard_library_follows_them(protocol, tmp_path):
    shared = {"GO:7", "GO:8"}
    many = {f"G{i}": {f"GO:{i * j % 2003}" for j in range(i % 9)} for i in range(3000)}
    for made in (TERMS, {"one": {"GO:ä"}}, {"a": shared, "b": shared, "c": ["GO:1"]}, many):
        path = tmp_path / "some.pkl"
        path.write_bytes(pickle.dumps(made, protocol))
        assert gene2go.read_annotations(path) == {g: sorted(t) for g, t in sorted(pickle.loads(path.read_bytes()).items())}


def nested() -> bytes:
    """A tuple of tuples whose hash takes 2^60 steps, as a key."""
    made: tuple = ("x",)
    for _ in range(60):
        made = (made, made)
    # Made by hand, since pickling it would hash nothing and loading it all.
    return b"\x80\x04}" + pickle.dumps(made, 4)[2:-1] + b"]s."


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"A": Bomb()}),
        pickle.dumps({"A": {1}}),
        pickle.dumps(["A"]),
        pickle.dumps({}),
        b"\x80\x04damaged",
        b"",
        nested(),
    ],
)
def test_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gene2go_all.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="pbench fetch go"):
        gene2go.read_annotations(path)
    assert not (tmp_path / "exploded").exists()
