"""Files that declare more than they hold, or refer to themselves: refused by name, in bounded time and memory."""

from __future__ import annotations

import io
import zlib

import h5py
import numpy as np
import pytest
from bounded import bounded

from pbench.bench.contracts.errors import DataError
from pbench.datasets import h5ad_bounds
from pbench.datasets.h5ad import opened
from pbench.datasets.h5ad_bounds import weight
from pbench.datasets.reader import from_h5ad

LABELS = ["control", "control", "KLF1", "KLF1", "KLF1+BAK1", "BAK1+KLF1"]
TEXT = h5py.string_dtype()


def load(path):
    return from_h5ad(path, scale="counts").load()


@pytest.fixture
def edited(write):
    def make(edit, **options):
        path = write(LABELS, **options)
        with h5py.File(path, "a") as f:
            edit(f)
        return path

    return make


def swap(f, name, **options):
    """An array of that name that was never written, with the attributes of the one before."""
    attrs = dict(f[name].attrs)
    del f[name]
    made = f.create_dataset(name, **options)
    made.attrs.update(attrs)
    return made


def never_written(name, shape, dtype="f4", **options):
    return lambda f: swap(f, name, shape=shape, dtype=dtype, **options) and None


def absurd_shape(f):
    f["X"].attrs["shape"] = np.array([10**12, 10**12])


def many_places_for_one_text(f):
    """The names of 100,000 cells, each of them the same text of 1 MB."""
    made = swap(f, "obs/_index", shape=(100_000,), dtype=TEXT, chunks=(1000,), compression="gzip")
    made[0] = "a" * 2**20
    made[1000] = "b"
    (first, chunk) = made.id.read_direct_chunk((0,))
    raw = bytearray(zlib.decompress(chunk))
    packed = zlib.compress(raw[:16] * 1000)
    for i in range(100):
        made.id.write_direct_chunk((i * 1000,), packed, first)


def gzip_that_expands(f):
    """One chunk of 20 values whose bytes unpack to a gigabyte: libhdf5 unpacks all of it before it looks at the size."""
    made = swap(f, "X/data", shape=(30,), dtype="f4", chunks=(30,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(2**30), 9))


def gzip_in_gzip(f):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((30,))
    plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
    plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
    del f["X/data"]
    h5py.h5d.create(f["X"].id, b"data", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((30,)), plist)
    f["X/data"].id.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(2**30), 9), 9))


def cycle(f):
    f["obs"].create_group("more")["obs"] = f["obs"]


def laughs(f):
    """Each group is linked twice by the one above it: 2^40 paths to the last."""
    below = f.create_group("below")
    for i in range(40):
        above = f.create_group(f"level{i}")
        above["a"] = above["b"] = below
        below = above
    f["obs/laughs"] = below
    f["obs/laughs"].attrs["encoding-type"] = "dict"


def nested(f):
    here = f["layers"]
    for _ in range(3000):
        here = here.create_group("x")


def filled(f):
    made = f.create_dataset("obs/note", shape=(6,), dtype=TEXT, fillvalue="x" * 1000)
    made.attrs["encoding-type"] = "string-array"


def references(f):
    f["obs/where"] = np.array([f["X"].ref] * 6, dtype=h5py.ref_dtype)


def ragged(f):
    f["obs/ragged"] = np.array([np.arange(2)] * 6 + [np.arange(3)], dtype=object)[:6].astype(h5py.vlen_dtype("i8"))


def categories_elsewhere(f):
    swap(f, "obs/perturbation" if isinstance(f["obs/perturbation"], h5py.Dataset) else "obs/_index", shape=(6,), dtype="i1")
    f["bomb"] = np.zeros(3)
    for name in ("obs/perturbation", "obs/_index"):
        if isinstance(f[name], h5py.Dataset):
            f[name].attrs["categories"] = f["bomb"].ref


