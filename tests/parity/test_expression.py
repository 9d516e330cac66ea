"""Differential expression metrics against cell-eval 0.8.2 and scPertEval 0.2.0.

Both tools are given the tests of ours, so that the metrics are compared and not the tests (test_rank_tests.py compares
those). Where the whole way from cells is the same, it is compared as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.metrics import CATALOGUE


def evaluate(real, predicted, folder):
    """Results of cell-eval's metrics of differential expression, by its own tests, sorted by perturbation."""
    cell_eval = pytest.importorskip("cell_eval", reason="cell-eval is not installed: pip install 'pbench[parity]'")
    options = {"control_pert": "control", "pert_col": "perturbation", "num_threads": 1, "outdir": str(folder)}
    evaluator = cell_eval.MetricsEvaluator(predicted.anndata(), real.anndata(), **options)
    return evaluator.compute(profile="de", write_csv=False)[0].sort("perturbation")


@pytest.fixture(scope="module")
def calls(comparison):
    """Our changes, p values and adjusted p values, of truth and prediction, each (n, G)."""
    from scipy.sparse import csr_matrix

    from pbench.bench.kernels.control_ranks import ControlRanks
    from pbench.models.welch import adjusted_p

    truth = comparison.truth
    controls = ControlRanks(csr_matrix(truth.cells.load_controls(0)))
    predicted = np.stack([controls.test(comparison.cells[i])[1] for i in range(len(truth.conditions))])
    # As ours does; see the difference about genes without variance.
    predicted[(comparison.variance == 0) & (truth.profiles.var > 0)] = 1.0
    control = comparison.reference("ctrl")
    return {
        "real": (comparison.expected - control, truth.cells.p, adjusted_p(np.nan_to_num(truth.cells.p, nan=1.0))),
        "pred": (comparison.predicted - control, predicted, adjusted_p(np.nan_to_num(predicted, nan=1.0))),
    }


@pytest.fixture(scope="module")
def tables(comparison, calls):
    """A cell-eval comparison of tests; `score` says what its areas under curves rank by."""
    pytest.importorskip("cell_eval", reason="cell-eval is not installed: pip install 'pbench[parity]'")
    import polars as pl
    from cell_eval._types import initialize_de_comparison

    names = [condition.label for condition in comparison.truth.conditions]
    genes = comparison.truth.genes.tolist()

    def table(change, p, fdr):
        return pl.DataFrame(
            {
                "target": np.repeat(names, len(genes)),
                "feature": genes * len(names),
                "log2_fold_change": change.ravel(),
                "p_value": np.nan_to_num(p, nan=1.0).ravel(),
                "fdr": fdr.ravel(),
            }
        )

    def build(score="fdr"):
        change, p, fdr = calls["pred"]
        pl.enable_string_cache()
        return initialize_de_comparison(table(*calls["real"]), table(change, p, p**0.1 if score == "p" else fdr))

    return build


@pytest.fixture(scope="module")
def theirs(tables, comparison):
    from cell_eval.metrics import metrics_registry

    names = [condition.label for condition in comparison.truth.conditions]

    def run(metric, score="fdr"):
        found = metrics_registry.compute(metric, tables(score))
        return np.array([found[name] for name in names]) if isinstance(found, dict) else np.array([found])

    return run


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("de_overlap.n@all~ctrl#cells", "overlap_at_N"),
        ("de_overlap.k50@all~ctrl#cells", "overlap_at_50"),
        ("de_recall@all~ctrl#cells", "de_sig_genes_recall"),
        ("de_sign_agreement@deg~ctrl", "de_direction_match"),
        ("de_lfc_spearman@deg~ctrl", "de_spearman_lfc_sig"),
        ("de_count_spearman@all~ctrl#cells", "de_spearman_sig"),
    ],
)
def test_cell_eval(agree, theirs, comparison, value, metric, column):
    """Changes are differences of mean log1p on both sides here, in float32 in their tables."""
    ours = value(metric, comparison)
    assert np.ptp(ours) > 0 or len(ours) == 1
    agree("cell-eval", f"{metric} = {column}", ours, theirs(column), tolerance=1e-6)


