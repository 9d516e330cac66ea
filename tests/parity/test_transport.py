"""Entropic transport against POT, geomloss (which scPertEval uses) and OTT (which pertpy uses)."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.kernels.transport import sinkhorn_divergence, transport

#: Relative error of the marginals at which ours stops, here and not in the metric.
CONVERGED = 1e-9


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(n, 8)), rng.normal(size=(m, 8)) * spread + 0.5) for n, m, spread in [(60, 45, 1), (30, 70, 1.6)]]


@pytest.mark.parametrize("eps", [0.5, 2.0])
def test_pot(agree, samples, eps):
    """The cost of one plan, with its entropy relative to independent samples."""
    ot = pytest.importorskip("ot", reason="POT is not installed: pip install 'pbench[parity]'")
    theirs = []
    for x, y in samples:
        cost = ot.dist(x, y) / 2
        theirs.append(ot.solve(cost, reg=eps, reg_type="KL", tol=1e-12, max_iter=100_000).value)
    ours = [transport(x, y, eps, tolerance=CONVERGED) for x, y in samples]
    agree("POT", "entropic transport cost = ot.solve with reg_type KL", ours, theirs, tolerance=1e-8)


def test_pot_without_entropy(samples):
    """The entropic cost approaches the exact one from above as the entropy vanishes."""
    ot = pytest.importorskip("ot", reason="POT is not installed: pip install 'pbench[parity]'")
    x, y = samples[0]
    exact = ot.emd2([], [], ot.dist(x, y) / 2)
    costs = [transport(x, y, eps) for eps in (1.0, 0.1, 0.02)]
    assert costs == sorted(costs, reverse=True)
    assert exact < costs[-1] < 1.03 * exact


@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_geomloss(agree, samples, blur):
    """geomloss anneals to its blur and stops there; with steps of 0.99 it comes close to convergence."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pbench[parity]'")
    geomloss = pytest.importorskip("geomloss", reason="geomloss is not installed: pip install 'pbench[parity]'")
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=blur, debias=True, scaling=0.99, backend="tensorized")
    theirs = [float(loss(torch.tensor(x), torch.tensor(y))) for x, y in samples]
    ours = [sinkhorn_divergence(x, y, blur**2, tolerance=CONVERGED) for x, y in samples]
    agree("geomloss", "Sinkhorn divergence, eps = blur^2", ours, theirs, tolerance=1e-3)


def test_difference_ours_is_converged(samples):
    """With geomloss's default steps, which scPertEval keeps, the value is off by percents, and smaller steps approach ours."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pbench[parity]'")
    geomloss = pytest.importorskip("geomloss", reason="geomloss is not installed: pip install 'pbench[parity]'")
    x, y = samples[0]
    ours = sinkhorn_divergence(x, y, 1.5**2)
    errors = []
    for scaling in (0.5, 0.9, 0.99):
        loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=1.5, debias=True, scaling=scaling, backend="tensorized")
        errors.append(abs(float(loss(torch.tensor(x), torch.tensor(y))) / ours - 1))
    assert errors[0] > 0.01
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


def test_pertpy(agree, samples):
    """Cost |x - y|^2 there and half of it here, so their value is twice ours at half their entropy (a share of the cost)."""
    pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed: pip install 'pbench[parity]'")
    from ott.geometry.pointcloud import PointCloud

    measure = pertpy.tl.Distance(metric="wasserstein", layer_key="counts")
    theirs = [measure(x, y) for x, y in samples]
    ours = [2 * transport(x, y, float(PointCloud(x, y).epsilon) / 2, tolerance=CONVERGED) for x, y in samples]
    agree("pertpy", "2 x entropic transport cost = wasserstein", ours, theirs, tolerance=1e-4)


def test_difference_equal_samples_have_no_distance(samples):
    """Without the debiasing terms, pertpy's ``wasserstein`` of a sample to itself is far from 0; a divergence is 0."""
    pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed: pip install 'pbench[parity]'")
    x, _ = samples[0]
    assert pertpy.tl.Distance(metric="wasserstein", layer_key="counts")(x, x) > 1
    assert sinkhorn_divergence(x, x, 1.0) == 0
