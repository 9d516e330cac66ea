"""Mann-Whitney and Welch tests against scipy, scanpy, pdex (which cell-eval uses) and illico (which scperteval uses)."""

from __future__ import annotations

import numpy as np
import pytest

from pbench.bench.kernels.rank_sum import rank_sum


@pytest.fixture(scope="module")
def cells(screen):
    return screen[0]


@pytest.fixture(scope="module")
def ours(cells):
    """Results by perturbation and gene with and without continuity correction; the control's own row left out."""
    from scipy.sparse import csr_matrix

    names, codes = np.unique(cells.labels, return_inverse=True)
    control = int(np.flatnonzero(names == "control")[0])
    rows = np.flatnonzero(names != "control")

    def run(**options):
        result = rank_sum(csr_matrix(cells.X), codes, len(names), control, **options)
        return result.p[rows], result.auc[rows]

    return run


def test_scipy(agree, ours, cells):
    from scipy.stats import mannwhitneyu

    # In float64: scipy computes in the precision of its samples.
    control = cells.of("control").astype(np.float64)
    for continuity in (True, False):
        p, auc = ours(continuity=continuity)
        theirs = [
            mannwhitneyu(cells.of(name).astype(np.float64), control, method="asymptotic", use_continuity=continuity)
            for name in cells.names
        ]
        note = "with" if continuity else "without"
        agree("scipy", f"Mann-Whitney p, {note} continuity correction", p, [t.pvalue for t in theirs], tolerance=1e-12)
    pairs = [len(cells.of(name)) * len(control) for name in cells.names]
    superiority = [t.statistic / n for t, n in zip(theirs, pairs, strict=True)]
    agree("scipy", "probability of superiority = U / nm", auc, superiority, tolerance=1e-7)


def ranked_genes(cells, method, **options):
    """p and score of scanpy by perturbation, in the order of the genes."""
    sc = pytest.importorskip("scanpy", reason="scanpy is not installed: pip install 'pbench[parity]'")
    adata = cells.anndata()
    sc.tl.rank_genes_groups(adata, "perturbation", reference="control", method=method, **options)
    found = {key: [] for key in ("scores", "pvals", "pvals_adj")}
    for name in cells.names:
        table = sc.get.rank_genes_groups_df(adata, name).set_index("names").loc[cells.genes]
        for key in found:
            found[key].append(table[key].to_numpy())
    return {key: np.stack(rows) for key, rows in found.items()}


def test_scanpy_wilcoxon(agree, ours, cells):
    """scanpy corrects for ties on request and never for continuity."""
    theirs = ranked_genes(cells, "wilcoxon", tie_correct=True)
    p, auc = ours(continuity=False)
    agree("scanpy", "Mann-Whitney p = wilcoxon with tie_correct", p, theirs["pvals"], tolerance=1e-6)
    np.testing.assert_array_equal(np.sign(theirs["scores"]), np.sign(auc.astype(np.float64) - 0.5))


def test_difference_scanpy_does_not_correct_for_ties_by_default(ours, cells):
    """With 60 % zeros the variance without tie correction is too large, and p values are too large: power is lost."""
    uncorrected = ranked_genes(cells, "wilcoxon")["pvals"]
    corrected, _ = ours(continuity=False)
    assert (uncorrected >= corrected - 1e-9).all()
    many_zeros = (cells.X == 0).mean(axis=0) > 0.8
    assert np.median(uncorrected[:, many_zeros] / corrected[:, many_zeros]) > 1.2


def test_scanpy_t_test(agree, cells, comparison):
    from pbench.bench.engine.statistics import welch_t
    from pbench.models.welch import adjusted_p, welch_p

    theirs = ranked_genes(cells, "t-test")
    truth = comparison.truth
    t = welch_t(truth.profiles, truth.controls, truth.control_rows)
    agree("scanpy", "Welch t = t-test", t, theirs["scores"], tolerance=1e-5)
    p = welch_p(truth.profiles, truth.controls)
    agree("scanpy", "Welch p = t-test", p, theirs["pvals"], tolerance=1e-5)
    agree("scanpy", "Benjamini-Hochberg within a perturbation", adjusted_p(p), theirs["pvals_adj"], tolerance=1e-5)


def test_pdex(agree, ours, cells):
    pdex = pytest.importorskip("pdex", reason="pdex is not installed: pip install 'pbench[parity]'")
    table = pdex.pdex(cells.anndata(), groupby="perturbation", mode="ref", reference="control", is_log1p=True, threads=1)
    by_name = {key[0]: frame for key, frame in table.group_by("target")}
    theirs = np.stack([by_name[name].sort("feature")["p_value"].to_numpy() for name in cells.names])
    p, _ = ours(continuity=True)
    # A gene whose values are all tied cannot be tested: undefined here, 1 there.
    assert (theirs[np.isnan(p)] == 1).all()
    agree("pdex", "Mann-Whitney p", np.nan_to_num(p, nan=1.0), theirs, tolerance=1e-9)


@pytest.fixture(scope="module")
def by_illico(cells):
    """p and U of illico by perturbation and gene."""
    illico = pytest.importorskip("illico", reason="illico is not installed: pip install 'pbench[parity]'")
    table = illico.asymptotic_wilcoxon(
        cells.anndata(), is_log1p=True, group_keys="perturbation", reference="control", n_threads=1
    )
    return [np.stack([table.loc[name].loc[cells.genes, key] for name in cells.names]) for key in ("p_value", "statistic")]


def test_illico(agree, ours, cells, by_illico):
    p, auc = ours(continuity=True)
    theirs, u = by_illico
    pairs = np.array([[len(cells.of(name)) * len(cells.of("control"))] for name in cells.names])
    agree("illico", "probability of superiority = U / nm", auc, u / pairs, tolerance=1e-7)
    beyond = np.abs(u - pairs / 2) >= 0.5
    assert beyond.mean() > 0.9
    agree("illico", "Mann-Whitney p", np.nan_to_num(p[beyond], nan=1.0), np.nan_to_num(theirs[beyond], nan=1.0), tolerance=1e-9)


def test_difference_a_continuity_correction_does_not_overshoot(ours, cells, by_illico):
    """Where U is within 0.5 of its mean, illico corrects past it and p falls below 1; scipy and we stop at 1."""
    p, _ = ours(continuity=True)
    theirs, u = by_illico
    pairs = np.array([[len(cells.of(name)) * len(cells.of("control"))] for name in cells.names])
    within = (np.abs(u - pairs / 2) < 0.5) & ~np.isnan(p)
    assert within.any()
    np.testing.assert_array_equal(p[within], 1.0)
    assert theirs[within].min() < 1
