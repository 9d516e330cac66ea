"""scPertEval 0.2.0 through its Python interface, on the protocols whose formulas it shares with us."""

from __future__ import annotations

import numpy as np
import pytest

scperteval = pytest.importorskip("scperteval", reason="scperteval is not installed: pip install 'pbench[parity]'")

#: Means of float32 cells are float32 on their side.
SINGLE = 2e-5


@pytest.fixture(scope="module")
def prepared(screen):
    protocols = ["mse", "pearson_ctrl", "rank"]
    return scperteval.prepare(screen[0].anndata(), protocols, min_cells=5, workers=1)


@pytest.fixture(scope="module")
def theirs(prepared, screen):
    def run(protocol, predicted=None, **options):
        adata = (predicted or screen[1]).anndata()
        table = scperteval.score(prepared, protocol, adata, **options).per_perturbation
        return table.sort_values("perturbation")["raw_prediction"].to_numpy(dtype=np.float64)

    return run


@pytest.mark.parametrize(
    ("protocol", "metric"),
    [
        ("mse", "mse@all"),
        ("pearson_ctrl", "pearson_delta@all~ctrl"),
        ("r2_ctrl", "r2_delta@all~ctrl"),
        ("pearson_pert", "pearson_delta@all~loo"),
        ("r2_pert", "r2_delta@all~loo"),
    ],
)
def test_centroids(agree, theirs, comparison, value, protocol, metric):
    """Their ``pert`` reference leaves the scored perturbation out: our ``loo``."""
    if protocol.endswith("pert"):
        truth = comparison.truth
        others = (truth.profiles.mean.sum(axis=0, dtype=np.float64) - truth.profiles.mean) / (len(truth.conditions) - 1)
        np.testing.assert_allclose(truth.references["loo"], others, atol=1e-5)
    agree("scperteval", f"{metric} = {protocol}", value(metric, comparison), theirs(protocol), tolerance=SINGLE)


@pytest.mark.parametrize(
    ("protocol", "metric"),
    [
        ("wmse_exp2", "wmse@all"),
        ("weighted_pearson_ctrl_exp2", "weighted_pearson_delta@all~ctrl"),
        ("weighted_r2_ctrl_exp2", "weighted_r2_delta@all~ctrl"),
    ],
)
def test_weighted(agree, theirs, comparison, value, protocol, metric):
    """With the test of Mejia et al., which is ours; scPertEval's default is Welch's with both numbers of cells."""
    found = theirs(protocol, de_method="t-test_overestim_var")
    agree("scperteval", f"{metric} = {protocol}, overestimated variance", value(metric, comparison), found, tolerance=SINGLE)
    assert not np.allclose(found, theirs(protocol), rtol=1e-3)


def test_retrieval(agree, theirs, comparison, value):
    """Their ``rank`` is 0 at best and ranks predictions; NIR and ``transpose_rank`` rank truths; all over N - 1."""
    truths, predictions = (value(f"retrieval.{kind}@all~ctrl#l2", comparison) for kind in ("truths", "predictions"))
    assert truths.min() < 1 and predictions.min() < 1
    agree("scperteval", "retrieval.truths#l2 = nir", truths, theirs("nir"), tolerance=1e-9)
    agree("scperteval", "retrieval.truths#l2 = 1 - transpose_rank", truths, 1 - theirs("transpose_rank"), tolerance=1e-9)
    agree("scperteval", "retrieval.predictions#l2 = 1 - rank", predictions, 1 - theirs("rank"), tolerance=1e-9)


def test_difference_ties_are_broken_by_noise_there(theirs, screen, compare, value, with_cells):
    """Of equal predictions, theirs puts one first and another last with the same seeded noise every time; ours are all 0.5."""
    real, predicted = screen
    constant = with_cells(predicted, X=np.tile(predicted.X.mean(axis=0), (len(predicted.X), 1)))
    broken = theirs("rank", constant)
    assert broken.max() - broken.min() > 0.5
    np.testing.assert_array_equal(value("retrieval.predictions@all~ctrl#l2", compare(real, constant)), 0.5)


CONTROLS = {
    "up": (np.array([0.9, 0.4, 0.6, 0.2, 0.75, 0.5]), np.array([0.2, 0.6, 0.6, 0.1, 0.3, 0.45]), 1.0),
    "down": (np.array([0.1, 0.4, 0.3, 0.8, 0.2, 0.5]), np.array([0.5, 0.3, 0.35, 0.9, 0.9, 1.4]), 0.0),
}


@pytest.mark.parametrize("direction", CONTROLS)
def test_dynamic_range_fraction(agree, direction):
    """Equal up to the 1e-6 that they add to the denominator."""
    from scperteval.calibrators import CALIBRATORS
    from scperteval.protocols.table import PROTOCOLS

    from pbench.bench.engine.calibration import calibrate

    protocol = PROTOCOLS["pearson" if direction == "up" else "mse"]
    positive, negative, perfect = CONTROLS[direction]
    assert protocol.perfect == perfect
    pairs = [{"positive": p, "negative": n} for p, n in zip(positive, negative, strict=True)]
    theirs = CALIBRATORS["drf"].aggregate(np.array([CALIBRATORS["drf"].per_pert(pair, protocol) for pair in pairs]))
    found = calibrate(positive, negative, direction=direction, perfect=perfect, n_boot=10)
    agree("scperteval", f"dynamic range fraction, {direction}", [found.drf], [theirs["mean"]], tolerance=1e-5)


