"""Conversions of data that stay in their file: killed, resumed, crowded and out of disk, and always the same bytes."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts.errors import PbenchError
from pbench.bench.engine import conversion
from pbench.bench.engine.growing_array import GrowingArray
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.progress_file import ProgressFile, watched
from pbench.datasets import row_blocks, stored
from pbench.datasets.reader import from_h5ad

N, G = 120, 17
#: How often the kill test kills; more on demand.
KILLS = int(os.environ.get("PBENCH_TEST_KILLS", "4"))


@pytest.fixture(params=[sparse.csr_matrix, sparse.csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
def path(request, tmp_path):
    rng = np.random.default_rng(0)
    names = np.array(["control", "A", "B"])
    obs = pd.DataFrame({"perturbation": names[np.arange(N) % 3]}, index=[f"cell-{i}" for i in rng.permutation(N)])
    X = rng.poisson(0.8, (N, G)).astype(np.float32)
    anndata.AnnData(request.param(X), obs=obs).write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(row_blocks, "VALUES", 60)
    monkeypatch.setattr(conversion, "CHECKPOINT_SECONDS", 0.0)


def made(path, cache, monkeypatch, *, cells=True, streamed=True, tell=lambda text: None):
    """Bytes of all prepared files, by name."""
    monkeypatch.setenv("PBENCH_CACHE", str(cache))
    dataset = from_h5ad(path, scale="counts")
    load = (lambda: dataset.open(0)) if streamed else dataset.load
    ready = prepare(dataset, data_id="x", cells=cells, loaded=load, tell=tell)
    folders = [ready.folder, *([ready.cells_folder] if cells else [])]
    return {f"{i}/{p.name}": p.read_bytes() for i, folder in enumerate(folders) for p in sorted(folder.iterdir())}


class Stopped(BaseException):
    """As sudden as a kill: nobody handles it."""


def stop_after(monkeypatch, n):
    """Let the source give `n` blocks and no more; returns where the rows began that were asked for."""
    starts = []
    blocks = stored.FileRows.blocks

    def stopping(self, start=0, scratch=None):
        starts.append(start)
        for i, found in enumerate(blocks(self, start, scratch)):
            if i == n:
                raise Stopped
            yield found

    monkeypatch.setattr(stored.FileRows, "blocks", stopping)
    return starts


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_what_was_stopped_goes_on_where_it_was(path, tmp_path, monkeypatch, n):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache = tmp_path / "cache"
    begun = [0]
    for _ in range(2):
        with monkeypatch.context() as patch:
            starts = stop_after(patch, n)
            with pytest.raises(Stopped):
                made(path, cache, patch)
            begun += starts
        assert not [p for p in cache.glob("screens/*") if not p.name.endswith(".partial")], "half a folder has no final name"
    with monkeypatch.context() as patch:
        begun += stop_after(patch, -1)
        assert made(path, cache, patch) == expected
    assert begun == sorted(begun) and (begun[-1] > 0) == (n > 0)
    assert not list(cache.glob("screens/*.partial"))


@pytest.mark.parametrize("spoil", ["state", "sums", "short", "gone", "old sums", "no state"])
def test_what_cannot_be_trusted_is_made_anew(path, tmp_path, monkeypatch, spoil):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            made(path, cache, patch)
    (partial,) = cache.glob("screens/*.partial")
    (sums,) = partial.glob("sums-*.npz")
    state = partial / "state.json"
    if spoil == "state":
        state.write_text(state.read_text().replace('"row": ', '"row": 1'))
    elif spoil == "sums":
        data = bytearray(sums.read_bytes())
        data[len(data) // 2] ^= 4
        sums.write_bytes(data)
    elif spoil == "short":
        with open(partial / "cells" / "data.npy", "r+b") as f:
            f.truncate(200)
    elif spoil == "gone":
        (partial / "sums" / "row_hashes.npy").unlink()
    elif spoil == "old sums":
        sums.unlink()
    else:
        state.unlink()
    with monkeypatch.context() as patch:
        starts = stop_after(patch, -1)
        assert made(path, cache, patch) == expected
    assert starts == [0]


def test_bytes_beyond_the_state_are_cut_off(path, tmp_path, monkeypatch):
    """Blocks that were written after the last state are there twice in no file."""
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache = tmp_path / "cache"
    save, saved = conversion._Pass.save, []
    with monkeypatch.context() as patch:
        patch.setattr(conversion._Pass, "save", lambda self: saved.append(1) or (save(self) if len(saved) == 1 else None))
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            made(path, cache, patch)
    with monkeypatch.context() as patch:
        starts = stop_after(patch, -1)
        assert made(path, cache, patch) == expected
    assert 0 < starts[0] < 60


def test_cells_that_are_wanted_later(path, tmp_path, monkeypatch):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            made(path, cache, patch, cells=False)
    assert made(path, cache, monkeypatch) == expected
    only = made(path, tmp_path / "sums", monkeypatch, cells=False)
    assert only == {name: data for name, data in expected.items() if name.startswith("0/")}
    assert made(path, tmp_path / "sums", monkeypatch) == expected


@pytest.mark.parametrize("stop", [0, 1])
def test_a_kill_between_the_two_folders(path, tmp_path, monkeypatch, stop):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache, moved = tmp_path / "cache", []

    def move(source, target):
        if len(moved) == stop:
            raise Stopped
        moved.append(target)
        source.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_move", move)
        with pytest.raises(Stopped):
            made(path, cache, patch)
    assert [p.name.endswith("-cells") for p in moved] == [True] * stop
    assert made(path, cache, monkeypatch) == expected


def test_a_full_disk_keeps_what_was_done(path, tmp_path, monkeypatch):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    cache, append = tmp_path / "cache", GrowingArray.append

    def full(self, values):
        if self.length > 150:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(GrowingArray, "append", full)
        with pytest.raises(PbenchError, match="No space left on device. Free some space.*goes on where this one stopped"):
            made(path, cache, patch)
    with monkeypatch.context() as patch:
        starts = stop_after(patch, -1)
        assert made(path, cache, patch) == expected
    assert starts[0] > 0


CHILD = """
import sys, time
from pathlib import Path
from pbench.bench.engine import conversion
from pbench.bench.engine.prepare import prepare
from pbench.datasets import row_blocks, stored
from pbench.datasets.reader import from_h5ad

