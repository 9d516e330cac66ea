"""Split generators: every condition has one role, what must be unseen is unseen, and order does not matter."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.registry import splits
from pbench.bench.contracts.split import SplitManifest
from pbench.datasets.splits import CATALOGUE
from pbench.datasets.splits.applicable import applicable

FOR_RICH = ("doubles", "perturbench-combo", "gears-simulation", "unseen-single", "unseen-context", "unseen-both")
ALL = (*FOR_RICH, "time-extrapolation", "dose-extrapolation", "units", "iid")


@pytest.fixture
def screen_of(rich, timed, dosed):
    return lambda name: {"time-extrapolation": timed, "dose-extrapolation": dosed}.get(name, rich)


def make(name, screen, **params):
    if name in ("iid", "units"):
        params.setdefault("min_cells", 2)
    return splits.get(name)(screen, data_id="0" * 64, **params)


def by_role(manifest):
    return Counter(manifest.roles.values())


def test_catalogue_and_applicable_name_the_same_splits(rich):
    assert set(CATALOGUE) == set(applicable(rich)) == set(ALL)
    for name in CATALOGUE:
        assert callable(splits.get(name))


@pytest.mark.parametrize("name", ALL)
def test_every_condition_has_a_role_and_every_exclusion_a_reason(name, screen_of):
    screen = screen_of(name)
    folds = make(name, screen)
    assert [m.fold for m in folds] == [f"{i}/{len(folds)}" for i in range(1, len(folds) + 1)]
    for m in folds:
        assert m.split == name and m.dataset == "toy" and m.data_id == "0" * 64
        assert set(m.roles) == set(screen.perturbed)
        assert set(m.reasons) == set(m.with_role("excluded"))
        assert m.with_role("test") and (m.with_role("train") or m.test_cells)
        assert m.declared["controls"] == "shared by training and truth reference"
        assert set(m.subgroups) == set(m.with_role("test"))
        json.dumps(m.to_dict())


@pytest.mark.parametrize("name", ALL)
def test_seen_k_counts_targets_that_train_alone(name, screen_of):
    for m in make(name, screen_of(name)):
        for condition in m.with_role("test"):
            k = 0
            for target in condition.targets:
                k += any(c.targets == (target,) and (r == "train" or (m.test_cells and r == "test")) for c, r in m.roles.items())
            assert m.subgroups[condition]["seen_k"] == str(k)


@pytest.mark.parametrize("name", ALL)
def test_order_of_cells_and_genes_does_not_matter(name, make_screen, rich_groups, screen_of):
    if name in (*FOR_RICH, "iid"):
        one, other = make_screen(rich_groups), make_screen(rich_groups, shuffle=3)
    else:
        one = screen_of(name)
        order = np.random.default_rng(1).permutation(one.adata.n_obs)
        other = type(one)(one.adata[order].copy(), one.card)
    assert [m.id for m in make(name, one)] == [m.id for m in make(name, other)]


@pytest.mark.parametrize("name", ALL)
def test_manifest_survives_the_file(name, screen_of, tmp_path):
    for i, m in enumerate(make(name, screen_of(name))):
        path = tmp_path / f"{i}.json"
        m.save(path)
        again = SplitManifest.load(path)
        assert again.id == m.id and again.name == m.name
        assert dict(again.roles) == dict(m.roles) and again.test_cells == m.test_cells


@pytest.mark.parametrize("name", ALL)
def test_small_test_conditions_are_excluded_and_nothing_else_moves(name, screen_of):
    screen = screen_of(name)
    loose, strict = make(name, screen, min_cells=1), make(name, screen, min_cells=2 if name in ("iid", "units") else 12)
    for a, b in zip(loose, strict, strict=True):
        moved = {c for c in a.roles if a.roles[c] != b.roles[c]}
        small = {c for c in a.with_role("test") if screen.n_cells[c] < 12}
        assert moved == small
        assert all(b.roles[c] == "excluded" and b.reasons[c] == "too_few_cells" for c in small)
    with pytest.raises(DataError, match="min_cells"):
        make(name, screen, min_cells=1000)


def test_parameters_are_recorded_as_they_are_typed(rich):
    assert make("doubles", rich)[0].name == "doubles[seed=0]"
    assert make("doubles", rich, seed=3, holdout=0.4)[0].name == "doubles[holdout=0.4,seed=3]"
    assert make("unseen-context", rich)[0].name == "unseen-context"
    assert make("doubles", rich)[0].id != make("doubles", rich, seed=1)[0].id


@pytest.mark.parametrize(("n", "train", "validation", "test"), [(124, 56, 6, 62), (131, 58, 7, 66)])
def test_doubles_have_the_published_size(norman_screen, norman_doubles, n, train, validation, test):
    (m,) = make("doubles", norman_screen(norman_doubles[:n]), min_cells=1)
    pairs = Counter(r for c, r in m.roles.items() if len(c.targets) == 2)
    assert pairs == {"train": train, "validation": validation, "test": test}
    assert {r for c, r in m.roles.items() if len(c.targets) == 1} == {"train"}
    assert {s["seen_k"] for s in m.subgroups.values()} == {"2"}


def test_perturbench_combo_has_the_published_size(norman_screen, norman_doubles):
    (m,) = make("perturbench-combo", norman_screen(norman_doubles), min_cells=1)
    pairs = Counter(r for c, r in m.roles.items() if len(c.targets) == 2)
    assert pairs == {"train": 39, "validation": 46, "test": 46}
    assert by_role(m)["train"] == 39 + 105


def test_perturbench_combo_gives_the_odd_pair_to_the_test(norman_screen, norman_doubles):
    (m,) = make("perturbench-combo", norman_screen(norman_doubles), holdout=0.5, min_cells=1)
    pairs = Counter(r for c, r in m.roles.items() if len(c.targets) == 2)
    assert pairs == {"train": 65, "validation": 33, "test": 33}
    (m,) = make("perturbench-combo", norman_screen(norman_doubles[:130]), holdout=0.5, min_cells=1)
    pairs = Counter(r for c, r in m.roles.items() if len(c.targets) == 2)
    assert pairs == {"train": 65, "validation": 32, "test": 33}


def test_doubles_do_not_split_a_pair_over_contexts(rich):
    (m,) = make("doubles", rich, min_cells=1)
    for pair in {c.targets for c in rich.perturbed if len(c.targets) == 2}:
        assert len({r for c, r in m.roles.items() if c.targets == pair}) == 1
    assert [c.targets for c in m.with_role("excluded")] == [("A", "B", "C")]


@settings(max_examples=15, deadline=None)
@given(folds=st.integers(2, 10), seed=st.integers(0, 1000), validation=st.sampled_from([0.0, 0.1, 0.5]))
def test_unseen_single_covers_every_perturbation_once(rich, folds, seed, validation):
    manifests = make("unseen-single", rich, folds=folds, seed=seed, validation=validation)
    singles = [c for c in rich.perturbed if len(c.targets) == 1]
    assert Counter(c for m in manifests for c in m.with_role("test")) == Counter(singles)
    sizes = [len({c.targets for c in m.with_role("test")}) for m in manifests]
    assert len(sizes) == folds and max(sizes) - min(sizes) <= 1
    for m in manifests:
        held = {t for c in m.with_role("test") for t in c.targets}
        for c, role in m.roles.items():
            assert role == "test" if c.targets[0] in held and len(c.targets) == 1 else role != "test"
            assert (role == "excluded") == (len(c.targets) > 1 and bool(held & set(c.targets)))
        set_aside = {c.targets for c in m.with_role("validation")}
        assert len(set_aside) == min(int((10 - len(held)) * validation + 0.5), 9 - len(held))


def test_unseen_context_holds_out_one_context_a_fold(rich):
    manifests = make("unseen-context", rich, min_cells=1)
    assert [m.declared["test_context"] for m in manifests] == ["A549", "K562", "RPE1"]
    for m in manifests:
        assert {c.context for c in m.with_role("test")} == {m.declared["test_context"]}
        assert m.declared["test_context"] not in {c.context for c in m.with_role("train")}
        assert m.declared["target_context_controls"] == "train"
    assert Counter(c for m in manifests for c in m.with_role("test")) == Counter(rich.perturbed)


def test_unseen_both_hides_targets_and_context(rich):
    manifests = make("unseen-both", rich)
    assert len(manifests) == 15
    singles = [c for c in rich.perturbed if len(c.targets) == 1]
    assert Counter(c for m in manifests for c in m.with_role("test")) == Counter(singles)
    for m in manifests:
        held = {t for c in m.with_role("test") for t in c.targets}
        context = m.declared["test_context"]
        kept = {c for c in rich.perturbed if c.context != context and not held & set(c.targets)}
        assert set(m.with_role("train")) == kept


def test_time_extrapolation_tests_the_latest(timed):
    (m,) = make("time-extrapolation", timed)
    assert {c.time for c in m.with_role("test")} == {6.0}
    assert {c.time for c in m.with_role("train")} == {1.0, 2.0, 4.0}
    assert dict(m.reasons) == {Condition(("PIC",), time=6.0): "no earlier time point"}
    (two,) = make("time-extrapolation", timed, n_test=2)
    assert {c.time for c in two.with_role("test")} == {4.0, 6.0} and two.declared["test_times"] == "4, 6"
    with pytest.raises(UsageError, match="from 1 to 3"):
        make("time-extrapolation", timed, n_test=4)


def test_dose_extrapolation_tests_the_highest(dosed):
    (m,) = make("dose-extrapolation", dosed)
    assert m.with_role("test") == (Condition(("drug",), (100.0,)),)
    assert set(m.with_role("train")) == {
        Condition(("drug",), (1.0,)),
        Condition(("drug",), (10.0,)),
        Condition(("slow",), (10.0,)),
    }
    (cut,) = make("dose-extrapolation", dosed, cut=5)
    assert {c.doses for c in cut.with_role("test")} == {(10.0,), (100.0,)}
    assert cut.reasons[Condition(("slow",), (10.0,))] == "no dose at or below the cut"


def test_iid_takes_the_smallest_hashes_of_each_condition(rich):
    (m,) = make("iid", rich, seed=5, fraction=0.25)
    expected = []
    for condition in m.with_role("test"):
        own = [b for b, code in zip(rich.barcodes, rich.codes, strict=True) if rich.conditions[code] == condition]
        expected += sorted(own, key=lambda b: hashlib.sha256(f"5:{b}".encode()).hexdigest())[: round(len(own) / 4)]
    assert list(m.test_cells) == sorted(expected)
    assert not m.with_role("train") and m.declared["level"] == "cells"


def test_iid_leaves_a_training_cell_to_every_condition(make_screen):
    screen = make_screen(["control", "A", {"perturbation": "B", "n": 1}, {"perturbation": "C", "n": 2}])
    (m,) = make("iid", screen, fraction=0.9, min_cells=1)
    tested = set(m.test_cells)
    kept = Counter(screen.conditions[k] for b, k in zip(screen.barcodes, screen.codes, strict=True) if b not in tested)
    assert all(kept[c] >= 1 for c in screen.conditions)
    assert m.with_role("excluded") == (Condition(("B",)),)


def test_a_screen_that_lacks_something_is_told_what_and_what_fits(make_screen):
    singles = make_screen(["control", "A", "B", "C"])
    reasons = applicable(singles)
    assert [n for n, r in reasons.items() if not r] == ["gears-simulation", "unseen-single", "units", "iid"]
    for name in (n for n, r in reasons.items() if r):
        with pytest.raises(
            DataError, match=r"needs at least \d .* screen has \d\. Splits that fit: gears-simulation, unseen-single, units, iid"
        ):
            make(name, singles)


@pytest.mark.parametrize(
    ("name", "params"),
    [("doubles", {"holdout": 1.0}), ("unseen-single", {"folds": 1}), ("unseen-single", {"folds": 11}), ("iid", {"fraction": 0})],
)
def test_parameters_out_of_range_are_refused(rich, name, params):
    with pytest.raises(UsageError):
        make(name, rich, **params)


def test_importing_the_catalogue_imports_no_generator():
    import subprocess
    import sys

    code = (
        "import sys, pbench.datasets.splits; print(sorted(m for m in sys.modules if m.startswith('pbench.datasets.splits.') "
        "or m in ('pandas', 'anndata')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
