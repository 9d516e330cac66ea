"""Cells that stay on disk give the numbers of cells in memory, model by model, and what does not fit says so before it is read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pbench.bench.cli.progress import Silent
from pbench.bench.cli.requests import model_requests
from pbench.bench.contracts import registry, stored_rows
from pbench.bench.contracts.cell_truth import embed
from pbench.bench.contracts.stored_rows import StoredRows, TooLarge
from pbench.bench.engine import assemble, cell_truth
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.execute import execute_here
from pbench.bench.engine.plan import PlannedModel, Request
from pbench.bench.engine.prepare import PreparedScreen, prepare
from pbench.bench.engine.run import Matrix, run_matrix
from pbench.bench.engine.sealed import read_arrays
from pbench.bench.engine.stage import DatasetRequest
from pbench.bench.engine.store import Store

#: What predicts, in few steps: the paths to the cells are the same in one as in many.
PREDICTORS = (
    "cpa[epochs=1,pretraining=1,warm_up=1]",
    "decoder-only[epochs=1]",
    "discrepancy-vae[epochs=1]",
    "gears-coexpression[epochs=1]",
    "gears-coexpression[epochs=1,batch_size=64]",
    "latent-additive[epochs=1]",
    "linear-additive[epochs=1]",
    "perturbed-vae[epochs=1]",
    "sams-vae[epochs=1,likelihood=counts]",
    "scgen[epochs=1]",
    "svae-plus[epochs=1]",
    "cite-vae[epochs=1]",
    "no-change",
    "shifted-controls",
    "train-mean-cells",
    "gaming-inflated-variance",
    "oracle-sampler",
    "technical-duplicate",
    "shuffled",
)
ENCODERS = (
    "beta-vae[epochs=1]",
    "cite-vae[epochs=1]",
    "ica",
    "ivae[epochs=1]",
    "label-code",
    "noise-code",
    "oracle-code",
    "pca",
    "rotated-code",
    "tdrl[epochs=1]",
    "untrained-code",
)
#: They read cells through a package that is not installed here.
OFFICIAL = {"biolord-official", "cpa-official", "gears-official", "scgen-official"}
#: They read cells as another one here does: gears, which needs an ontology, as on the other graph.
SAME = {"gears", "cpa-no-adversary"}


METRICS = ("l2@all", "energy@all#pca", "de_overlap.k50@all~ctrl#cells", "de_f1@all~ctrl#cells", "frac_in_range@de20")


@pytest.fixture(scope="module")
def both(make_screen, tmp_path_factory):
    """Results of the same jobs with cells in memory and with all of them on disk, read a few values at a time."""
    screen = make_screen(contexts=("x", "y"), n_cells=13, n_control=30, n_genes=30)
    file = tmp_path_factory.mktemp("data") / "toy.h5ad"
    rng = np.random.default_rng(0)
    # Neither genes nor barcodes lie in their order on disk.
    screen.adata[rng.permutation(screen.adata.n_obs)][:, rng.permutation(screen.adata.n_vars)].copy().write_h5ad(file)
    toy = DatasetRequest("toy", str(file), {"scale": "counts", "context_key": "context"})
    moving = DatasetRequest("latent-temporal", None, {"units_per_perturbation": 12, "n_times": 3})

    def run(name):
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PBENCH_CACHE", str(folder / "cache"))
            if name == "stored":
                patch.setattr(assemble, "IN_MEMORY", -1.0)
                patch.setattr(stored_rows, "VALUES", 500)
                patch.setattr(cell_truth, "BUFFER", 4000)
            for data, split, models, metrics in (
                (toy, "doubles", PREDICTORS, METRICS),
                (moving, "units", ENCODERS, ("mcc.pearson",)),
            ):
                requests = model_requests(",".join(models), "prediction" if data is toy else "identifiability")
                matrix = Matrix(requests, [data], [Request(split)], (0,), metrics, folder / "out", preset="quick")
                run_matrix(matrix, Silent(), execute=execute_here)
        return folder

    return run("memory"), run("stored")


def said_by(folder, model):
    """Rows, predictions and codes of the jobs of a model."""
    store = Store(folder / "out")
    cards = [c for c in store.cards() if c["model"] == model]
    rows = store.rows(cards).sort_values(["metric", "condition"]).reset_index(drop=True)
    kept = {}
    for card in cards:
        for kind in ("predictions", "encodings"):
            path = folder / "out" / kind / f"{card['job_id'][:32]}.npz"
            if path.exists():
                kept[kind] = {k: v for k, v in read_arrays(path).items() if k != "facts"}
    return rows, kept


@pytest.mark.parametrize("asked", dict.fromkeys((*PREDICTORS, *ENCODERS)))
def test_results_are_the_same_to_the_last_bit_wherever_cells_lie(asked, both):
    label = PlannedModel.from_request(model_requests(asked)[0], preset="quick").label
    (rows, kept), (rows_stored, stored) = (said_by(folder, label) for folder in both)
    assert len(rows) and rows["value"].notna().any()
    pd.testing.assert_frame_equal(rows, rows_stored, check_exact=True)
    assert kept and kept.keys() == stored.keys()
    for kind, arrays in kept.items():
        assert arrays.keys() == stored[kind].keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, stored[kind][name])


def test_what_cells_say_of_the_truth_is_the_same_wherever_they_lie(both):
    one, other = (sorted((f / "cache").glob("screens/*/splits/*.cells-*/*.npy")) for f in both)
    assert [p.name for p in one] == [p.name for p in other] and len(one) > 10
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_every_model_that_reads_cells_is_compared():
    named = {str(r).partition("[")[0] for r in model_requests(",".join((*PREDICTORS, *ENCODERS)))}
    reading = {n for n in registry.models.names() if registry.models.get(n).capabilities.needs_cells}
    assert reading - OFFICIAL - SAME <= named


def assert_same_matrix(found, expected):
    assert sparse.issparse(found) and found.dtype == np.float32
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.fixture
def prepared(make_screen, make_dataset, fresh_cache):
    screen = make_screen(contexts=("x",))
    return screen, prepare(make_dataset(screen, "toy"), data_id="toy", cells=True)


def assembly_of(screen, prepared, **options):
    manifest = registry.splits.get("doubles")(screen, data_id="toy")[0]
    return Assembly(prepared, manifest, **options)


def test_training_cells_stay_on_disk_where_they_take_too_much_of_the_bound(prepared):
    screen, ready = prepared
    roomy = assembly_of(screen, ready, memory_bytes=2**30).training({}, cells=True)
    tight = assembly_of(screen, ready, memory_bytes=50_000).training({}, cells=True)
    without = assembly_of(screen, ready).training({}, cells=True)
    assert sparse.issparse(roomy.cells.X) and sparse.issparse(without.cells.X)
    assert isinstance(tight.cells.X, StoredRows)
    np.testing.assert_array_equal(roomy.cells.codes, tight.cells.codes)
    some = np.array([5, 200, 6])
    assert_same_matrix(tight.cells.X[some], roomy.cells.X[some])
    with pytest.raises(TooLarge, match="--memory 0.0477MB"):
        tight.cells.X.tocsr()


def test_a_model_that_needs_all_cells_fails_with_what_to_do(prepared, monkeypatch):
    from pbench.models.encoders import encoder
    from pbench.models.official.exchange import write_cells

    monkeypatch.setattr(encoder, "BLOCK", 10)

    screen, ready = prepared
    data = assembly_of(screen, ready, memory_bytes=50_000).training({}, cells=True)
    parts = [("train", data.cells, data.cells.conditions)]
    with pytest.raises(TooLarge, match="this needs 324 cells in memory at once"):
        write_cells(ready.folder / "never.h5ad", data.genes, parts, log1p=True)
    wide = registry.models.get("beta-vae")(epochs=1)
    with pytest.raises(TooLarge, match="this needs features of 324 cells"):
        wide.fit(assembly_of(screen, ready, memory_bytes=50_000).training({}, cells=True), seed=0)


def test_jobs_of_means_read_nothing_that_has_a_value_for_each_cell(prepared):
    screen, ready = prepared
    expected = assembly_of(screen, ready).truth()
    for name in ("codes", "barcodes", "by_barcode", "halves"):
        (ready.folder / f"{name}.npy").unlink()
    assembly = assembly_of(screen, PreparedScreen(ready.folder))
    truth, data = assembly.truth(), assembly.training({}, cells=False)
    model = registry.models.get("train-mean")().fit(data, seed=0)
    assert len(model.predict(truth.conditions, truth.controls).conditions) == 4
    np.testing.assert_array_equal(truth.profiles.mean, expected.profiles.mean)


def test_tests_of_genes_read_the_cells_in_as_many_passes_as_the_bound_makes(prepared, tmp_path, monkeypatch):
    screen, ready = prepared
    passes = []
    before = StoredRows.__getitem__

    def counted(self, key):
        if isinstance(key, slice) and not key.start:
            passes.append(self.shape)
        return before(self, key)

    monkeypatch.setattr(StoredRows, "__getitem__", counted)
    for bound, least in ((2**30, 1), (60_000, 3)):
        passes.clear()
        assembly_of(screen, ready, memory_bytes=bound).write_cell_truth(tmp_path / str(bound))
        read = [s for s in passes if s[0] == 60 + 4 * 24]
        assert len(read) == 1 if least == 1 else len(read) >= least
    one, other = (sorted((tmp_path / str(b)).glob("*.npy")) for b in (2**30, 60_000))
    assert len(one) > 10
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_control_cells_of_the_truth_stay_on_disk_too(prepared, tmp_path):
    screen, ready = prepared
    assembly_of(screen, ready).write_cell_truth(tmp_path / "truth")
    small, large = (assembly_of(screen, ready, memory_bytes=b).truth(tmp_path / "truth").cells for b in (60_000, 2**30))
    assert isinstance(small.load_controls(0), StoredRows)
    assert_same_matrix(small.load_controls(0)[:30], large.load_controls(0)[:30])
    assert_same_matrix(small.load(0), large.load(0))
    mean, axes = large.pca_mean, large.pca_components
    one, other = (embed(side.load_controls(0), mean, axes, block=20) for side in (small, large))
    np.testing.assert_array_equal(one, other)
