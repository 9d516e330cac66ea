"""Screens in zarr stores: the same as from .h5ad, and one sentence for each thing a stranger may have put there."""

import json
import os
import shutil
import tracemalloc
import warnings
import zlib
from pathlib import Path

import anndata
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.cli.options import dataset_requests
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.engine.prepare import prepare
from pbench.datasets import row_blocks
from pbench.datasets.reader import from_h5ad
from pbench.datasets.zarr_store import store_id

N, G = 60, 11
FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}


def screen(form="csr"):
    rng = np.random.default_rng(0)
    names = np.array(["control", "A", "B", "A+B"])
    obs = pd.DataFrame(
        {"perturbation": names[np.arange(N) % 4], "line": pd.Categorical(["K562"] * N), "dose": np.arange(N) % 3 + 0.5},
        index=[f"cell-{i}" for i in rng.permutation(N)],
    )
    X = rng.poisson(0.9, (N, G)).astype(np.float32)
    adata = anndata.AnnData(FORMS[form](X), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(G)]))
    adata.layers["umi"] = FORMS[form](X + 1)
    return adata


def write(adata, path, version=2, chunks=None):
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        adata.write_zarr(path, chunks=chunks)
    return path


def unconsolidated(path):
    (path / ".zmetadata").unlink(missing_ok=True)
    if (path / "zarr.json").exists():
        held = json.loads((path / "zarr.json").read_text())
        held.pop("consolidated_metadata", None)
        (path / "zarr.json").write_text(json.dumps(held))
    return path


def prepared(path, cache, monkeypatch, *, limit=None, **options):
    """Bytes of all prepared files; those of sums and of cells."""
    monkeypatch.setenv("PBENCH_CACHE", str(cache))
    dataset = from_h5ad(path, scale="counts", name="screen", **options)
    load = dataset.load if limit is None else lambda: dataset.open(limit)
    ready = prepare(dataset, data_id="x", cells=True, loaded=load)
    kept = [p for folder in (ready.folder, ready.cells_folder) for p in sorted(folder.iterdir())]
    return {p.name: p.read_bytes() for p in kept if p.name not in ("checksums.json", "screen.json")}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("consolidated", [True, False])
def test_a_store_is_read_as_the_file_is(tmp_path, monkeypatch, form, version, consolidated):
    monkeypatch.setattr(row_blocks, "VALUES", 70)
    adata = screen(form)
    adata.write_h5ad(tmp_path / "a.h5ad")
    path = write(adata, tmp_path / "a.zarr", version)
    if not consolidated:
        unconsolidated(path)
    options = {"context_key": "line", "dose_key": "dose"}
    expected = prepared(tmp_path / "a.h5ad", tmp_path / "1", monkeypatch, **options)
    assert prepared(path, tmp_path / "2", monkeypatch, **options) == expected
    assert prepared(path, tmp_path / "3", monkeypatch, limit=0, **options) == expected
    layers = [prepared(p, tmp_path / f"layer-{p.name}", monkeypatch, layer="umi") for p in (tmp_path / "a.h5ad", path)]
    assert layers[0] == layers[1] != expected


@pytest.mark.parametrize("compressor", ["gzip", "zstd", "blosc", "none", "sharded"])
def test_common_compressions_of_format_3(tmp_path, monkeypatch, compressor):
    path = write(screen("dense"), tmp_path / "a.zarr", 3)
    values = screen("dense").X
    codecs = {"gzip": zarr.codecs.GzipCodec(), "zstd": zarr.codecs.ZstdCodec(checksum=True), "blosc": zarr.codecs.BloscCodec()}
    shutil.rmtree(path / "X")
    array = zarr.create_array(
        path / "X",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(7, 4),
        shards=(14, 12) if compressor == "sharded" else None,
        compressors=codecs.get(compressor, "auto" if compressor == "sharded" else None),
        zarr_format=3,
        attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
    )
    array[:] = values
    monkeypatch.setattr(row_blocks, "VALUES", 60)
    np.testing.assert_array_equal(from_h5ad(path, scale="counts").load().adata.X, values)
    blocks = list(from_h5ad(path, scale="counts").open(0).rows.blocks(13))
    assert blocks[0][0] == 13
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), values[13:])


