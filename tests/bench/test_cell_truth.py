"""What is worked out from the cells of a split, against scipy and numpy on the same cells, and that no test cell shapes the space."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.screen import Screen
from pbench.bench.engine import cell_truth
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import cell_level_sums, prepare


@pytest.fixture
def make_truth(make_screen, make_dataset, fresh_cache, tmp_path):
    def make(screen=None, split="doubles", data_id="toy", **options):
        screen = screen or make_screen(**options)
        manifest = registry.splits.get(split)(screen, data_id=data_id)[0]
        prepared = prepare(make_dataset(screen, data_id), data_id=data_id, cells=True)
        sums = None
        if manifest.test_cells:
            found = cell_level_sums(screen, manifest.test_cells)
            sums = tmp_path / f"{data_id}.npz"
            np.savez(sums, total=found.total, squares=found.squares, n=found.n)
        assembly = Assembly(prepared, manifest, sums)
        folder = tmp_path / f"truth-{len(os.listdir(tmp_path))}"
        assembly.write_cell_truth(folder)
        return screen, assembly, assembly.truth(folder)

    return make


def dense(cells):
    return np.asarray(cells.todense(), dtype=np.float64)


@pytest.mark.parametrize("contexts", [(None,), ("K562", "RPE1")])
def test_tests_against_control_equal_scipy(make_truth, contexts):
    _, _, truth = make_truth(contexts=contexts, genes=np.random.default_rng(3).permutation(60))
    for side in (truth, truth.against("half")):
        for i in (0, len(truth.conditions) - 1):
            cells, controls = dense(side.cells.load(i)), dense(side.cells.load_controls(truth.control_rows[i]))
            assert len(cells) == side.profiles.n_cells[i] and len(controls) == truth.controls.n_cells[truth.control_rows[i]]
            np.testing.assert_allclose(cells.mean(axis=0), side.profiles.mean[i], atol=1e-5)
            np.testing.assert_allclose(controls.mean(axis=0), truth.controls.mean[truth.control_rows[i]], atol=1e-5)
            expected = scipy.stats.mannwhitneyu(cells, controls, method="asymptotic")
            np.testing.assert_allclose(side.cells.p[i], expected.pvalue, rtol=1e-6)
            np.testing.assert_allclose(side.cells.auc[i], expected.statistic / len(cells) / len(controls), rtol=1e-5)


def test_the_halves_are_those_of_the_profiles_and_disjoint(make_truth):
    _, _, truth = make_truth()
    half = truth.against("half")
    for i, condition in enumerate(truth.conditions):
        np.testing.assert_allclose(dense(half.cells.load(i)).mean(axis=0), truth.halves[1].mean[i], atol=1e-5)
        first = dense(truth.load_cells(condition, 0))
        np.testing.assert_allclose(first.mean(axis=0), truth.halves[0].mean[i], atol=1e-5)
        whole = np.concatenate([first, dense(half.cells.load(i))])
        np.testing.assert_array_equal(np.sort(whole, axis=0), np.sort(dense(truth.cells.load(i)), axis=0))
        assert len(half.cells.embedded(i)) == half.profiles.n_cells[i]


def test_the_space_is_that_of_a_principal_component_analysis_of_half_of_the_training_cells(make_truth):
    from sklearn.decomposition import PCA

    screen, assembly, truth = make_truth()
    trained = {*assembly.train_conditions, Condition()}
    rows = [i for i, code in enumerate(screen.codes) if screen.conditions[code] in trained]
    rows.sort(key=lambda i: hashlib.sha256(f"components\0{screen.barcodes[i]}".encode()).digest())
    fitted, others = np.array_split(np.array(rows), 2)
    X, Y = (dense(assembly.screen.cells(np.sort(part), profile_scale=True)) for part in (fitted, others))
    reference = PCA(50, svd_solver="full").fit(X)
    inside, outside = (((cells - X.mean(axis=0)) @ reference.components_.T).var(axis=0) for cells in (X, Y))
    kept = outside >= 0.9 * inside
    kept[:2] = True
    assert 2 < kept.sum() < 50
    components = truth.cells.pca_components
    assert components.shape == (kept.sum(), 60)
    np.testing.assert_allclose(np.abs(np.sum(components * reference.components_[kept], axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(components @ components.T, np.eye(len(components)), atol=1e-5)
    assert (components[np.arange(len(components)), np.abs(components).argmax(axis=1)] > 0).all()
    own = dense(truth.cells.load(2))
    np.testing.assert_allclose(truth.cells.embedded(2), (own - X.mean(axis=0)) @ components.T.astype(np.float64), atol=1e-4)
    np.testing.assert_allclose(truth.cells.embed(truth.cells.load(2)), truth.cells.embedded(2), atol=1e-5)


def test_cells_that_shaped_the_space_are_no_longer_in_it_than_others(make_truth):
    """Components of noise are long for the cells that they were fitted on, which made answers of control cells look far away."""
    _, assembly, truth = make_truth(n_control=600, n_genes=150)
    controls = dense(truth.cells.load_controls(0))
    barcodes = np.sort(assembly.screen.barcodes[assembly.screen.codes == assembly.screen.conditions.index(Condition())])
    trained = [c for c in assembly.screen.conditions if c.is_control or c in assembly.train_conditions]
    pool = [
        b
        for b, code in zip(assembly.screen.barcodes, assembly.screen.codes, strict=True)
        if assembly.screen.conditions[code] in trained
    ]
    pool.sort(key=lambda b: hashlib.sha256(f"components\0{b}".encode()).digest())
    shaped = np.isin(barcodes, pool[: (len(pool) + 1) // 2])
    spread = truth.cells.embed(controls).var(axis=0)
    inside, outside = (
        truth.cells.embed(controls[shaped]).var(axis=0).sum(),
        truth.cells.embed(controls[~shaped]).var(axis=0).sum(),
    )
    assert len(spread) < 50 and 0.85 < outside / inside < 1.15


def test_the_randomised_space_keeps_what_the_exact_one_has(make_truth, monkeypatch):
    _, assembly, truth = make_truth(n_genes=80)
    train = np.ones(len(assembly.screen.codes), dtype=bool)
    _, exact = cell_truth.principal_components(assembly.screen, train)
    monkeypatch.setattr(cell_truth, "EXACT", 10)
    _, sketched = cell_truth.principal_components(assembly.screen, train)
    # Cosines of the angles between the leading parts of both spaces.
    np.testing.assert_allclose(np.linalg.svd(exact[:2] @ sketched.T)[1], 1, atol=1e-3)
    assert not np.array_equal(exact, sketched)


def test_no_test_cell_shapes_the_space(make_truth):
    screen, assembly, truth = make_truth()
    held_out = np.isin(screen.codes, [screen.conditions.index(c) for c in truth.conditions])
    adata = screen.adata.copy()
    X = np.asarray(adata.X.todense())
    X[held_out] = np.random.default_rng(0).poisson(9, X[held_out].shape)
    adata.X = sparse.csr_matrix(X)
    _, _, other = make_truth(Screen(adata, screen.card), data_id="other")
    np.testing.assert_array_equal(other.cells.pca_components, truth.cells.pca_components)
    np.testing.assert_array_equal(other.cells.pca_mean, truth.cells.pca_mean)
    assert other.cells.bandwidth != truth.cells.bandwidth


def test_the_order_of_cells_and_genes_does_not_matter(make_truth):
    rng = np.random.default_rng(5)
    _, _, one = make_truth()
    _, _, two = make_truth(order=rng.permutation(24 * 15 + 60), genes=rng.permutation(60), data_id="shuffled")
    for name in ("p", "auc", "pca_mean", "pca_components"):
        np.testing.assert_allclose(getattr(two.cells, name), getattr(one.cells, name), rtol=1e-6, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(two.cells.bandwidth, one.cells.bandwidth, rtol=1e-6)
    for i in range(len(one.conditions)):
        np.testing.assert_array_equal(dense(two.cells.load(i)), dense(one.cells.load(i)))
        np.testing.assert_allclose(two.cells.embedded(i), one.cells.embedded(i), atol=1e-5)


def test_a_split_by_cells_has_only_its_test_cells(make_truth):
    screen, assembly, truth = make_truth(split="iid", n_cells=100)
    tests = set(assembly.manifest.test_cells)
    for i, condition in enumerate(truth.conditions):
        own = [b for b, code in zip(screen.barcodes, screen.codes, strict=True) if screen.conditions[code] == condition]
        assert truth.cells.load(i).shape[0] == len(tests & set(own)) == truth.profiles.n_cells[i] < len(own)


def test_the_bandwidth_is_the_median_distance_of_test_cells(make_truth):
    from scipy.spatial.distance import pdist

    _, _, truth = make_truth()
    points = np.concatenate([truth.cells.embedded(i) for i in range(len(truth.conditions))])
    np.testing.assert_allclose(truth.cells.bandwidth, np.median(pdist(points.astype(np.float64))), rtol=0.02)


def test_true_changes_of_the_singles_of_a_double(make_truth):
    _, assembly, truth = make_truth()
    everything = assembly.screen
    for condition, shifts in zip(truth.conditions, truth.single_shifts, strict=True):
        if len(condition.targets) < 2:
            assert shifts is None
            continue
        for target, shift in zip(condition.targets, shifts, strict=True):
            cells = dense(everything.condition_cells(condition.single(target)))
            controls = dense(everything.condition_cells(Condition()))
            np.testing.assert_allclose(shift, cells.mean(axis=0) - controls.mean(axis=0), atol=1e-5)


def test_a_single_that_was_not_measured_leaves_no_changes(make_truth):
    _, assembly, truth = make_truth()
    known = {c: i for i, c in enumerate(assembly._position)}
    assembly._position = {c: i for c, i in known.items() if c.targets != ("G00",)}
    found = assembly._single_shifts(truth.conditions, truth.controls)
    for condition, shifts in zip(truth.conditions, found, strict=True):
        assert (shifts is None) == (len(condition.targets) < 2 or "G00" in condition.targets)


def test_what_was_derived_from_the_truth_is_derived_once_and_not_for_the_half(make_truth):
    _, _, truth = make_truth()
    calls = []

    def derived(t):
        calls.append(t)
        return t.profiles.mean.sum()

    assert truth.once(derived) == truth.once(derived) and len(calls) == 1
    half = truth.against("half")
    assert half.once(derived) != truth.once(derived) and len(calls) == 2
    assert replace(truth).once(derived) == truth.once(derived) and len(calls) == 3
