"""A screen whose matrix stays in its file: the same bits as from memory, the same sentences where something is wrong."""

import tracemalloc

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.screen import DatasetCard
from pbench.bench.engine.plan import Request, parse_requests
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.stage import DatasetRequest, StageRequest, make_splits, stage
from pbench.datasets import row_blocks, stored
from pbench.datasets.labels import joined
from pbench.datasets.reader import Layout, from_h5ad, read

FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}


def labels(n, rng):
    names = np.array(["ctrl", "B", "A+B", "A", "C"])
    return np.concatenate([names, names[rng.integers(0, len(names), n - len(names))]])


def written(path, X, *, form="csr", layer=None, seed=0, **columns):
    rng = np.random.default_rng(seed)
    n, g = X.shape
    obs = pd.DataFrame({"perturbation": labels(n, rng), **columns}, index=[f"cell-{i}" for i in rng.permutation(n)])
    var = pd.DataFrame({"symbol": [f"s{i // 2 if i < 4 else i}" for i in range(g)]}, index=[f"g{i}" for i in rng.permutation(g)])
    adata = anndata.AnnData(FORMS[form](X) if layer is None else None, obs=obs, var=var)
    if layer is not None:
        adata.layers[layer] = FORMS[form](X)
    adata.write_h5ad(path)
    return path


def counts(n=90, g=23, kind=np.float32, seed=0):
    return np.random.default_rng(seed).poisson(0.7, (n, g)).astype(kind)


def files_of(load, cache, monkeypatch, *, cells=True, name="screen"):
    """Bytes of all files of both prepared folders, by name."""
    monkeypatch.setenv("PBENCH_CACHE", str(cache))
    made = prepare(_Made(load), data_id=name, cells=cells)
    folders = [made.folder, *([made.cells_folder] if cells else [])]
    return {f"{i}/{p.name}": p.read_bytes() for i, folder in enumerate(folders) for p in sorted(folder.iterdir())}


class _Made:
    """A data set of which only what `prepare` reads is there."""

    card = DatasetCard("screen", "", "", "", "counts", "ctrl")

    def __init__(self, load):
        self.load = load


def both_ways(path, layout, cache, monkeypatch, **options):
    whole = files_of(lambda: read(path, layout, _Made.card), cache / "whole", monkeypatch, **options)

    def streamed():
        screen = read(path, layout, _Made.card, limit=0)
        assert screen.rows is not None and screen.adata.X is None
        return screen

    return whole, files_of(streamed, cache / "streamed", monkeypatch, **options)


def plain(scale="counts", **options):
    return Layout("perturbation", scale, joined("+", control="ctrl"), "ctrl", **options)


LAYOUTS = {
    "plain": lambda: plain(),
    "keep": lambda: plain(keep=lambda obs: obs["batch"].astype(str) != "2", kept_by=("batch",)),
    "keep, columns not said": lambda: plain(keep=lambda obs: obs["batch"].astype(str) != "2"),
    "genes": lambda: plain(genes="symbol"),
    "batch and context": lambda: plain(context="batch", dose="dose", batch="batch"),
    "time": lambda: plain(time="time"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_prepared_file_has_the_same_bytes(tmp_path, monkeypatch, form, layout):
    monkeypatch.setattr(row_blocks, "VALUES", 101)
    n = 90
    rng = np.random.default_rng(3)
    batch = np.where(np.arange(n) < 5, "0", rng.integers(0, 3, n).astype(str))
    dose = np.where(np.arange(n) % 2, 1.5, 0.25)
    contexts = np.array(["0", "1", "2"])
    if layout == "batch and context":
        batch = np.concatenate([contexts, batch[3:]])
    columns = {"batch": batch, "dose": dose, "time": np.arange(n) % 3 * 6.0, "unused": [object.__name__] * n}
    path = written(tmp_path / "a.h5ad", counts(n), form=form, **columns)
    if layout == "batch and context":
        adata = anndata.read_h5ad(path)
        adata.obs["perturbation"] = np.where(np.arange(n) < 3, "ctrl", adata.obs["perturbation"].astype(str))
        adata.write_h5ad(path)
    whole, streamed = both_ways(path, LAYOUTS[layout](), tmp_path, monkeypatch)
    assert set(whole) == set(streamed) and {"0/total.npy", "0/row_hashes.npy", "1/data.npy", "0/checksums.json"} < set(whole)
    assert [name for name in whole if whole[name] != streamed[name]] == []


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, np.float64, np.float16, bool])
@pytest.mark.parametrize("form", FORMS)
def test_any_type_of_number(tmp_path, monkeypatch, form, kind):
    if kind is np.float16 and form != "dense":
        pytest.skip("scipy has no sparse float16")
    monkeypatch.setattr(row_blocks, "VALUES", 64)
    path = written(tmp_path / "a.h5ad", counts(kind=kind), form=form)
    whole, streamed = both_ways(path, plain(), tmp_path, monkeypatch)
    assert whole == streamed


