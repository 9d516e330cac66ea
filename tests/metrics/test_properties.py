"""What holds for every metric of centroids; the other families have such tests of their own, and `tests/regressions` for all."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.metrics import FAMILIES, PROFILES

CATALOGUE = {
    m.id: m for family in ("pointwise", "delta", "retrieval", "weighted") for m in FAMILIES[family] if m.needs == ("means",)
}
REASONS = {"absent", "too_few_genes", "too_few_conditions", "zero_variance"}
shapes = st.tuples(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([1, 2, 19, 21, 55, 70]), st.integers(1, 3))
few = settings(max_examples=12, deadline=None)


def everything(truth, predicted):
    comparison = Comparison(truth, predicted)
    return {name: metric(comparison) for name, metric in CATALOGUE.items()}


def reordered(truth, rows, columns):
    """The same truth with conditions and genes in another order."""
    position = np.argsort(columns)
    profiles = truth.profiles
    moved = Profiles(
        tuple(profiles.conditions[i] for i in rows),
        profiles.mean[np.ix_(rows, columns)],
        profiles.var[np.ix_(rows, columns)],
        profiles.n_cells[rows],
    )
    return replace(
        truth,
        genes=truth.genes[columns],
        profiles=moved,
        references={name: r[np.ix_(rows, columns)] for name, r in truth.references.items()},
        de_order=np.where(truth.de_order < 0, -1, position[truth.de_order])[rows],
        target_genes=tuple(tuple(int(position[g]) for g in truth.target_genes[i]) for i in rows),
    )


@few
@given(shapes)
def test_a_perfect_prediction_is_perfect_or_undefined_with_a_reason(random_screen, shape):
    truth, _ = random_screen(*shape)
    for name, values in everything(truth, truth.profiles.mean.astype(np.float64)).items():
        defined = ~np.isnan(values.value)
        # Retrieval among changes of one gene cannot be perfect for the cosine: every change points up or down.
        if not (name.endswith("#cosine") and len(truth.genes) <= 4):
            np.testing.assert_allclose(values.value[defined], CATALOGUE[name].perfect, atol=1e-12, err_msg=name)
        assert set(values.reason[~defined]) <= REASONS


@few
@given(shapes)
def test_values_stay_in_range_and_only_undefined_ones_have_a_reason(random_screen, shape):
    truth, predicted = random_screen(*shape)
    predicted[:: max(2, shape[0] % 5)] = np.nan
    for name, values in everything(truth, predicted).items():
        undefined = np.isnan(values.value)
        assert values.value.shape == values.reason.shape == (len(truth.conditions),)
        np.testing.assert_array_equal(values.reason != "", undefined)
        assert set(values.reason[undefined]) <= REASONS
        assert ((values.value[~undefined] >= CATALOGUE[name].lower) & (values.value[~undefined] <= CATALOGUE[name].upper)).all()
        assert (values.reason[np.isnan(predicted).any(axis=1)] == "absent").all()


@few
@given(shapes, st.randoms(use_true_random=False))
def test_the_order_of_genes_and_conditions_does_not_matter(random_screen, shape, random):
    truth, predicted = random_screen(*shape)
    rows, columns = (np.array(random.sample(range(k), k)) for k in predicted.shape)
    before = everything(truth, predicted)
    after = everything(reordered(truth, rows, columns), predicted[np.ix_(rows, columns)])
    for name in CATALOGUE:
        np.testing.assert_allclose(after[name].value, before[name].value[rows], rtol=1e-9, atol=1e-9, err_msg=name)
        assert after[name].reason.tolist() == before[name].reason[rows].tolist()


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_effect_free_screen_is_undefined_never_zero(make_truth, name):
    """A truth without any change: only errors of the values themselves, and retrieval by distances that tie, have a value."""
    ctrl = np.random.default_rng(15).gamma(1.0, size=60)
    truth = make_truth(np.tile(ctrl, (4, 1)), ctrl)
    values = CATALOGUE[name](Comparison(truth, truth.profiles.mean.astype(np.float64)))
    if "~" in name and not name.endswith(("#l1", "#l2")) or name.startswith("nmse"):
        assert values.reason.tolist() == ["zero_variance"] * 4
    else:
        assert (values.value == (0.5 if name.startswith("retrieval") else CATALOGUE[name].perfect)).all()


def test_a_constant_prediction_wins_no_headline(random_screen):
    truth, predicted = random_screen(16, n=30)
    constant = np.tile(truth.profiles.mean.mean(axis=0, dtype=np.float64), (30, 1))
    good, dull = everything(truth, predicted), everything(truth, constant)
    for name in set(PROFILES["headline"]) & set(CATALOGUE):
        distances = [
            abs(v.value - CATALOGUE[name].perfect).mean() if np.isfinite(v.value).all() else np.inf
            for v in (good[name], dull[name])
        ]
        assert distances[0] < distances[1], name


def test_inputs_are_left_alone_and_precision_does_not_matter(random_screen):
    truth, predicted = random_screen(17)
    inputs = [predicted, truth.profiles.mean, *truth.references.values(), truth.de_order]
    copies = [a.copy() for a in inputs]
    wide, narrow = everything(truth, predicted), everything(truth, predicted.astype(np.float32))
    for array, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for name in CATALOGUE:
        np.testing.assert_array_equal(wide[name].value, narrow[name].value)


def test_results_depend_neither_on_the_hash_seed_nor_on_threads():
    code = """
import hashlib
import numpy as np
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.metric import Comparison
from pbench.bench.contracts.training import Profiles
from pbench.bench.contracts.truth import Truth
from pbench.metrics import CATALOGUE
rng = np.random.default_rng(0)
mean, ctrl = rng.gamma(1.0, size=(20, 90)).astype(np.float32), rng.gamma(1.0, size=(20, 90))
profiles = Profiles(tuple(Condition((f"P{i}",), context="ab"[i % 2]) for i in range(20)), mean, mean, np.full(20, 30))
order = np.argsort(-abs(mean - ctrl), axis=1)
targets = tuple((i, i + 1) for i in range(20))
references = dict(ctrl=ctrl, pert=ctrl + 1, loo=ctrl * 2)
truth = Truth(np.arange(90).astype(str), profiles, profiles, references, order, targets, (profiles,) * 2)
comparison = Comparison(truth, rng.gamma(1.0, size=(20, 90)))
print(hashlib.sha256(b"".join(m(comparison).value.tobytes() for m in CATALOGUE.values())).hexdigest())
"""
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("0", "1"), ("1", "8"))
    ]
    assert digests[0] == digests[1] and len(digests[0].strip()) == 64