@pytest.mark.parametrize("direction", CONTROLS)
def test_share_of_wins(agree, direction):
    """Ties count half here and as a loss there; the difference is half of the ties (one of six for ``up``)."""
    from scperteval.calibrators import CALIBRATORS
    from scperteval.protocols.table import PROTOCOLS

    from pbench.bench.engine.calibration import calibrate

    protocol = PROTOCOLS["pearson" if direction == "up" else "mse"]
    positive, negative, perfect = CONTROLS[direction]
    pairs = [{"positive": p, "negative": n} for p, n in zip(positive, negative, strict=True)]
    theirs = np.mean([CALIBRATORS["bds"].per_pert(pair, protocol) for pair in pairs])
    ties = np.mean(positive == negative)
    found = calibrate(positive, negative, direction=direction, perfect=perfect, n_boot=10)
    agree("scperteval", f"share of wins, {direction}", [found.bds - ties / 2], [theirs], tolerance=1e-12)


def test_difference_fractions_are_not_clipped():
    """A positive control that is far worse than the negative one counts in full; clipping at -1 hides how much worse."""
    from scperteval.calibrators import CALIBRATORS
    from scperteval.protocols.table import PROTOCOLS

    from pbench.bench.engine.calibration import calibrate

    positive, negative = np.array([5.0, 0.1, 0.1, 0.1, 0.1]), np.array([1.0, 1.0, 1.0, 1.0, 1.0])
    pairs = [{"positive": p, "negative": n} for p, n in zip(positive, negative, strict=True)]
    theirs = np.mean([CALIBRATORS["drf"].per_pert(pair, PROTOCOLS["mse"]) for pair in pairs])
    ours = calibrate(positive, negative, direction="down", perfect=0.0, n_boot=10).drf
    assert theirs == pytest.approx((-1 + 4 * 0.9) / 5, abs=1e-5)
    assert ours == pytest.approx((-4 + 4 * 0.9) / 5, abs=1e-12)


def test_difference_an_undefined_control_is_no_loss():
    """A NaN on one side loses the comparison there; here the pair is dropped."""
    from scperteval.calibrators import CALIBRATORS
    from scperteval.protocols.table import PROTOCOLS

    from pbench.bench.engine.calibration import calibrate

    positive, negative = np.array([0.9, np.nan, 0.8, 0.9, 0.7, 0.9]), np.full(6, 0.5)
    pairs = [{"positive": p, "negative": n} for p, n in zip(positive, negative, strict=True)]
    assert np.mean([CALIBRATORS["bds"].per_pert(pair, PROTOCOLS["pearson"]) for pair in pairs]) == pytest.approx(5 / 6)
    assert calibrate(positive, negative, direction="up", perfect=1.0, n_boot=10).bds == 1.0


@pytest.fixture(scope="module")
def pairs(screen):
    real, predicted = screen
    return [(real.of(name), predicted.of(name)) for name in real.names]


def test_energy_distance(agree, theirs, pairs):
    """Over all genes, which ``top_k`` with k = G is."""
    from pbench.bench.kernels.pairwise import energy_distance

    n_genes = pairs[0][0].shape[1]
    ours = [energy_distance(x, y) for x, y in pairs]
    agree(
        "scperteval", "energy distance = energy_distance_top_k", ours, theirs(f"energy_distance_top_k={n_genes}"), tolerance=1e-6
    )


def test_kernel_discrepancy(agree, theirs, pairs):
    """With their bandwidth: the median distance of truth and prediction together."""
    from scipy.spatial.distance import pdist

    from pbench.bench.kernels.pairwise import mmd

    n_genes = pairs[0][0].shape[1]
    ours = [mmd(x, y, float(np.median(pdist(np.concatenate([x, y]).astype(np.float64))))) for x, y in pairs]
    agree(
        "scperteval", "unbiased MMD = unbiased_mmd_median", ours, theirs(f"unbiased_mmd_median_top_k={n_genes}"), tolerance=1e-6
    )


def test_difference_a_prediction_cannot_choose_the_bandwidth():
    """Three times the spread of the truth widens a pooled bandwidth and is rewarded; with the truth's own it is punished."""
    from scperteval.protocols.metrics import unbiased_mmd_median

    from pbench.bench.kernels.pairwise import median_distance, mmd

    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 300, 5))
    honest, inflated = 1 + noise, 1 + 3 * noise
    assert unbiased_mmd_median(truth, inflated, None) < unbiased_mmd_median(truth, honest, None)
    bandwidth = median_distance(truth)
    assert mmd(truth, inflated, bandwidth) > 1.5 * mmd(truth, honest, bandwidth)