@pytest.mark.parametrize("form", FORMS)
def test_another_total_and_a_layer(tmp_path, monkeypatch, form):
    monkeypatch.setattr(row_blocks, "VALUES", 64)
    X = counts()
    logs = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1832.5)
    path = written(tmp_path / "a.h5ad", logs, form=form, layer="logs")
    whole, streamed = both_ways(path, plain("log1p_1e4", total=1832.5, layer="logs"), tmp_path, monkeypatch)
    assert whole == streamed


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(6, 60),
    g=st.integers(1, 12),
    values=st.integers(1, 200),
    form=st.sampled_from(sorted(FORMS)),
    scale=st.sampled_from(["counts", "raw"]),
    seed=st.integers(0, 2**16),
)
def test_blocks_of_any_size(tmp_path_factory, monkeypatch, n, g, values, form, scale, seed):
    folder = tmp_path_factory.mktemp("blocks")
    X = counts(n, g, seed=seed)
    X[0, 0] = 2
    X *= np.random.default_rng(seed).random((n, 1)) < 0.7
    X[0, 0] = 2
    path = written(folder / "a.h5ad", X if scale == "counts" else X - 0.5, form=form, seed=seed)
    with monkeypatch.context() as patch:
        patch.setattr(row_blocks, "VALUES", values)
        whole, streamed = both_ways(path, plain(scale), folder, patch)
    assert whole == streamed


def test_rows_that_are_stored_out_of_order_stay_so(tmp_path, monkeypatch):
    """Explicit zeros, unsorted columns: what the file stores is what is kept."""
    monkeypatch.setattr(row_blocks, "VALUES", 30)
    path = written(tmp_path / "a.h5ad", counts())
    with h5py.File(path, "r+") as f:
        indptr = f["X/indptr"][:]
        for name in ("data", "indices"):
            values = f[f"X/{name}"][:]
            for a, b in zip(indptr[:-1], indptr[1:], strict=True):
                values[a:b] = values[a:b][::-1]
            f[f"X/{name}"][:] = values
        f["X/data"][::7] = 0
    whole, streamed = both_ways(path, plain(), tmp_path, monkeypatch)
    assert whole == streamed


def test_pseudobulk_reads_the_matrix_once_and_writes_no_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "VALUES", 50)
    path = written(tmp_path / "a.h5ad", counts())
    read_rows = []
    blocks = row_blocks.RowBlocks.blocks

    def counted(self, *where):
        for rows, block in blocks(self, *where):
            read_rows.extend(range(rows.start, rows.stop))
            yield rows, block

    monkeypatch.setattr(row_blocks.RowBlocks, "blocks", counted)
    for cells in (False, True):
        read_rows.clear()
        files_of(lambda: read(path, plain(), _Made.card, limit=0), tmp_path / f"cache-{cells}", monkeypatch, cells=cells)
        assert read_rows == list(range(90))
        assert bool(list((tmp_path / f"cache-{cells}").glob("screens/*-cells"))) == cells
        assert not list((tmp_path / f"cache-{cells}").glob("screens/*.partial"))