@pytest.mark.parametrize(("metric", "column"), [("auprc", "pr_auc"), ("auroc", "roc_auc")])
def test_areas_under_curves(agree, theirs, comparison, value, metric, column):
    """Ranked by the p value before adjustment on both sides, theirs through a root that keeps it above their floor of 1e-10."""
    ours, found = value(f"de_{metric}@all~ctrl#cells", comparison), theirs(column, "p")
    agree("cell-eval", f"de_{metric}#cells = {column} of unadjusted p", ours, found, tolerance=1e-5)


def test_counts_from_cells_to_metric(agree, screen, comparison, value, tmp_path):
    """Nothing of ours is handed over: pdex tests, cell-eval counts. Where no gene is without variance; see below."""
    found = evaluate(*screen, tmp_path)
    varied = (comparison.variance > 0).all(axis=1)
    assert varied.sum() >= 6
    ratio = (found["de_nsig_counts_pred"] / found["de_nsig_counts_real"]).to_numpy()
    for metric, theirs in {"de_count_ratio": ratio, "de_recall": found["de_sig_genes_recall"].to_numpy()}.items():
        ours = value(f"{metric}@all~ctrl#cells", comparison)
        agree("cell-eval", f"{metric}, from cells", ours[varied], theirs[varied], tolerance=1e-9)


def test_difference_a_gene_without_variance_is_not_called(screen, compare, value, with_cells, tmp_path):
    """One gene, expressed in the truth and zero in all predicted cells: a rank test against control calls it with certainty.

    A gene that does not vary among cells is a sign that the cells are copies of a mean, and no evidence for a change.
    """
    real, predicted = screen
    g = int(np.argmax(real.X.mean(axis=0)))
    silent = predicted.X.copy()
    silent[predicted.labels != "control", g] = 0
    silenced = with_cells(predicted, X=silent)
    theirs = (
        evaluate(real, silenced, tmp_path)["de_nsig_counts_pred"] - evaluate(real, predicted, tmp_path)["de_nsig_counts_pred"]
    )
    assert theirs.mean() > 0.5
    p, q = (compare(real, cells) for cells in (predicted, silenced))
    ours = value("de_count_ratio@all~ctrl#cells", q) - value("de_count_ratio@all~ctrl#cells", p)
    assert (ours <= 1e-12).all()


def test_scperteval(agree, calls, comparison, value):
    """Their areas take any ranking: unadjusted p of the predicted cells for ``cells``, scaled changes for ``score``."""
    pytest.importorskip("scperteval", reason="scperteval is not installed: pip install 'pbench[parity]'")
    from scperteval.protocols.metrics import de_auprc, de_auroc
    from scperteval.types import PerturbationDEResult

    change, p, fdr = calls["real"]
    truths = [PerturbationDEResult(statistic=c, pvalue=q, pvalue_adj=f) for c, q, f in zip(change, p, fdr, strict=True)]
    guess, predicted_p, _ = calls["pred"]
    rankings = {"cells": -np.log10(predicted_p), "score": np.abs(guess) / np.sqrt(comparison.truth.controls.var[0])}
    for name, function in (("auprc", de_auprc), ("auroc", de_auroc)):
        for source, ranking in rankings.items():
            theirs = [function(t, np.nan_to_num(r), None) for t, r in zip(truths, ranking, strict=True)]
            ours = value(f"de_{name}@all~ctrl#{source}", comparison)
            agree("scperteval", f"de_{name}#{source} = de_{name}", ours, theirs, tolerance=1e-6)


def test_precision_where_more_is_called_than_there_is(agree, theirs, comparison, value):
    """Theirs shortens the list of true genes to as many as are called; where at least as many are called it stays whole."""
    ours = value("de_precision@all~ctrl#cells", comparison)
    enough = value("de_count_ratio@all~ctrl#cells", comparison) >= 1
    assert enough.any() and not enough.all()
    agree(
        "cell-eval",
        "de_precision = precision_at_N where Shat >= S",
        ours[enough],
        theirs("precision_at_N")[enough],
        tolerance=1e-6,
    )


def test_difference_precision_is_against_all_called_genes_of_the_truth(theirs, comparison, value):
    """Calling fewer genes, each of them right, is a precision of 1; cell-eval counts the weaker true genes as wrong."""
    ours = value("de_precision@all~ctrl#cells", comparison)
    fewer = value("de_count_ratio@all~ctrl#cells", comparison) < 1
    assert (ours[fewer] >= theirs("precision_at_N")[fewer] - 1e-9).all()
    assert (ours[fewer] > theirs("precision_at_N")[fewer] + 0.05).any()


