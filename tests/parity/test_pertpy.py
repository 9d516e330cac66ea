"""pertpy's ``Distance`` on the pairs (true cells, predicted cells): what its names mean in ours."""

from __future__ import annotations

import numpy as np
import pytest

pertpy = pytest.importorskip("pertpy", reason="pertpy is not installed: pip install 'pbench[parity]'")


@pytest.fixture(scope="module")
def distance(screen):
    """Values of one of pertpy's distances between true and predicted cells of each perturbation."""
    real, predicted = screen

    def run(metric, **options):
        measure = pertpy.tl.Distance(metric=metric, layer_key="counts")
        pairs = ((real.of(name), predicted.of(name)) for name in real.names)
        return np.array([float(measure(x.astype(np.float64), y.astype(np.float64), **options)) for x, y in pairs])

    return run


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("mse", "mse@all"),
        ("mean_absolute_error", "mae@all"),
        ("euclidean", "l2@all"),
    ],
)
def test_centroids(agree, distance, comparison, value, name, metric):
    agree("pertpy", f"{metric} = {name}", value(metric, comparison), distance(name), tolerance=1e-6)


def test_the_name_trap_of_the_root_mean_squared_error(agree, distance, comparison, value):
    """pertpy's ``root_mean_squared_error`` is the Euclidean norm: our ``l2``, and the square root of G times our ``rmse``."""
    theirs = distance("root_mean_squared_error")
    n_genes = len(comparison.truth.genes)
    agree("pertpy", "l2@all = root_mean_squared_error", value("l2@all", comparison), theirs, tolerance=1e-6)
    agree(
        "pertpy",
        "rmse@all = root_mean_squared_error / sqrt(G)",
        value("rmse@all", comparison),
        theirs / np.sqrt(n_genes),
        tolerance=1e-6,
    )
    assert not np.allclose(value("rmse@all", comparison), theirs, rtol=0.5)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("pearson_distance", "pearson_delta@all~ctrl"),
        ("spearman_distance", "spearman_delta@all~ctrl"),
        ("cosine_distance", "cosine_delta@all~ctrl"),
        ("r2_distance", "r2_delta@all~ctrl"),
    ],
)
def test_similarities_against_a_reference_of_zero(agree, distance, comparison, value, name, metric):
    """pertpy compares expression, not changes: our metric against a reference profile of zeros, one minus it."""
    from dataclasses import replace

    truth = comparison.truth
    zeros = replace(truth, references={"ctrl": np.zeros(truth.profiles.mean.shape)})
    ours = value(metric, replace(comparison, truth=zeros))
    agree("pertpy", f"{metric} against zeros = 1 - {name}", ours, 1 - distance(name), tolerance=1e-6)


def test_difference_a_correlation_of_expression_rewards_no_change(screen, comparison, value):
    """Controls given as the prediction are nearly perfect by a correlation of expression, and undefined by one of changes."""
    from dataclasses import replace

    real, _ = screen
    measure = pertpy.tl.Distance(metric="pearson_distance", layer_key="counts")
    theirs = [1 - measure(real.of(name), real.of("control")) for name in real.names]
    assert np.mean(theirs) > 0.7
    unchanged = replace(comparison, predicted=comparison.reference("ctrl"))
    assert np.isnan(value("pearson_delta@all~ctrl", unchanged)).all()


@pytest.fixture(scope="module")
def pairs(screen):
    """True and predicted cells of each perturbation as float64."""
    real, predicted = screen
    return [(real.of(name).astype(np.float64), predicted.of(name).astype(np.float64)) for name in real.names]


def within(x):
    """Mean distance over pairs of different cells."""
    from scipy.spatial.distance import pdist

    return pdist(x).mean()


def test_energy_distance(agree, distance, pairs):
    """pertpy divides sums within a sample by n^2 and not by n (n - 1): larger by the mean distance within over n, both sides."""
    from pbench.bench.kernels.pairwise import energy_distance

    ours = np.array([energy_distance(x, y) for x, y in pairs])
    surplus = np.array([within(x) / len(x) + within(y) / len(y) for x, y in pairs])
    agree("pertpy", "energy distance = edistance, less W_x / n + W_y / m", ours, distance("edistance") - surplus, tolerance=1e-6)