def spoilt(kind):
    X = counts()
    scale = "log1p_1e4" if kind in ("counts as logs", "large logs") else "counts"
    if kind == "NaN":
        X[70, 3] = np.nan
    elif kind == "infinite":
        X = X.astype(np.float64)
        X[70, 3] = 1e300
    elif kind == "negative":
        X[2, 3] = -3
    elif kind == "fractions":
        X[70, 3] = 0.5
    elif kind == "zeros":
        X[:] = 0
    elif kind == "large logs":
        X = X * 0.5
        X[2, 3] = 11.5
    return X, scale


@pytest.mark.parametrize("kind", ["NaN", "infinite", "negative", "fractions", "zeros", "counts as logs", "large logs"])
@pytest.mark.parametrize("form", FORMS)
def test_values_are_refused_in_the_same_words(tmp_path, monkeypatch, form, kind):
    monkeypatch.setattr(row_blocks, "VALUES", 200)
    X, scale = spoilt(kind)
    path = written(tmp_path / "screen.h5ad", X, form=form)
    with pytest.raises(DataError) as whole:
        read(path, plain(scale), _Made.card)
    with pytest.raises(DataError) as streamed:
        files_of(lambda: read(path, plain(scale), _Made.card, limit=0), tmp_path / "cache", monkeypatch)
    assert str(streamed.value) == str(whole.value)
    assert not list((tmp_path / "cache" / "screens").glob("*")), "nothing of refused data stays"


@pytest.mark.parametrize("kind", ["column", "control", "gaps", "layer", "twice", "no X", "object"])
def test_labels_are_refused_in_the_same_words(tmp_path, kind):
    path = written(tmp_path / "screen.h5ad", counts())
    adata = anndata.read_h5ad(path)
    layout = plain()
    if kind == "column":
        layout = Layout("perturbaton", "counts", joined("+", control="ctrl"), "ctrl")
    elif kind == "control":
        layout = Layout("perturbation", "counts", joined("+", control="none"), "none")
    elif kind == "gaps":
        adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).where(np.arange(90) != 5)
    elif kind == "layer":
        layout = plain(layer="umi")
    elif kind == "twice":
        adata.obs_names = ["cell-0", *adata.obs_names[1:-1], "cell-0"]
    elif kind == "no X":
        adata.X = None
    elif kind == "object":
        with h5py.File(path, "r+") as f:
            del f["X"]
            f["X"] = np.full((90, 23), "1", dtype=object)
    if kind not in ("layer", "object", "column", "control"):
        adata.write_h5ad(path)
    with pytest.raises(DataError) as whole:
        read(path, layout, _Made.card)
    with pytest.raises(DataError) as streamed:
        read(path, layout, _Made.card, limit=0)
    assert str(whole.value) == str(streamed.value)