def test_difference_areas_rank_by_unadjusted_p_values(theirs, comparison, value):
    """Adjusted p values are tied in blocks, and below 1e-10 all are one block: the order within is lost."""
    ours, clipped = value("de_auprc@all~ctrl#cells", comparison), theirs("pr_auc")
    assert np.abs(ours - clipped).max() > 1e-3


def test_difference_without_called_genes_nothing_is_scored(screen, compare, with_cells, tmp_path):
    """No effect at all and a perfect prediction: cell-eval gives an overlap of 0, as to the worst model. Ours is undefined."""
    real, _ = screen
    rng = np.random.default_rng(11)
    controls = real.of("control")
    X = controls[rng.integers(0, len(controls), len(real.X))]
    null = with_cells(real, X=X)
    found = evaluate(null, null, tmp_path)
    none = found["de_nsig_counts_real"].to_numpy() == 0
    assert none.any()
    assert (found["overlap_at_N"].to_numpy()[none] == 0).all()
    ours = CATALOGUE["de_overlap.n@all~ctrl#cells"](compare(null, null))
    assert np.isnan(ours.value[none]).all()
    assert set(ours.reason[none]) == {"no_deg"}


def test_difference_cells_without_variance_call_nothing(screen, compare, with_cells, tmp_path):
    """All predicted cells equal to the mean of the data: a rank test calls nearly half of the genes. Ours is undefined."""
    real, _ = screen
    mean = real.X.mean(axis=0)
    constant = with_cells(real, X=np.where((real.labels == "control")[:, None], real.X, mean))
    found = evaluate(real, constant, tmp_path)
    called = found["de_nsig_counts_pred"].to_numpy() / len(real.genes)
    assert called.min() > 0.4, "nearly half of all genes, whatever the perturbation"
    for metric in ("de_recall", "de_overlap.n", "de_auprc"):
        ours = CATALOGUE[f"{metric}@all~ctrl#cells"](compare(real, constant))
        assert np.isnan(ours.value).all(), metric
        assert set(ours.reason) == {"zero_variance"}, metric


def test_difference_more_cells_do_not_call_more_genes(screen, compare, value, with_cells, tmp_path):
    """Eight copies of every predicted cell call many more genes in cell-eval; here they are the same evidence."""
    real, predicted = screen
    times = np.where(predicted.labels == "control", 1, 8)
    copied = with_cells(predicted, X=predicted.X.repeat(times, axis=0), labels=predicted.labels.repeat(times))
    counts = [evaluate(real, cells, tmp_path)["de_nsig_counts_pred"].sum() for cells in (predicted, copied)]
    assert counts[1] > 1.3 * counts[0]
    for metric in ("de_count_ratio", "de_overlap.n", "de_auprc"):
        ours = [value(f"{metric}@all~ctrl#cells", compare(real, cells)) for cells in (predicted, copied)]
        np.testing.assert_allclose(ours[0], ours[1], atol=1e-12, err_msg=metric)


def test_difference_the_size_of_a_change_is_a_difference_of_mean_log1p(calls, screen):
    """pdex takes the log of the ratio of back-transformed means: genes that few cells express get the largest changes."""
    pdex = pytest.importorskip("pdex", reason="pdex is not installed: pip install 'pbench[parity]'")
    real, _ = screen
    table = pdex.pdex(
        real.anndata(), groupby="perturbation", mode="ref", reference="control", is_log1p=True, threads=1, epsilon=0.0
    )
    theirs = table["log2_fold_change"].to_numpy().reshape(len(real.names), -1)
    ours, _, _ = calls["real"]
    x, control = real.means(), real.of("control").mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(theirs, np.log2(np.expm1(x) / np.expm1(control)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours, x - control, atol=1e-5)
    rare = (real.of("control") > 0).mean(axis=0) < 0.4
    assert (
        np.abs(theirs[:, rare]).mean() / np.abs(theirs[:, ~rare]).mean()
        > 1.5 * np.abs(ours[:, rare]).mean() / np.abs(ours[:, ~rare]).mean()
    )


def test_the_number_of_predicted_cells_is_that_of_the_truth(screen, comparison):
    """The comparisons above are of all predicted cells: none is left out for being more than the truth has."""
    real, predicted = screen
    assert [len(real.of(n)) for n in real.names] == [len(predicted.of(n)) for n in predicted.names]
    assert replace(comparison, variance=None).cells.keys() == comparison.cells.keys()
