"""The simulated screen against closed forms, enumeration, Monte Carlo and its own labels."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.screen import validate
from pbench.datasets import gene_sim
from pbench.datasets.gene_sim import simulate
from pbench.datasets.noise_free import expected_profiles

CONTROL = Condition()
SMALL = {"n_genes": 60, "n_programs": 4, "n_singles": 6, "n_doubles": 5, "cells_per_perturbation": 4, "n_controls": 8}
DIGEST = """
import hashlib, sys
from pbench.datasets import gene_sim
s = gene_sim.simulate(n_genes=60, n_programs=4, n_singles=6, n_doubles=5, cells_per_perturbation=4, n_controls=8, n_batches=2)
h = hashlib.sha256()
tables = [r.values for r in s.resources.values()]
for part in (s.adata.X.data, s.adata.X.indices, s.adata.uns["activities"], *s.noise_free.values(), *tables):
    h.update(part.tobytes())
h.update(repr([s.adata.obs.to_csv(), s.adata.uns["epistasis"], s.adata.uns["dominant"]]).encode())
print(h.hexdigest(), gene_sim.source_id())
"""


@pytest.fixture(scope="module")
def screen():
    return gene_sim.NORMAN_SIM.load()


def of(screen, name, condition):
    """The row of a ground-truth table that belongs to a condition."""
    return screen.adata.uns[name][list(screen.adata.uns["conditions"]).index(condition.label)]


def log1p_1e4(counts):
    counts = counts.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def shares(log_rates):
    return np.exp(log_rates) / np.exp(log_rates).sum()


def enumerated(mean, theta):
    """E log1p(1e4 x / (x + y)) of two independent negative binomials, summed over all pairs of counts."""
    laws = [stats.nbinom(t, t / (t + m)) for m, t in zip(mean, theta, strict=True)]
    x = np.arange(max(law.isf(1e-9) for law in laws) + 1)
    px, py = (law.pmf(x) for law in laws)
    value = np.log1p(1e4 * x[:, None] / np.maximum(x[:, None] + x, 1))
    return np.array([px @ value @ py, py @ value @ px])


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.001, 0.999), theta=st.tuples(*[st.floats(0.8, 30)] * 2), library=st.floats(0.2, 40.0))
def test_the_expected_profile_is_the_sum_over_all_counts(share, theta, library):
    rates = np.array([share, 1 - share])
    got = expected_profiles(rates[None], np.array(theta), library_median=library, library_sd=0.0)[0]
    np.testing.assert_allclose(got, enumerated(library * rates, theta), atol=1e-5)


def test_the_library_size_is_integrated():
    rates, theta, nodes = np.array([0.2, 0.8]), np.array([2.0, 5.0]), np.linspace(-5, 5, 41)
    density = stats.norm.pdf(nodes)
    by_hand = [enumerated(20 * np.exp(0.5 * z) * rates, theta) for z in nodes]
    got = expected_profiles(rates[None], theta, library_median=20.0, library_sd=0.5)[0]
    np.testing.assert_allclose(got, np.average(by_hand, axis=0, weights=density), atol=1e-4)


@pytest.mark.parametrize(
    "dials", [{}, {"n_batches": 2, "batch_sd": 0.5, "two_states": True}], ids=["plain", "batches and states"]
)
def test_noise_free_profiles_are_the_limit_of_pseudobulks(dials):
    screen = simulate(n_genes=150, n_singles=1, n_doubles=0, cells_per_perturbation=30_000, n_controls=1, **dials)
    condition = screen.perturbed[0]
    cells = log1p_1e4(screen.adata.X[screen.codes == screen.conditions.index(condition)])
    error = cells.mean(axis=0) - screen.noise_free[condition]
    z = error / (cells.std(axis=0, ddof=1) / np.sqrt(len(cells)))
    assert np.abs(z).max() < 4.5
    # Taking the total for the library size would give 1.6 here, the log1p of the mean 47.
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.2
    assert np.abs(error.mean()) < 1e-3


def test_counts_are_negative_binomial_around_a_softmax_over_genes():
    screen = simulate(n_genes=100, n_singles=1, n_doubles=0, cells_per_perturbation=1, n_controls=30_000, library_sd=0.0)
    counts = screen.adata.X[:30_000].toarray().astype(np.float64)
    uns = screen.adata.uns
    mean = 6000 * shares(uns["baseline"])
    variance = mean + mean**2 / uns["dispersion"]
    assert np.abs((counts.mean(axis=0) - mean) / np.sqrt(variance / len(counts))).max() < 4.5
    # The sampling error of a variance, from the fourth central moment.
    centred = (counts - mean) ** 2
    assert np.abs((centred.mean(axis=0) - variance) / (centred.std(axis=0) / np.sqrt(len(counts)))).max() < 5


def test_each_cell_has_its_own_library(screen):
    totals = np.asarray(screen.adata.X.sum(axis=1)).ravel()
    logs = np.log(totals)
    assert np.median(totals) == pytest.approx(6000, rel=0.02)
    # Counting noise adds to the spread of the library itself, a little.
    assert 0.34 < logs.std() < 0.37
    assert totals.mean() == pytest.approx(6000 * np.exp(0.35**2 / 2), rel=0.02)
    assert stats.skew(totals) > 0.5


def test_the_default_screen_is_what_its_card_says(screen):
    card = gene_sim.NORMAN_SIM.card
    assert screen.card == card
    assert card.simulated and "SIMULATED" in card.title and card.name == "norman-sim" and card.default_split == "doubles"
    assert screen.adata.shape == (card.n_cells, card.n_genes)
    assert len(screen.perturbed) == card.n_perturbations
    assert screen.n_cells[CONTROL] == 1500 and {n for c, n in screen.n_cells.items() if c != CONTROL} == {100}
    assert list(screen.conditions) == sorted(screen.noise_free, key=lambda c: screen.conditions.index(c))
    assert not any(r.same_screen for r in screen.resources.values())
    assert all(r.source.startswith("simulated") for r in screen.resources.values())


def test_effects_have_a_realistic_spread(screen):
    """Welch t against control with Benjamini-Hochberg at 5 %: most perturbations move 100 genes and more, some hardly any."""
    values, codes = log1p_1e4(screen.adata.X), screen.codes
    control = values[codes == 0]
    found = []
    for i, condition in enumerate(screen.conditions):
        if len(condition.targets) == 1:
            p = stats.ttest_ind(values[codes == i], control, equal_var=False).pvalue
            found.append(int((stats.false_discovery_control(np.nan_to_num(p, nan=1.0)) < 0.05).sum()))
    assert 100 < np.median(found) < 400
    assert np.quantile(found, 0.1) < 40


def reachable(dag, start):
    """Programs that are in `start` or downstream of it, by walking the edges."""
    seen, todo = set(start), list(start)
    while todo:
        for child in np.flatnonzero(dag[todo.pop()]):
            if child not in seen:
                seen.add(int(child))
                todo.append(int(child))
    return sorted(seen)


def path_sums(dag, shift, program, sign=1.0):
    """Shift of a program plus what its parents pass on, by recursion over parents."""
    return shift[program] + sum(dag[p, program] * path_sums(dag, shift, p) for p in np.flatnonzero(dag[:, program]))


def test_only_the_targeted_programs_and_their_descendants_move(screen):
    dag = screen.adata.uns["dag"]
    assert not np.any([p in reachable(dag, np.flatnonzero(dag[p])) for p in range(len(dag))]), "the graph has a cycle"
    assert np.count_nonzero(dag) >= 3
    moved_by_parents = 0
    for condition in screen.conditions:
        shift, activity = of(screen, "shifts", condition), of(screen, "activities", condition)
        direct = np.flatnonzero(shift)
        downstream = reachable(dag, direct.tolist())
        assert not activity[np.setdiff1d(np.arange(len(dag)), downstream)].any()
        np.testing.assert_allclose(activity, [path_sums(dag, shift, k) for k in range(len(dag))], atol=1e-12)
        moved_by_parents += len(downstream) > len(direct)
        if len(condition.targets) == 1:
            assert 1 <= len(direct) <= 3
    assert moved_by_parents > 10
    assert not of(screen, "shifts", CONTROL).any()


def test_genes_of_programs_that_stay_put_keep_their_shares():
    screen = simulate(n_genes=300, n_singles=3, n_doubles=0, cells_per_perturbation=2000, n_controls=4000, weak_fraction=0.0)
    loadings, X, codes = screen.adata.uns["loadings"], screen.adata.X.toarray().astype(np.float64), screen.codes
    still_p, moved_p = [], []
    for i, condition in enumerate(screen.conditions[1:], start=1):
        responds = (loadings[:, of(screen, "activities", condition) != 0] != 0).any(axis=1) | np.isin(
            screen.genes, condition.targets
        )
        share = X / X[:, ~responds].sum(axis=1, keepdims=True)
        p = stats.ttest_ind(share[codes == i], share[codes == 0], equal_var=False).pvalue
        still_p.append(p[~responds])
        moved_p.append(p[responds])
    still, moved = np.concatenate(still_p), np.concatenate(moved_p)
    assert len(still) > 300
    assert np.mean(still < 0.01) < 0.03
    assert stats.kstest(still, "uniform").pvalue > 1e-3
    assert np.mean(moved < 0.01) > 0.6


def test_activation_raises_the_perturbed_gene():
    dials = {"n_genes": 200, "n_singles": 12, "n_doubles": 8, "cells_per_perturbation": 2, "n_controls": 2, "weak_fraction": 1.0}
    active, inert = simulate(**dials), simulate(**dials, on_target=0.0)
    for condition in active.perturbed:
        own = np.isin(active.genes, condition.targets)
        assert (active.noise_free[condition] > inert.noise_free[condition])[own].all()
        assert (active.noise_free[condition] - active.noise_free[CONTROL])[own].min() > 0.3
        # The other genes can only lose reads to it.
        assert (active.noise_free[condition] <= inert.noise_free[condition] + 1e-9)[~own].all()


def test_doubles_follow_their_labelled_epistasis(screen):
    epistasis, dominant = screen.adata.uns["epistasis"], screen.adata.uns["dominant"]
    doubles = [c for c in screen.perturbed if len(c.targets) == 2]
    assert sorted(epistasis) == sorted(c.label for c in doubles)
    kinds = list(epistasis.values())
    assert {k: kinds.count(k) for k in set(kinds)} == {"additive": 16, "synergy": 8, "buffering": 8, "dominant": 8}
    assert sorted(dominant) == sorted(label for label, kind in epistasis.items() if kind == "dominant")
    for condition in doubles:
        a, b = (of(screen, "shifts", condition.single(t)) for t in condition.targets)
        residual = of(screen, "shifts", condition) - (a + b)
        kind = epistasis[condition.label]
        if kind == "additive":
            assert not residual.any()
        elif kind == "synergy":
            k = np.argmax(np.abs(a + b))
            assert residual[k] == pytest.approx(0.6 * (a + b)[k])
            assert np.count_nonzero(residual) == 1
        elif kind == "buffering":
            np.testing.assert_allclose(residual, -0.5 * (a + b))
        else:
            loser = next(t for t in condition.targets if t != dominant[condition.label])
            np.testing.assert_allclose(residual, -of(screen, "shifts", condition.single(loser)), atol=1e-12)
    assert len({condition.targets.index(dominant[condition.label]) for condition in doubles if condition.label in dominant}) == 2


def test_the_additive_rule_beats_no_change_where_doubles_are_additive(screen):
    profile, control = screen.noise_free, screen.noise_free[CONTROL]
    errors = {}
    for condition in screen.perturbed:
        if len(condition.targets) == 2:
            change = profile[condition] - control
            added = sum(profile[condition.single(t)] - control for t in condition.targets)
            errors.setdefault(screen.adata.uns["epistasis"][condition.label], []).append(
                (np.mean((change - added) ** 2), np.mean(change**2))
            )
    overall = np.sqrt(np.mean(np.concatenate(list(errors.values())), axis=0))
    rmse = {kind: np.sqrt(np.mean(rows, axis=0)) for kind, rows in errors.items()}
    assert overall[0] < 0.75 * overall[1]
    assert rmse["additive"][0] < 0.3 * rmse["additive"][1]
    assert all(
        rmse[kind][0] / rmse[kind][1] > rmse["additive"][0] / rmse["additive"][1] for kind in ("synergy", "buffering", "dominant")
    )


def test_the_annotation_is_noisy_at_the_declared_rates(screen):
    go, uns = screen.resources["go"], screen.adata.uns
    belongs = uns["loadings"] != 0
    for i, gene in enumerate(screen.genes):
        if Condition((gene,)) in screen.conditions:
            belongs[i] |= of(screen, "shifts", Condition((gene,))) != 0
    terms = go.values.reshape(len(go.names), uns["loadings"].shape[1], 3)
    assert list(go.names) == list(screen.genes)
    assert set(np.unique(go.values)) == {0, 1}
    assert terms[belongs].mean() == pytest.approx(0.8, abs=0.04)
    assert terms[~belongs].mean() == pytest.approx(0.02, abs=0.004)


def test_the_embedding_is_a_rotation_of_the_program_shifts_with_noise(screen):
    table = screen.resources["embedding"]
    activities = np.array([of(screen, "activities", Condition((t,))) for t in table.names])
    assert table.values.shape == (60, 12)
    above = np.triu_indices(60)
    # Inner products survive a rotation, coordinates do not.
    assert np.corrcoef((table.values @ table.values.T)[above], (activities @ activities.T)[above])[0, 1] > 0.85
    assert np.abs(table.values[:, :10] - activities).mean() > 0.5


def test_a_seed_fixes_every_byte_whatever_the_hash_seed():
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    ]
    assert runs[0] == runs[1]
    assert runs[0].split()[1] == gene_sim.NORMAN_SIM.data_id()


def digest(screen):
    return hashlib.sha256(screen.adata.X.data.tobytes()).hexdigest()


def test_another_seed_is_another_screen():
    assert digest(simulate(**SMALL)) == digest(simulate(**SMALL)) != digest(simulate(**SMALL, seed=1))


def test_parts_have_streams_of_their_own():
    few, many = simulate(**{**SMALL, "n_doubles": 2}), simulate(**{**SMALL, "n_doubles": 9})
    assert set(few.conditions) < set(many.conditions)
    assert few.adata.uns["epistasis"].items() <= many.adata.uns["epistasis"].items()
    for condition in few.conditions:
        np.testing.assert_array_equal(few.noise_free[condition], many.noise_free[condition])
        cells = [s.adata.X[s.codes == s.conditions.index(condition)].toarray() for s in (few, many)]
        np.testing.assert_array_equal(*cells)
    deeper = simulate(**{**SMALL, "cells_per_perturbation": 9, "library_median": 100.0})
    for name, table in few.resources.items():
        np.testing.assert_array_equal(table.values, many.resources[name].values)
        np.testing.assert_array_equal(table.values, deeper.resources[name].values, err_msg="a resource was made from the cells")


def test_the_identity_ignores_comments_and_sees_code():
    plain = ast.parse("def f(a, b=1):\n    return a + b\n")
    commented = ast.parse('"""Doc."""\ndef f(a, b=1):\n    """Doc."""\n    # why\n    return (a\n            + b)\n')
    changed = ast.parse("def f(a, b=2):\n    return a + b\n")
    assert gene_sim._syntax(plain) == gene_sim._syntax(commented) != gene_sim._syntax(changed)


def test_the_ground_truth_survives_a_file(tmp_path):
    import anndata

    screen = simulate(**SMALL, n_batches=2, two_states=True)
    screen.adata.write_h5ad(tmp_path / "sim.h5ad")
    read = anndata.read_h5ad(tmp_path / "sim.h5ad")
    np.testing.assert_array_equal(read.uns["activities"], screen.adata.uns["activities"])
    np.testing.assert_array_equal(
        read.obsm["programs"], np.array([of(screen, "activities", screen.conditions[c]) for c in screen.codes])
    )
    assert dict(read.uns["epistasis"]) == screen.adata.uns["epistasis"]
    assert list(read.uns["conditions"]) == list(screen.adata.uns["conditions"])


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_singles=st.integers(1, 6),
    share=st.floats(0, 1),
    n_batches=st.integers(1, 3),
    two_states=st.booleans(),
)
def test_every_screen_is_valid(seed, n_singles, share, n_batches, two_states):
    n_doubles = int(share * (n_singles * (n_singles - 1) // 2))
    screen = simulate(
        **{**SMALL, "n_singles": n_singles, "n_doubles": n_doubles}, seed=seed, n_batches=n_batches, two_states=two_states
    )
    assert validate(screen, source="test") is screen
    assert screen.adata.X.format == "csr" and screen.adata.X.dtype == np.float32
    assert len(set(screen.barcodes)) == screen.adata.n_obs == 8 + 4 * (n_singles + n_doubles)
    assert all(
        set(c.targets) <= set(screen.genes) and c.single(t) in screen.conditions for c in screen.perturbed for t in c.targets
    )
    assert set(screen.noise_free) == set(screen.conditions)
    assert ("batch" in screen.adata.obs) == (n_batches > 1) and ("state" in screen.adata.obs) == two_states


@pytest.mark.parametrize("dials", [{"n_doubles": 16}, {"n_singles": 61}, {"n_programs": 2}, {"n_singles": 0}, {"n_controls": 0}])
def test_dials_that_do_not_fit_are_refused(dials):
    with pytest.raises(UsageError, match=r"singles|at least 1"):
        simulate(**{**SMALL, **dials})