@pytest.mark.parametrize("part", ["indices", "indptr", "shape", "short", "truncated"])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_damage_is_found(tmp_path, monkeypatch, form, part):
    path = written(tmp_path / "screen.h5ad", counts(), form=form)
    with h5py.File(path, "r+") as f:
        if part == "indices":
            f["X/indices"][40] = 10_000
        elif part == "indptr":
            f["X/indptr"][5] = 10_000
        elif part == "shape":
            f["X"].attrs["shape"] = (90, 24) if form == "csr" else (91, 23)
        elif part == "short":
            short = f["X/data"][:-3]
            del f["X/data"]
            f["X/data"] = short
    if part == "truncated":
        with open(path, "r+b") as f:
            f.truncate(path.stat().st_size // 2)
    with pytest.raises(DataError, match="damaged"):
        read(path, plain(), _Made.card)
    with pytest.raises(DataError, match="damaged"):
        files_of(lambda: read(path, plain(), _Made.card, limit=0), tmp_path / "cache", monkeypatch)


def test_small_matrices_are_read_whole(tmp_path):
    path = written(tmp_path / "a.h5ad", counts())
    dataset = from_h5ad(path, scale="counts", control_label="ctrl")
    size = 8 * np.count_nonzero(counts()) + 4 * 91
    assert dataset.open(size).rows is None and dataset.open(size - 1).rows is not None


def test_only_the_columns_that_are_needed_are_read(tmp_path, monkeypatch):
    path = written(tmp_path / "a.h5ad", counts(), other=["x"] * 90)
    with h5py.File(path, "r+") as f:
        # Nobody can read this column.
        f["obs/other"].attrs["encoding-type"] = "from the future"
        f["obs/other"].attrs["encoding-version"] = "9"
    assert read(path, plain(), _Made.card, limit=0).adata.n_obs == 90


def test_a_damaged_cache_is_put_aside_and_made_again(tmp_path, monkeypatch):
    path = written(tmp_path / "a.h5ad", counts())
    cache = tmp_path / "cache"
    first = files_of(lambda: read(path, plain(), _Made.card, limit=0), cache, monkeypatch)
    for name in ("total.npy", "data.npy"):
        (victim,) = cache.glob(f"screens/*/{name}")
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
    assert files_of(lambda: read(path, plain(), _Made.card, limit=0), cache, monkeypatch) == first
    assert len([p for p in (cache / "quarantine").iterdir() if p.is_dir()]) == 2


@pytest.mark.parametrize("split", ["unseen-single[folds=2,min_cells=5]", "iid"])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_splits_audits_and_sums_are_the_same(tmp_path, monkeypatch, form, split):
    """All that jobs are given of a data set, with a bound that its matrix does not fit into."""
    monkeypatch.setattr(row_blocks, "VALUES", 500)
    X = counts(900)
    X[7] = X[3]
    path = written(tmp_path / "a.h5ad", X, form=form)
    request = DatasetRequest("a", str(path), {"scale": "counts", "control_label": "ctrl"})
    (wanted,) = parse_requests(split, list(registry.splits), kind="split")
    opened, staged = [], []
    blocks = stored.FileRows.blocks
    monkeypatch.setattr(stored.FileRows, "blocks", lambda *given: opened.append(len(staged)) or blocks(*given))
    for memory in (None, 0.01):
        monkeypatch.setenv("PBENCH_CACHE", str(tmp_path / str(memory)))
        staged.append(stage(StageRequest(request, "x", [wanted], True, memory_mb=memory)))
    # A split by cells needs sums of its own, and so a second pass.
    assert opened == [1] * (2 if split == "iid" else 1)
    whole, streamed = staged
    assert [s.audit for s in whole.splits] == [s.audit for s in streamed.splits]
    for one, other in zip(whole.splits, streamed.splits, strict=True):
        assert one.manifest.read_bytes() == other.manifest.read_bytes()
        if split == "iid":
            first, second = np.load(one.cell_sums), np.load(other.cell_sums)
            assert all(first[name].tobytes() == second[name].tobytes() for name in ("total", "squares", "n"))


def test_a_split_that_reads_the_matrix_says_so(tmp_path, monkeypatch):
    path = written(tmp_path / "a.h5ad", counts())

    def greedy(screen, *, data_id):
        return screen.adata.X.sum()

    monkeypatch.setattr(registry.splits, "get", lambda name: greedy)
    with pytest.raises(UsageError, match="cannot be made of a matrix that stays in its file.*--memory"):
        make_splits(Request("greedy"), read(path, plain(), _Made.card, limit=0), "x")


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_matrix(tmp_path, monkeypatch, form):
    """Four times the cells: labels, and what numpy takes for a moment, are less than a tenth of what the matrix has grown by."""
    monkeypatch.setattr(row_blocks, "VALUES", 50_000)
    peaks = []
    for n in (1000, 1000, 4000):
        path = written(tmp_path / f"{n}.h5ad", counts(n, 1000) + 1, form=form)
        monkeypatch.setenv("PBENCH_CACHE", str(tmp_path / str(len(peaks))))
        tracemalloc.start()
        prepare(_Made(lambda path=path: read(path, plain(), _Made.card, limit=0)), data_id="x", cells=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 0.1 * 3000 * 1000 * (4 if form == "dense" else 8)