row_blocks.VALUES, conversion.CHECKPOINT_SECONDS = 60, 0.0
blocks = stored.FileRows.blocks
def slowly(self, start=0, scratch=None):
    for found in blocks(self, start, scratch):
        time.sleep(float(sys.argv[2]))
        yield found
stored.FileRows.blocks = slowly
dataset = from_h5ad(Path(sys.argv[1]), scale="counts")
prepare(dataset, data_id="x", cells=True, loaded=lambda: dataset.open(0), tell=lambda text: print(text, flush=True))
print("done", flush=True)
"""


def child(path, cache, pause):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PBENCH_CACHE": str(cache)},
    )


@pytest.mark.parametrize("path", [sparse.csr_matrix], ids=["csr"], indirect=True)
def test_kills_at_any_moment(path, tmp_path, monkeypatch):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    rng = np.random.default_rng()
    cache = tmp_path / "cache"
    for _ in range(KILLS):
        process = child(path, cache, 0.02)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert made(path, cache, monkeypatch) == expected


@pytest.mark.parametrize("path", [sparse.csr_matrix], ids=["csr"], indirect=True)
def test_two_at_once(path, tmp_path, monkeypatch):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)
    processes = [child(path, tmp_path / "cache", 0.05) for _ in range(2)]
    said = [p.communicate(timeout=60)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0] and all(text.endswith("done\n") for text in said)
    assert sum("waiting for another run" in text for text in said) <= 1
    assert sum("100% of 120 cells" in text for text in said) == 1, "one has done the work"
    assert made(path, tmp_path / "cache", monkeypatch) == expected


@pytest.mark.parametrize("path", [sparse.csr_matrix], ids=["csr"], indirect=True)
def test_without_locks_each_has_a_folder(path, tmp_path, monkeypatch):
    expected = made(path, tmp_path / "whole", monkeypatch, streamed=False)

    def none(*asked):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(conversion.fcntl, "flock", none)
    assert made(path, tmp_path / "cache", monkeypatch) == expected
    assert [p.name for p in (tmp_path / "cache" / "screens").iterdir() if p.suffix in (".partial", ".tmp")] == []


@given(st.lists(st.lists(st.integers(0, 255), max_size=7), max_size=6), st.sampled_from(["u1", "i4", "i8", "f4"]), st.data())
def test_a_growing_array_is_what_numpy_saves(tmp_path_factory, parts, kind, data):
    folder = tmp_path_factory.mktemp("growing")
    array = GrowingArray(folder / "a.npy", kind)
    for part in parts:
        array.append(part)
        if data.draw(st.booleans()):
            # Killed, with something half written behind what was synced.
            array.sync()
            length = array.length
            array._file.write(b"half")
            array._file.close()
            array = GrowingArray(folder / "a.npy", kind, length)
    array.close()
    np.save(folder / "b.npy", np.array([v for part in parts for v in part], dtype=kind))
    assert (folder / "a.npy").read_bytes() == (folder / "b.npy").read_bytes()


def test_progress_reaches_who_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("pbench.bench.engine.progress_file.INTERVAL", 0.01)
    seen, times = [], iter(np.arange(0, 1000, 1.0))
    tell = ProgressFile(tmp_path / "p", clock=lambda: next(times))
    with watched({tmp_path / "p": seen.append, tmp_path / "none": seen.append}):
        for i in range(4):
            tell(f"text {i}")
            time.sleep(0.1)
    assert seen == ["text 0", "text 2"]
    ProgressFile(Path("/nowhere/at/all"))("is no reason to fail")
    ProgressFile(None)("neither is this")


def test_progress_says_how_far_it_is(tmp_path, monkeypatch):
    assert conversion._progress(50, 100, 0, 60.0) == "50% of 100 cells, about 60 s left"
    assert conversion._progress(500_000, 2_000_000, 0, 60.0) == "25% of 2,000,000 cells, about 3 min left"
    assert conversion._progress(1, 100, 0, 1.0) == "1% of 100 cells"
    # What an earlier run has done says nothing of the speed of this one.
    assert conversion._progress(60, 100, 50, 10.0) == "60% of 100 cells, about 40 s left"


def test_the_state_is_read_by_people_too(path, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            made(path, tmp_path / "cache", patch)
    (state,) = (tmp_path / "cache").glob("screens/*.partial/state.json")
    held = json.loads(state.read_text())
    assert held["lengths"]["row_hashes"] == held["row"] and held["lengths"]["indptr"] == held["row"] + 1
