"""Held-out cells with known latent variables, and codes of them, without the engine."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.contracts.latents import Encoding, GroundTruth, LatentComparison
from pbench.bench.contracts.metric import Comparison
from pbench.metrics.identification import FAMILIES

METRICS = {m.id: m for metrics in FAMILIES.values() for m in metrics}


class Cells:
    """Units seen at several times: responsive variables that perturbations shift and that cause each other, invariant ones that stay."""

    def __init__(self, seed=0, n_units=600, n_times=3, n_responsive=4, n_invariant=2, n_perturbations=5, coupling=0.3):
        rng = np.random.default_rng(seed)
        d = n_responsive + n_invariant
        own = rng.integers(0, n_perturbations, n_units)
        targets = np.zeros((n_perturbations, d), dtype=bool)
        targets[np.arange(1, n_perturbations), np.arange(n_perturbations - 1) % n_responsive] = True
        causes = np.tril(rng.random((n_responsive, n_responsive)) < 0.5, -1)
        causes[1:2, 0] = True
        invariant = rng.normal(size=(n_units, n_invariant))
        state, states = rng.normal(size=(n_units, n_responsive)), []
        for _ in range(n_times):
            push = (
                coupling * np.tanh(state) @ causes.T
                + targets[own][:, :n_responsive]
                + coupling * invariant[:, :1].sum(axis=1, keepdims=True)
            )
            state = 0.6 * state + push + 0.4 * rng.normal(size=state.shape)
            states.append(state)
        lagged = np.zeros((1, d, d), dtype=bool)
        lagged[0, :n_responsive, :n_responsive] = causes | np.eye(n_responsive, dtype=bool)
        lagged[0, :n_responsive, n_responsive : n_responsive + 1] = coupling > 0
        self.truth = GroundTruth(
            np.concatenate([np.stack(states, 1).reshape(-1, n_responsive), np.repeat(invariant, n_times, axis=0)], axis=1),
            tuple(f"z{i}" for i in range(d)),
            ("responsive",) * n_responsive + ("invariant",) * n_invariant,
            ("continuous",) * d,
            ("control", *(f"P{p}" for p in range(1, n_perturbations))),
            targets,
            np.zeros((d, d), dtype=bool),
            lagged,
        )
        self.unit, self.perturbation = np.repeat(np.arange(n_units), n_times), np.repeat(own, n_times)
        self.time = np.tile(np.arange(n_times, dtype=float), n_units)
        self.report = np.repeat(rng.random(n_units) < 0.5, n_times)
        self.responsive, self.invariant = self.truth.block("responsive"), self.truth.block("invariant")
        self.rng = rng

    @property
    def z(self):
        return self.truth.values

    @property
    def oracle(self):
        return {"responsive": self.z[:, self.responsive], "invariant": self.z[:, self.invariant]}

    def latents(self, codes, truth=None, claim="", **encoding):
        codes = codes if isinstance(codes, dict) else {"latent": codes}
        codes = {name: np.asarray(value, dtype=float) for name, value in codes.items()}
        return LatentComparison(
            truth or self.truth, Encoding(codes, **encoding), self.report, self.perturbation, self.unit, self.time, claim
        )

    def values(self, name, codes, **facts):
        latents = codes if isinstance(codes, LatentComparison) else self.latents(codes, **facts)
        return METRICS[name](Comparison(None, None, latents=latents))

    def score(self, name, codes, **facts):
        (value,) = self.values(name, codes, **facts).value
        return value

    def reason(self, name, codes, **facts):
        values = self.values(name, codes, **facts)
        assert np.isnan(values.value).all()
        (reason,) = set(values.reason)
        return reason


@pytest.fixture(scope="session")
def build():
    return Cells


@pytest.fixture(scope="session")
def same_cells():
    return Cells()


@pytest.fixture
def cells(same_cells):
    """Made once; what a test draws does not depend on the tests before it."""
    same_cells.rng = np.random.default_rng(0)
    return same_cells