@pytest.mark.parametrize("compressor", [numcodecs.GZip(), numcodecs.Zlib(), numcodecs.LZ4(), numcodecs.Zstd(), None])
def test_common_compressions_of_format_2(tmp_path, compressor):
    path = write(screen("dense"), tmp_path / "a.zarr", 2)
    values = screen("dense").X
    shutil.rmtree(path / "X")
    attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
    array = zarr.create_array(
        path / "X",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(7, 4),
        compressors=compressor,
        zarr_format=2,
        attributes=attributes,
    )
    array[:] = values
    np.testing.assert_array_equal(from_h5ad(path, scale="counts").load().adata.X, values)


def test_chunks_of_zeros_may_be_left_out(tmp_path):
    adata = screen("dense")
    adata.X[:20] = 0
    path = write(adata, tmp_path / "a.zarr", 2, chunks=(10, G))
    assert not (path / "X" / "0.0").exists() or not any((path / "X" / "0.0").read_bytes()[16:])
    for chunk in ("0.0", "1.0"):
        (path / "X" / chunk).unlink(missing_ok=True)
    np.testing.assert_array_equal(from_h5ad(path, scale="counts").load().adata.X, adata.X)


def test_the_identity_is_that_of_all_bytes(tmp_path):
    path = write(screen(), tmp_path / "a.zarr")
    shutil.copytree(path, tmp_path / "b.zarr")
    data_id = from_h5ad(path, scale="counts").data_id()
    assert from_h5ad(tmp_path / "b.zarr", scale="counts").data_id() == data_id
    assert from_h5ad(path, scale="raw").data_id() != data_id
    (tmp_path / "b.zarr" / "X" / "data" / "0").rename(tmp_path / "b.zarr" / "X" / "data" / "1")
    moved = store_id(tmp_path / "b.zarr")
    assert moved != store_id(path)
    with open(tmp_path / "b.zarr" / "X" / "data" / "1", "ab") as f:
        f.write(b"x")
    assert store_id(tmp_path / "b.zarr") not in (moved, store_id(path))


def edit(path, **changes):
    held = json.loads(path.read_text())
    for key, value in changes.items():
        held[key] = value
    path.write_text(json.dumps(held))


