"""Only the intended mechanisms move: every variable that no path leads to from a target keeps its distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pbench.bench.contracts.identity import derived_seed
from pbench.datasets.latent import gene_programs, process, static_causal, temporal

# One cell a unit or one time: the tests below take rows as independent.
STATIC = {"cells_per_perturbation": 500, "n_controls": 1500, "n_features": 12}
TEMPORAL = {"units_per_perturbation": 100, "n_features": 10, "mode": "endpoint"}
GENES = {"n_genes": 30, "n_singles": 12, "n_doubles": 8, "cells_per_perturbation": 250, "n_controls": 1000}
CASES = [
    *[(static_causal, STATIC | {"regime": r, "mechanism": m, "noise": n, "degree": 3.0})
      for r, m, n in (("hard", "linear", "gaussian"), ("soft", "mlp", "laplace"), ("shift", "quadratic", "location-scale"))],
    (static_causal, STATIC | {"per_node": 2, "n_invariant": 0, "degree": 3.0}),
    (temporal, TEMPORAL),
    (temporal, TEMPORAL | {"lag": 2, "instantaneous": True, "onset": 2}),
    (gene_programs, GENES),
]  # fmt: skip
IDS = [f"{m.__name__.rsplit('.', 1)[1]}-{i}" for i, (m, _) in enumerate(CASES)]


def moved(screen):
    """(P, d) p-values of a two-sample test of each variable between cells of a perturbation and control cells."""
    truth, labels = screen.ground_truth, screen.adata.obs["perturbation"].to_numpy(dtype=str)
    values = [truth.values[labels == p] for p in truth.perturbations]
    return np.array([[stats.ks_2samp(v[:, j], values[0][:, j]).pvalue for j in range(truth.d)] for v in values])


def strays(screen):
    """Whether a variable moved that no perturbation should have reached, and whether a directly changed one did not."""
    truth, p = screen.ground_truth, moved(screen)
    quiet = ~truth.reached
    return (p[quiet] < 1e-3 / quiet.sum()).any(), p[truth.targets]


@pytest.mark.parametrize(("module", "dials"), CASES, ids=IDS)
def test_variables_that_no_target_reaches_keep_their_distribution(module, dials):
    screen = module.simulate(**dials)
    truth = screen.ground_truth
    stray, direct = strays(screen)
    assert not stray
    assert not truth.targets[0].any() and truth.targets[1:].any(axis=1).all()
    assert not truth.reached[:, truth.block("invariant")].any()
    assert not truth.graph[np.ix_(truth.block("invariant"), truth.block("responsive"))].any()
    # The tests above have the power to see something: what a perturbation changes directly does move.
    weak = 0.4 if module is gene_programs else 0.0
    assert (direct < 1e-6).mean() >= 1 - weak
    indirect = truth.reached & ~truth.targets
    assert not indirect.any() or (moved(screen)[indirect] < 1e-6).any()


def faulty_static(monkeypatch):
    """Non-targets move too: a perturbation also scales the noise of the next variable."""
    sample = static_causal.CausalModel.sample

    def wrong(self, rng, n, interventions=(), regime="hard"):
        z = sample(self, rng, n, interventions, regime)
        for i in interventions:
            z[:, (i.node + 1) % 10] *= 1.5
        return z

    monkeypatch.setattr(static_causal.CausalModel, "sample", wrong)
    return static_causal, STATIC | {"degree": 1.0}


def faulty_graph(monkeypatch):
    """The graph that is told lacks what causes an effect."""
    build = static_causal.causal_model

    def wrong(*args, **kwargs):
        model = build(*args, **kwargs)
        told = model.graph.copy()
        told[:7, :7] = False
        honest = model.sample
        hidden = replace(model, graph=told)
        object.__setattr__(hidden, "sample", honest)
        return hidden

    monkeypatch.setattr(static_causal, "causal_model", wrong)
    return static_causal, STATIC | {"degree": 4.0}


def faulty_process(monkeypatch):
    """A perturbation drives a second variable."""
    drive = process.drive
    monkeypatch.setattr(
        process, "drive", lambda rng, r, node, onset: drive(rng, r, node, onset) + drive(rng, r, (node + 1) % r, 0)
    )
    return temporal, TEMPORAL | {"edge_probability": 0.1}


def faulty_invariants(monkeypatch):
    """Perturbed units have other invariant variables."""
    sample = process.Process.sample

    def wrong(self, rng, n, n_times, drive):
        z, v = sample(self, rng, n, n_times, drive)
        return z, v + 0.3 * np.sign(drive.shift.sum())

    monkeypatch.setattr(process.Process, "sample", wrong)
    return temporal, TEMPORAL


def faulty_programs(monkeypatch):
    """The effects run against the arrows of the graph that is told."""
    activities = gene_programs.Programs.activities

    def wrong(self, shifts):
        return activities(replace(self, dag=self.dag.T), shifts)

    monkeypatch.setattr(gene_programs.Programs, "activities", wrong)
    return gene_programs, GENES


@pytest.mark.parametrize("fault", [faulty_static, faulty_graph, faulty_process, faulty_invariants, faulty_programs])
def test_the_same_test_fails_on_a_generator_with_a_fault(fault, monkeypatch):
    module, dials = fault(monkeypatch)
    assert strays(module.simulate(**dials))[0]


def stream(*part):
    return np.random.default_rng(derived_seed("test", *part))


@pytest.mark.parametrize("regime", static_causal.REGIMES)
def test_with_the_same_noise_nothing_else_changes_at_all(regime):
    """Counterfactuals of one cell: exactly the descendants of a target differ."""
    model = static_causal.causal_model(stream, 6, 2, degree=3.0, mechanism="linear", noise="gaussian")
    plain = model.sample(np.random.default_rng(0), 50)
    descendants = np.linalg.inv(np.eye(8) - model.graph) != 0
    for node in range(6):
        changed = model.sample(np.random.default_rng(0), 50, (static_causal.Intervention(node, 2.0),), regime)
        assert np.array_equal((changed != plain).any(axis=0), descendants[:, node])


def test_a_process_changes_along_its_edges_and_not_before_its_onset():
    wired = process.process(np.random.default_rng(3), 6, 2, lag=2, instantaneous=True, edge=0.2, invariant=0.3)
    rest = process.neutral(6)
    plain, v = wired.sample(np.random.default_rng(0), 40, 6, rest)
    for node, onset in ((0, 0), (3, 1), (5, 3)):
        drive = replace(process.drive(np.random.default_rng(node), 6, node, 0), onset=onset * (np.arange(6) == node))
        changed, w = wired.sample(np.random.default_rng(0), 40, 6, drive)
        assert np.array_equal(v, w)
        now = np.linalg.inv(np.eye(6) - (wired.instant != 0)) != 0
        differs = (changed != plain).any(axis=0)
        reached = [np.zeros(6, dtype=bool)] * 2
        for t in range(6):
            # What differs now: the target once it acts, and what its past or present reaches.
            source = (reached[-1] | (wired.lagged[0] != 0) @ reached[-1]) | (wired.lagged[1] != 0) @ reached[-2]
            if t > onset:
                source = source | (np.arange(6) == node)
            reached.append(now @ source)
            assert np.array_equal(differs[t], reached[-1]), (node, t)
