"""pertpy, scPerturb, scPertEval: distances between samples of cells."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.metrics import CATALOGUE


def test_identical_samples_are_at_no_distance(scene):
    """An entropic transport cost without debiasing was positive between a sample and itself."""
    s = scene()
    for metric in ("sinkhorn@all#pca", "wasserstein@all", "ks@all"):
        np.testing.assert_allclose(s.score(cells=s.cells, names=[metric])[metric].value, 0, atol=1e-3, err_msg=metric)


def test_a_distance_of_squares_sees_only_means(scene):
    """Squared Euclidean energy is twice the squared difference of means: blind to cells without any spread."""
    s = scene(n_cells=40)
    metrics = ["energy@all#pca", "energy.squared@all#pca"]
    flat = {i: np.tile(x.toarray().mean(axis=0), (len(x.toarray()), 1)) for i, x in s.cells.items()}
    values = s.score(cells=flat, names=metrics)
    room = s.score(cells={i: s.truth.cells.load_controls(0) for i in s.cells}, names=metrics)
    squared, plain = (values[m].value.mean() / room[m].value.mean() for m in reversed(metrics))
    assert squared < 0.2 < plain


def test_a_prediction_does_not_choose_the_bandwidth(scene):
    """A bandwidth of the pooled samples grows with a prediction that is spread wide, until the kernel sees no difference."""
    s = scene()
    cells = s.truth.cells
    wide = {i: x.toarray() * 6 for i, x in s.cells.items()}
    found = s.score(cells=wide, names=["mmd@all#pca"])["mmd@all#pca"].value

    def kernel(a, b, bandwidth):
        return np.exp(-np.sum((a[:, None].astype(float) - b[None]) ** 2, axis=2) / (2 * bandwidth**2))

    def discrepancy(x, y, bandwidth):
        own = (kernel(y, y, bandwidth).sum() - len(y)) / (len(y) * (len(y) - 1))
        return kernel(x, x, bandwidth).mean() + own - 2 * kernel(x, y, bandwidth).mean()

    for i, value in enumerate(found):
        x, y = cells.embed(wide[i].astype(np.float32)), cells.embedded(i)
        assert value == pytest.approx(discrepancy(x, y, cells.bandwidth), rel=1e-3)
        both = np.concatenate([x, y])
        own = np.median(np.linalg.norm(both[:, None] - both[None], axis=2)[np.triu_indices(len(both), 1)])
        assert own > 1.5 * cells.bandwidth and discrepancy(x, y, own) < value - 0.005, "what the defect would have given"


def test_nearly_constant_genes_do_not_explode(scene):
    """Gaussian divergences with 1e-8 added to variances were ruled by genes that nobody expresses."""
    s = scene(n_cells=40)
    quiet = {i: np.where(x.toarray().mean(axis=0) < 0.3, 0.0, x.toarray()) for i, x in s.cells.items()}
    noisy = {i: np.maximum(x.toarray() + np.random.default_rng(0).normal(0, 0.5, x.shape), 0) for i, x in s.cells.items()}
    for metric, info in CATALOGUE.items():
        if info.level == "perturbation" and info.direction == "down" and set(info.needs) == {"cells", "truth_cells"}:
            a, b = (s.score(cells=x, names=[metric])[metric].value for x in (quiet, noisy))
            assert np.isfinite(a[~np.isnan(a)]).all() and np.nanmean(a) < 20 * abs(np.nanmean(b)) + 1, metric


@pytest.mark.parametrize("metric", [m for m in CATALOGUE if m.endswith("#pca") and CATALOGUE[m].level == "perturbation"])
def test_no_prediction_moves_the_space(scene, metric):
    """Components fitted on truth and prediction together make a model's distances depend on its own cells."""
    s = scene()
    alone = s.score(cells=s.cells, names=[metric])[metric].value
    crowd = dict(s.cells)
    crowd[0] = s.cells[0].toarray() + 40
    np.testing.assert_array_equal(s.score(cells=crowd, names=[metric])[metric].value[1:], alone[1:])
