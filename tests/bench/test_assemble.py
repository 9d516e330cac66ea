"""The two sides of a job against loops over cells, and proof that nothing of the test reaches training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.screen import Screen
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.contracts.training import Profiles
from pbench.bench.engine.assemble import Assembly, de_order
from pbench.bench.engine.prepare import PreparedScreen, cell_level_sums, prepare

CONTEXTS = ("K562", "RPE1")


def profile_scale(screen):
    """(cells, genes) log1p of counts per 10,000 with genes sorted, by hand."""
    X = np.asarray(screen.adata.X.todense() if sparse.issparse(screen.adata.X) else screen.adata.X, dtype=np.float64)
    depth = X.sum(axis=1, keepdims=True)
    return np.log1p(1e4 * X / np.where(depth > 0, depth, 1))[:, np.argsort(screen.genes)]


def manifest_of(screen, split="doubles", **params):
    return registry.splits.get(split)(screen, data_id="toy", **params)[0]


@pytest.fixture
def assembled(make_screen, make_dataset, fresh_cache):
    def make(manifest=None, screen=None, cells=True, **options):
        screen = screen or make_screen(**options)
        manifest = manifest or manifest_of(screen)
        prepared = prepare(
            make_dataset(screen, f"toy-{len(list(fresh_cache.glob('screens/*')))}"), data_id=str(id(screen)), cells=cells
        )
        return screen, manifest, Assembly(prepared, manifest)

    return make


def cells_of(screen, condition):
    return profile_scale(screen)[screen.codes == screen.conditions.index(condition)]


def assert_profiles(profiles, expected):
    for i, condition in enumerate(profiles.conditions):
        own = expected(condition)
        np.testing.assert_allclose(profiles.mean[i], own.mean(axis=0), atol=2e-6)
        np.testing.assert_allclose(profiles.var[i], own.var(axis=0, ddof=1), atol=2e-5)
        assert profiles.n_cells[i] == len(own)


@pytest.mark.parametrize("contexts", [(None,), CONTEXTS])
def test_both_sides_equal_a_loop_over_cells(assembled, contexts):
    rng = np.random.default_rng(1)
    screen, manifest, assembly = assembled(contexts=contexts, genes=rng.permutation(60))
    data, truth = assembly.training({}, cells=True), assembly.truth()
    assert data.genes.tolist() == truth.genes.tolist() == sorted(screen.genes)
    assert set(data.perturbed.conditions) == set(manifest.with_role("train"))
    assert set(truth.conditions) == set(manifest.with_role("test"))
    assert set(data.controls.conditions) == {Condition(context=c) for c in contexts}
    for profiles in (data.perturbed, data.controls, truth.profiles):
        assert_profiles(profiles, lambda c: cells_of(screen, c))


def test_training_cells_are_the_training_conditions_and_controls(assembled):
    screen, manifest, assembly = assembled(contexts=CONTEXTS, genes=np.random.default_rng(0).permutation(60))
    cells = assembly.training({}, cells=True).cells
    assert cells.scale == "counts"
    assert set(cells.conditions) == set(manifest.with_role("train")) | {Condition(context=c) for c in CONTEXTS}
    column = np.argsort(screen.genes)
    for k, condition in enumerate(cells.conditions):
        expected = screen.adata.X[screen.codes == screen.conditions.index(condition)].toarray()[:, column]
        np.testing.assert_array_equal(cells.X[cells.codes == k].toarray(), expected)


def test_cells_need_to_be_declared(assembled):
    _, _, assembly = assembled(cells=False)
    with pytest.raises(UsageError, match="needs_cells"):
        _ = assembly.training({}, cells=False).cells


@pytest.mark.parametrize("poison", [0.0, 1e6, 12345.0])
def test_what_fit_sees_does_not_change_with_the_test_cells(assembled, make_screen, poison):
    screen, manifest, clean = assembled(contexts=CONTEXTS)
    tested = np.isin(screen.codes, [screen.conditions.index(c) for c in manifest.with_role("test")])
    X = screen.adata.X.toarray()
    X[tested] = poison
    adata = screen.adata.copy()
    adata.X = sparse.csr_matrix(X)
    _, _, poisoned = assembled(manifest=manifest, screen=Screen(adata, screen.card))
    before, after = clean.training({}, cells=True), poisoned.training({}, cells=True)
    for name in ("perturbed", "controls", "validation"):
        for part in ("mean", "var", "n_cells"):
            np.testing.assert_array_equal(getattr(getattr(before, name), part), getattr(getattr(after, name), part))
    np.testing.assert_array_equal(before.cells.X.toarray(), after.cells.X.toarray())
    for name in ("ctrl", "pert"):
        np.testing.assert_array_equal(clean.truth().references[name], poisoned.truth().references[name])
    assert not np.array_equal(clean.truth().profiles.mean, poisoned.truth().profiles.mean)


def test_nan_in_the_stored_sums_of_the_test_does_not_reach_training(assembled, tmp_path):
    screen, manifest, assembly = assembled()
    before = assembly.training({}, cells=False)
    folder = assembly.screen.folder
    position = [screen.conditions.index(c) for c in manifest.with_role("test")]
    for name in ("total", "squares"):
        sums = np.load(folder / f"{name}.npy")
        sums[[2 * p + h for p in position for h in (0, 1)]] = np.nan
        np.save(folder / f"{name}.npy", sums)
    after = Assembly(PreparedScreen(folder), manifest).training({}, cells=False)
    np.testing.assert_array_equal(before.perturbed.mean, after.perturbed.mean)
    np.testing.assert_array_equal(before.controls.var, after.controls.var)
    assert np.isfinite(after.shifts).all()


@pytest.mark.parametrize("contexts", [(None,), CONTEXTS])
def test_references_equal_naive_loops(assembled, contexts):
    screen, manifest, assembly = assembled(contexts=contexts)
    truth = assembly.truth()
    control = {c: cells_of(screen, Condition(context=c)).mean(axis=0) for c in contexts}
    shift = {c: cells_of(screen, c).mean(axis=0) - control[c.context] for c in screen.perturbed}
    trained = np.mean([shift[c] for c in manifest.with_role("train")], axis=0)
    for i, condition in enumerate(truth.conditions):
        others = np.mean([shift[c] for c in screen.perturbed if c.targets != condition.targets], axis=0)
        expected = {"ctrl": 0.0, "pert": trained, "loo": others}
        for name, value in expected.items():
            np.testing.assert_allclose(truth.references[name][i], control[condition.context] + value, atol=2e-6)


def test_differential_genes_equal_a_naive_ranking(assembled):
    screen, _, assembly = assembled(contexts=CONTEXTS)
    truth = assembly.truth()
    genes = sorted(screen.genes)
    for i, condition in enumerate(truth.conditions):
        own, control = cells_of(screen, condition), cells_of(screen, condition.control())
        t = np.abs(scipy.stats.ttest_ind(own, control, equal_var=False).statistic)
        allowed = [g for g in range(60) if genes[g] not in condition.targets]
        expected = sorted(allowed, key=lambda g: -t[g])
        got = truth.de_order[i]
        assert set(got[len(allowed) :]) == {-1}
        np.testing.assert_allclose(t[got[: len(allowed)]], t[expected], rtol=1e-3, atol=1e-4)
        assert sorted(got[: len(allowed)]) == sorted(allowed)
        assert truth.target_genes[i] == tuple(genes.index(t) for t in condition.targets)


def test_ties_among_differential_genes_go_by_name():
    profiles = Profiles((Condition(("A",)),), np.array([[0.0, 2, 1, 2, 0, 1]]), np.ones((1, 6)), np.array([4]))
    control = Profiles((Condition(),), np.zeros((1, 6)), np.ones((1, 6)), np.array([4]))
    assert de_order(profiles, control, np.array([0]), ((3,),)).tolist() == [[1, 2, 5, 0, 4, -1]]


def test_halves_are_disjoint_and_together_everything(assembled):
    _, _, assembly = assembled()
    truth = assembly.truth()
    first, second = truth.halves
    np.testing.assert_array_equal(first.n_cells + second.n_cells, truth.profiles.n_cells)
    both = (first.mean * first.n_cells[:, None] + second.mean * second.n_cells[:, None]) / truth.profiles.n_cells[:, None]
    np.testing.assert_allclose(both, truth.profiles.mean, atol=1e-5)
    assert np.abs(first.mean - second.mean).max() > 0.05


def test_split_by_cells_equals_naive_masks(make_screen, make_dataset, fresh_cache, tmp_path):
    screen = make_screen(contexts=CONTEXTS)
    manifest = manifest_of(screen, "iid", fraction=0.6)
    sums = cell_level_sums(screen, manifest.test_cells)
    np.savez(tmp_path / "sums.npz", total=sums.total, squares=sums.squares, n=sums.n)
    assembly = Assembly(prepare(make_dataset(screen, "d"), data_id="d", cells=True), manifest, tmp_path / "sums.npz")
    data, truth = assembly.training({}, cells=True), assembly.truth()
    values, is_test = profile_scale(screen), np.isin(screen.barcodes, manifest.test_cells)

    def side(condition, chosen):
        return values[(screen.codes == screen.conditions.index(condition)) & chosen]

    assert len(manifest.test_cells) > 0 and set(truth.conditions) <= set(data.perturbed.conditions)
    assert_profiles(truth.profiles, lambda c: side(c, is_test))
    assert_profiles(data.perturbed, lambda c: side(c, ~is_test))
    assert_profiles(data.controls, lambda c: side(c, ~is_test))
    assert data.cells.X.shape[0] == int((~is_test).sum())
    assert truth.load_cells is not None
    for condition in truth.conditions[:3]:
        np.testing.assert_allclose(truth.load_cells(condition).toarray(), side(condition, is_test), atol=2e-6)


def test_validation_is_apart_from_training_and_test(assembled):
    screen, _, _ = assembled()
    manifest = manifest_of(screen, "perturbench-combo")
    _, _, assembly = assembled(manifest=manifest, screen=screen)
    data = assembly.training({}, cells=True)
    assert len(data.validation) > 0
    assert set(data.validation.conditions) == set(manifest.with_role("validation"))
    assert not set(data.validation.conditions) & (set(data.perturbed.conditions) | set(data.cells.conditions))
    assert set(data.validation_cells.conditions) == set(data.validation.conditions)
    assert_profiles(data.validation, lambda c: cells_of(screen, c))


def test_a_manifest_of_other_conditions_is_refused(assembled):
    _, manifest, assembly = assembled()
    strange = replace(manifest, roles={**manifest.roles, Condition(("NOBODY",)): "test"})
    with pytest.raises(DataError, match="NOBODY"):
        Assembly(assembly.screen, strange)


def test_a_manifest_survives_its_file(assembled, tmp_path):
    _, manifest, _ = assembled(contexts=CONTEXTS)
    manifest.save(tmp_path / "m.json")
    assert SplitManifest.load(tmp_path / "m.json").id == manifest.id