def test_energy_matrix(agree, screen):
    """All pairs in one call on both sides."""
    from scipy.spatial.distance import pdist

    from pbench.bench.kernels.pairwise import energy_distances, energy_matrix

    real, _ = screen
    adata = real.anndata(embedded=lambda X: X[:, :20].astype(np.float64))
    measure = pertpy.tl.Distance(metric="edistance", obsm_key="X_pca")
    theirs = measure.pairwise(adata, groupby="perturbation", show_progressbar=False, n_jobs=1)
    names, codes = np.unique(real.labels, return_inverse=True)
    points = adata.obsm["X_pca"]
    surplus = np.array([pdist(points[codes == g]).mean() / (codes == g).sum() for g in range(len(names))])
    converted = theirs.loc[names, names].to_numpy() - surplus - surplus[:, None]
    np.fill_diagonal(converted, 0.0)
    ours = energy_matrix(points, codes, len(names))
    agree("pertpy", "energy distances of all pairs = pairwise, less W / n of both", ours, converted, tolerance=1e-6)
    control = int(np.flatnonzero(names == "control")[0])
    ours = energy_distances(points, codes, len(names), control)
    agree("pertpy", "energy distances to control = pairwise, less W / n of both", ours, converted[control], tolerance=1e-6)


def test_difference_the_energy_distance_of_one_distribution_is_zero_on_average():
    """Two samples of one distribution: n^2 in the denominator makes a distance out of the sample sizes alone."""
    from pbench.bench.kernels.pairwise import energy_distance

    rng = np.random.default_rng(5)
    draws = [(rng.normal(size=(15, 10)), rng.normal(size=(15, 10))) for _ in range(200)]
    measure = pertpy.tl.Distance(metric="edistance", layer_key="counts")
    theirs = np.array([measure(x, y) for x, y in draws])
    ours = np.array([energy_distance(x, y) for x, y in draws])
    assert theirs.min() > 0
    assert abs(ours.mean()) < 3 * ours.std(ddof=1) / np.sqrt(len(ours))


def test_squared_energy_distance_sees_only_means(agree, pairs):
    """Power 2 is what scPerturb published; pertpy's linear MMD is half of it before the correction for sample sizes."""
    from pbench.bench.kernels.pairwise import energy_distance

    measure = pertpy.tl.Distance(metric="mmd", layer_key="counts")
    theirs = np.array([measure(x, y, kernel="linear") for x, y in pairs])
    noise = np.array([sum(z.var(axis=0, ddof=1).sum() / len(z) for z in pair) for pair in pairs])
    ours = np.array([energy_distance(x, y, power=2) for x, y in pairs])
    agree("pertpy", "squared energy distance = 2 (linear mmd - v_x / n - v_y / m)", ours, 2 * (theirs - noise), tolerance=1e-6)


def test_kernel_discrepancy(agree, pairs):
    """pertpy keeps the pairs of a cell with itself, each worth 1; gamma is 1 / (2 bandwidth^2)."""
    from pbench.bench.kernels.pairwise import mmd

    bandwidth = 6.0
    measure = pertpy.tl.Distance(metric="mmd", layer_key="counts")
    ours = np.array([mmd(x, y, bandwidth) for x, y in pairs])
    converted = []
    for x, y in pairs:
        biased = measure(x, y, kernel="rbf", gamma=1 / (2 * bandwidth**2))
        for z in (x, y):
            squared = ((z[:, None] - z) ** 2).sum(axis=2)
            mean = np.exp(-squared / (2 * bandwidth**2)).mean()
            biased += (mean * len(z) - 1) / (len(z) - 1) - mean
        converted.append(biased)
    agree("pertpy", "unbiased MMD = mmd with the pairs of a cell with itself taken out", ours, converted, tolerance=1e-6)


def test_difference_the_default_discrepancy_is_linear():
    """Two distributions of one mean: pertpy's ``mmd`` without a kernel cannot tell them apart, the RBF kernel can."""
    from pbench.bench.kernels.pairwise import mmd

    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(400, 5)), 3 * rng.normal(size=(400, 5))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    assert pertpy.tl.Distance(metric="mmd", layer_key="counts")(x, y) == pytest.approx(0, abs=1e-9)
    assert mmd(x, y, 3.0) > 0.05