ATTACKS = {
    "an absurd shape": (absurd_shape, ""),
    "a terabyte never written": (never_written("X", (10**7, 10**5), chunks=(1000, 1000), compression="gzip"), "would unpack to"),
    "one chunk of 2 GB": (never_written("X/data", (30,), chunks=(2**29,), maxshape=(None,)), "chunks of 2 GB"),
    "a billion codes": (never_written("obs/_index", (10**9,), "i8", chunks=(10**6,)), "would unpack to"),
    "a billion texts": (never_written("obs/_index", (10**9,), TEXT, chunks=(10**6,)), "would unpack to"),
    "a chunk that expands": (gzip_that_expands, "packed and 120 bytes unpacked"),
    "gzip in gzip": (gzip_in_gzip, "compressed more than once"),
    "one text in many places": (many_places_for_one_text, "would unpack to"),
    "texts that fill": (filled, "whose size cannot be told"),
    "a cycle": (cycle, "groups in groups without end"),
    "a billion laughs": (laughs, "groups in groups without end"),
    "3,000 groups in groups": (nested, "groups in groups without end"),
    "references": (references, "neither numbers nor texts"),
    "arrays of arrays": (ragged, "neither numbers nor texts"),
    "categories elsewhere": (categories_elsewhere, "refers to categories elsewhere"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_end_in_one_sentence(attack, edited):
    edit, words = ATTACKS[attack]
    path = edited(edit)
    said = bounded(lambda: load(path), seconds=5, megabytes=300)
    assert said.startswith("my.h5ad") and words in said, said


def test_what_does_not_fit_into_memory_names_the_way_out(edited, monkeypatch):
    path = edited(lambda f: None)
    monkeypatch.setattr(h5ad_bounds, "available", lambda: 100)
    with pytest.raises(DataError, match=r"obs and var would take .* of memory, and 100 bytes are free; give --memory"):
        load(path)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("n", [3, 5000])
def test_the_weight_of_texts_is_that_of_their_characters(compression, n, tmp_path):
    words = ["ä" * (i % 7) for i in range(n)]
    with h5py.File(tmp_path / "words.h5", "w") as f:
        f.create_dataset("obs/words", data=words, dtype=TEXT, compression=compression, shuffle=compression is not None)
    with h5py.File(tmp_path / "words.h5") as f:
        assert weight(f, "words", ("obs",)) == sum(len(w.encode()) for w in words) + h5ad_bounds.TEXT * n


def test_the_weight_of_numbers_is_their_size(edited):
    with opened(edited(lambda f: None, dense=True)) as f:
        assert weight(f, "x", ("X",)) == f["X"].size * f["X"].dtype.itemsize


def test_filters_come_from_nowhere_near_the_file(edited):
    """A filter is code: only what libhdf5 has built in and the folders that the user has set are looked into."""
    folders = [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]

    def strange(f):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((30,))
        plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
        del f["X/data"]
        h5py.h5d.create(f["X"].id, b"data", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((30,)), plist)
        f["X/data"][...] = 1

    path = edited(strange)
    data = bytearray(path.read_bytes())
    # The number of the filter, in its message (version 1: number, length of name, flags, one value).
    at = data.find(b"deflate\0")
    assert at > 0
    data[at - 8 : at - 6] = (32_123).to_bytes(2, "little")
    path.write_bytes(data)
    said = bounded(lambda: load(path))
    assert "no readable HDF5 file" in said, said
    assert folders == [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]
    assert not any(str(path.parent) in str(folder) or not str(folder, "utf-8").startswith("/") for folder in folders)


def test_opening_is_quick_with_very_many_chunks(tmp_path, edited):
    """Every chunk is looked at; a hundred thousand take less than a second."""

    def many(f):
        made = swap(f, "X/data", shape=(30,), dtype="f4", chunks=(1,), maxshape=(None,))
        made.resize((100_000,))
        made[...] = 1

    path = edited(many)
    assert bounded(lambda: load(path), seconds=5) != ""
    assert io.BytesIO(path.read_bytes()).read(4) == b"\x89HDF"