class Hostile:
    """Ways to spoil a store of format 2, each with what is said of it."""

    @staticmethod
    def pickled(path):
        edit(path / "obs" / "perturbation" / "categories" / ".zarray", filters=[{"id": "pickle"}])
        return "nothing but plain numbers and texts"

    @staticmethod
    def objects(path):
        edit(path / "X" / "data" / ".zarray", dtype="|O")
        return "nothing but plain numbers and texts"

    @staticmethod
    def structured(path):
        edit(path / "X" / "data" / ".zarray", dtype=[["a", "<f4"]])
        return "nothing but plain numbers and texts"

    @staticmethod
    def unknown_codec(path):
        edit(path / "X" / "data" / ".zarray", compressor={"id": "from-a-stranger"})
        return "from-a-stranger"

    @staticmethod
    def absurd_rows(path):
        edit(path / "obs" / "_index" / ".zarray", shape=[2**50])
        return "chunks|unpack"

    @staticmethod
    def absurd_codes(path):
        edit(path / "obs" / "line" / "codes" / ".zarray", shape=[2**50])
        return "unpack"

    @staticmethod
    def absurd_values(path):
        edit(path / "X" / "data" / ".zarray", shape=[2**50], chunks=[2**20])
        return "incomplete"

    @staticmethod
    def absurd_chunks(path):
        edit(path / "X" / "data" / ".zarray", chunks=[2**40])
        return "stored in chunks of"

    @staticmethod
    def no_chunks(path):
        edit(path / "X" / "data" / ".zarray", chunks=[0])
        return "damaged metadata"

    @staticmethod
    def negative(path):
        edit(path / "X" / "data" / ".zarray", shape=[-3])
        return "damaged metadata"

    @staticmethod
    def no_json(path):
        (path / "X" / "data" / ".zarray").write_text('{"shape": [')
        return "damaged metadata"

    @staticmethod
    def nested_json(path):
        (path / "X" / "data" / ".zarray").write_text("[" * 100_000)
        return "damaged metadata"

    @staticmethod
    def missing_chunk(path):
        (path / "X" / "indices" / "0").unlink()
        return "0 of 1 chunks"

    @staticmethod
    def missing_names(path):
        (path / "obs" / "_index" / "0").unlink()
        return "0 of 1 chunks"

    @staticmethod
    def no_metadata(path):
        (path / "X" / "data" / ".zarray").unlink()
        return "no metadata|no part"

    @staticmethod
    def no_obs(path):
        shutil.rmtree(path / "obs")
        return "it has no 'obs'"

    @staticmethod
    def cut_chunk(path):
        chunk = path / "X" / "data" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-5])
        return "damaged"

    @staticmethod
    def empty_chunk(path):
        (path / "X" / "data" / "0").write_bytes(b"")
        return "damaged"

    @staticmethod
    def linked_file(path):
        chunk = path / "X" / "data" / "0"
        shutil.move(chunk, path.parent / "elsewhere")
        chunk.symlink_to(path.parent / "elsewhere")
        return "link"

    @staticmethod
    def linked_folder(path):
        shutil.move(path / "X", path.parent / "elsewhere")
        (path / "X").symlink_to(path.parent / "elsewhere")
        return "link"

    @staticmethod
    def linked_column(path):
        shutil.move(path / "obs" / "line", path.parent / "elsewhere")
        (path / "obs" / "line").symlink_to(path.parent / "elsewhere")
        return "link"

    @staticmethod
    def endless_groups(path):
        folder = path / "obs"
        for _ in range(20):
            folder = folder / "deeper"
            folder.mkdir()
            (folder / ".zgroup").write_text('{"zarr_format": 2}')
        return "no part of a zarr store"

    @staticmethod
    def pipe(path):
        os.mkfifo(path / "X" / "data" / "pipe")
        return "neither a file nor a folder"

    @staticmethod
    def two_formats(path):
        (path / "X" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        return "no part of a zarr store of format 2"

    @staticmethod
    def bomb(path):
        edit(path / "X" / "data" / ".zarray", compressor={"id": "zlib", "level": 9})
        (path / "X" / "data" / "0").write_bytes(zlib.compress(bytes(2**28), 9))
        return "would unpack"

    @staticmethod
    def zstd_bomb(path):
        edit(path / "X" / "data" / ".zarray", compressor={"id": "zstd", "level": 9})
        (path / "X" / "data" / "0").write_bytes(numcodecs.Zstd(9).encode(bytes(2**28)))
        return "would unpack"

    @staticmethod
    def many_texts(path):
        edit(path / "obs" / "_index" / ".zarray", compressor=None)
        (path / "obs" / "_index" / "0").write_bytes((2**32 - 1).to_bytes(4, "little") + bytes(100))
        return "another number of texts"

    @staticmethod
    def index_out_of_bounds(path):
        edit(path / "X" / "indices" / ".zarray", compressor=None)
        n = json.loads((path / "X" / "indices" / ".zarray").read_text())["chunks"][0]
        (path / "X" / "indices" / "0").write_bytes(np.full(n, 2**30, "<i4").tobytes())
        return "damaged sparse matrix"


@pytest.mark.parametrize("way", [n for n in vars(Hostile) if not n.startswith("_")])
def test_what_a_stranger_may_have_put_there(tmp_path, way):
    path = write(screen(), tmp_path / "a.zarr", 2)
    expected = getattr(Hostile, way)(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=expected) as refused:
            dataset = from_h5ad(path, scale="counts")
            dataset.load()
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert str(refused.value).startswith("a.zarr") and len(str(refused.value)) < 600


@settings(max_examples=20, deadline=None)
@given(data=st.data(), version=st.sampled_from([2, 3]))
def test_any_byte_may_be_wrong(tmp_path_factory, data, version):
    """Whatever byte of whatever file is changed: a screen, or one sentence."""
    path = write(screen(), tmp_path_factory.mktemp("fuzz") / "a.zarr", version)
    files = sorted(p for part in ("X", "obs", "var") for p in (path / part).rglob("*") if p.is_file())
    victim = data.draw(st.sampled_from(files))
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from_h5ad(path, scale="raw").load()
        except DataError as refused:
            assert len(str(refused)) < 1000


def test_a_bomb_in_a_shard(tmp_path):
    path = write(screen("dense"), tmp_path / "a.zarr", 3)
    values = screen("dense").X
    shutil.rmtree(path / "X")
    attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
    array = zarr.create_array(
        path / "X", shape=values.shape, dtype="f4", chunks=(10, G), shards=(60, G), attributes=attributes, zarr_format=3
    )
    array[:] = values
    (shard,) = (p for p in (path / "X" / "c").rglob("*") if p.is_file())
    bomb = numcodecs.Zstd(9).encode(bytes(2**28))
    index = np.full((6, 2), 2**64 - 1, "<u8")
    index[0] = 0, len(bomb)
    import google_crc32c

    packed = index.tobytes()
    shard.write_bytes(bomb + packed + google_crc32c.value(packed).to_bytes(4, "little"))
    with pytest.raises(DataError, match="would unpack"):
        from_h5ad(path, scale="counts").load()
    with pytest.raises(DataError, match="would unpack"):
        list(from_h5ad(path, scale="counts").open(0).rows.source.opened().__enter__()["X"][2:4])


@pytest.mark.parametrize("codec", ["numcodecs.pickle", "numcodecs.zfpy", "my-own"])
def test_codecs_of_format_3(tmp_path, codec):
    path = write(screen(), tmp_path / "a.zarr", 3)
    metadata = path / "X" / "data" / "zarr.json"
    edit(metadata, codecs=[{"name": codec, "configuration": {}}])
    with pytest.raises(DataError, match="nothing but plain numbers"):
        from_h5ad(path, scale="counts").load()


def test_what_consolidated_metadata_say_is_not_believed(tmp_path):
    """The metadata that were looked at are those that count."""
    path = write(screen(), tmp_path / "a.zarr", 2)
    held = json.loads((path / ".zmetadata").read_text())
    held["metadata"]["X/data/.zarray"]["chunks"] = [2**40]
    (path / ".zmetadata").write_text(json.dumps(held))
    np.testing.assert_array_equal(from_h5ad(path, scale="counts").load().adata.X.toarray(), screen().X.toarray())


def test_links_are_no_part_of_an_identity(tmp_path):
    path = write(screen(), tmp_path / "a.zarr", 2)
    (path / "uns" / "more").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="is a link, which is never followed"):
        from_h5ad(path, scale="counts").data_id()


def test_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder is no zarr store"):
        from_h5ad(Path(tmp_path / "folder"), scale="counts").load()


def test_the_command_line_takes_stores(tmp_path):
    path = write(screen(), tmp_path / "my,screen.zarr", 3)
    (request,) = dataset_requests(str(path), {"scale": "counts"})
    assert (request.name, Path(request.path)) == ("my,screen", path) and request.dataset().load().adata.n_obs == N
    with pytest.raises(UsageError, match="say what X holds with --scale"):
        dataset_requests(str(path), {})
    with pytest.raises(DataError, match="a folder and no zarr store; give the .h5ad or .zarr in it"):
        dataset_requests(f"{tmp_path}/", {"scale": "counts"})
    with pytest.raises(DataError, match="there is no such file"):
        dataset_requests("absent.zarr", {"scale": "counts"})
