"""Welch's test and the correction for many genes against scipy on the cells and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_ind

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError
from pbench.bench.contracts.training import Profiles
from pbench.models.welch import adjusted_p, welch_p


def profiles(conditions, cells):
    var = [x.var(axis=0, ddof=1) if len(x) > 1 else np.zeros(x.shape[1]) for x in cells]
    return Profiles(
        tuple(conditions), np.array([x.mean(axis=0) for x in cells]), np.array(var), np.array([len(x) for x in cells])
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000))
def test_p_values_are_those_of_scipy_on_the_cells(n, m, seed):
    rng = np.random.default_rng(seed)
    perturbed = [rng.normal(0.3, rng.uniform(0.1, 3, 6), size=(n, 6)) for _ in "ab"]
    controls = [rng.normal(0, 1, size=(m, 6)) for _ in "ab"]
    p = welch_p(
        profiles([Condition(("X",), context=c) for c in "ba"], perturbed),
        profiles([Condition(context=c) for c in "ab"], controls),
    )
    np.testing.assert_allclose(p[0], ttest_ind(perturbed[0], controls[1], equal_var=False).pvalue, rtol=1e-6)
    np.testing.assert_allclose(p[1], ttest_ind(perturbed[1], controls[0], equal_var=False).pvalue, rtol=1e-6)


def test_nothing_to_test_is_one_and_a_certain_difference_is_zero():
    controls = profiles([Condition()], [np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])])
    certain = profiles([Condition(("X",))], [np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 5.0]])])
    p = welch_p(certain, controls)[0]
    assert p[0] == 1
    assert p[1] == 0
    assert p[2] == pytest.approx(ttest_1samp([1, 2], 5).pvalue)
    one_cell = profiles([Condition(("X",))], [np.array([[9.0, 9.0, 9.0]])])
    assert welch_p(one_cell, controls).tolist() == [[1, 1, 1]]


def test_a_context_without_control_cells_is_an_error():
    a = profiles([Condition(("X",), context="a")], [np.zeros((2, 1))])
    b = profiles([Condition(context="b")], [np.zeros((2, 1))])
    with pytest.raises(DataError, match="context=a"):
        welch_p(a, b)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_correction_is_the_step_up_procedure(n, seed):
    p = np.random.default_rng(seed).uniform(size=(3, n)) ** 3
    for row, adjusted in zip(p, adjusted_p(p), strict=True):
        order = np.argsort(row)
        naive = [min(1.0, min(row[order[j]] * n / (j + 1) for j in range(i, n))) for i in range(n)]
        np.testing.assert_allclose(adjusted[order], naive)


def test_correction_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(size=(4, 50)) ** 2
    for row, adjusted in zip(p, adjusted_p(p), strict=True):
        np.testing.assert_allclose(adjusted, multitest.multipletests(row, method="fdr_bh")[1])
    assert adjusted_p(np.empty((0, 3))).shape == (0, 3)
