"""Archives and tables of strangers that unpack to far more than they hold: one sentence, in bounded time and memory."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bounded import bounded

from pbench.bench.engine.submission_files import open_predictions
from pbench.bench.engine.submission_layouts import Reading
from pbench.datasets.feature_table import read_feature_table


def npz(path, **claims):
    """An archive whose arrays of one byte each say that they have the shapes of `claims`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in claims.items():
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", head.getvalue() + b"\0")


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("mean.npy", "w", force_zip64=True) as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": (2**28,)})
        for _ in range(1024):
            f.write(bytes(2**20))


def parquet_of_one_text(path):
    """A text of 1 MB in 100,000 rows: a dictionary of one, and 100,000 places in it."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"perturbation": words, "A": np.zeros(100_000)}), path)


def parquet_of_zeros(path):
    rows = np.zeros(20_000_000, np.int64)
    pq.write_table(pa.table({"perturbation": pa.nulls(len(rows), pa.string()), "A": rows}), path, compression="zstd")


def parquet_of_lists(path):
    pq.write_table(pa.table({"perturbation": ["A"], "A": [[[1.0]]]}), path)


def endless_header(path):
    path.write_bytes(b"a," * 2_000_000)


def vcc_bomb(path):
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as out:
        for _ in range(300):
            out.write(bytes(2**20))
    data = packed.getvalue().to_pybytes()
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("pred.h5ad.zst")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def compressed_vcc(path):
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 2**27
        tar.addfile(member, io.BytesIO(bytes(member.size)))


ATTACKS = {
    "claims.npz": (lambda p: npz(p, mean=(10**6, 10**6), genes=(1,), facts=()), "the file holds less"),
    "overflow.npz": (lambda p: npz(p, mean=(2**62, 2**62, 4)), "the file holds less"),
    "bomb.npz": (zip_bomb, "more than is read"),
    "text.parquet": (parquet_of_one_text, "longer than"),
    "zeros.parquet": (parquet_of_zeros, "20000000 rows"),
    "lists.parquet": (parquet_of_lists, "neither numbers nor texts"),
    "header.csv": (endless_header, "500,000 columns"),
    "bomb.vcc": (vcc_bomb, "unpacks to more"),
    "gz.vcc": (compressed_vcc, "no readable .vcc archive"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_predictions(name, tmp_path):
    write, words = ATTACKS[name]
    write(tmp_path / name)

    def read():
        reading = Reading(scale=None if name.endswith(".npz") else "log1p_1e4")
        with open_predictions(tmp_path / name, reading, tmp_path / "scratch") as found:
            list(found.rows)

    assert words in bounded(read, seconds=8, megabytes=400)
    assert not any((tmp_path / "scratch").glob("*"))


@pytest.mark.parametrize("name", [n for n in ATTACKS if not n.endswith(".vcc")])
def test_feature_tables(name, tmp_path):
    write, words = ATTACKS[name]
    write(tmp_path / name)
    said = bounded(lambda: read_feature_table(tmp_path / name), seconds=8, megabytes=400)
    assert words.replace("20000000 rows", "unpacks to 153 MB") in said, said
