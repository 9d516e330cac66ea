"""The audit: clean splits pass, deliberate leaks fail, and the figures agree with independent computations."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats.contingency import association

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import LONGEST, DataError
from pbench.bench.contracts.model import Capabilities
from pbench.bench.contracts.registry import splits
from pbench.bench.contracts.resource import FeatureTable
from pbench.bench.contracts.screen import DatasetCard, Screen
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.audit import MIN_EXPRESSED, Finding, audit, cramers_v, row_hashes, status, to_dict


def make(name, screen, **params):
    return splits.get(name)(screen, data_id="0" * 64, **params)


def verdict(findings, name):
    (found,) = [f for f in findings if f.name == name]
    return found.status


def failed(findings):
    return {f.name for f in findings if f.status == "fail"}


def with_condition(manifest, condition, role):
    return replace(manifest, roles={**manifest.roles, condition: role})


def plant(screen, source, target):
    """The screen after cell `target` was given the expression of cell `source`."""
    adata = screen.adata.copy()
    X = adata.X.tolil()
    X[target] = X[source]
    adata.X = sparse.csr_matrix(X)
    return Screen(adata, screen.card)


def first_cell(screen, condition):
    return int(np.flatnonzero(screen.codes == screen.conditions.index(condition))[0])


@pytest.mark.parametrize(
    "name", ["doubles", "perturbench-combo", "gears-simulation", "unseen-single", "unseen-context", "unseen-both", "iid"]
)
def test_generated_splits_do_not_fail(rich, name):
    for m in make(name, rich, min_cells=2):
        for findings in (audit(m, rich, Capabilities(), {}), audit(m)):
            assert not failed(findings)
            assert status(findings) == "warn"  # shared controls are always declared
            assert {f.rule for f in findings} == set(range(18))


def test_ordered_splits_do_not_fail(timed, dosed):
    for name, screen in (("time-extrapolation", timed), ("dose-extrapolation", dosed)):
        (m,) = make(name, screen)
        findings = audit(m, screen)
        assert not failed(findings)
    assert "1 do at another dose" in next(f.detail for f in findings if f.rule == 1)


def test_a_manifest_alone_leaves_cell_rules_open(rich):
    findings = audit(make("doubles", rich)[0])
    for name in (
        "duplicated cells",
        "barcodes",
        "batch confounding",
        "feature selection",
        "known defects",
        "pretraining overlap",
    ):
        assert verdict(findings, name) == "na"


def test_a_copied_test_cell_fails(rich):
    (m,) = make("doubles", rich)
    test, train = first_cell(rich, m.with_role("test")[0]), first_cell(rich, m.with_role("train")[0])
    assert verdict(audit(m, rich), "duplicated cells") == "pass"
    assert failed(audit(m, plant(rich, test, train))) == {"duplicated cells"}
    control = int(np.flatnonzero(rich.adata.obs["perturbation"] == "control")[0])
    assert failed(audit(m, plant(rich, test, control))) == {"duplicated cells"}
    (with_validation,) = make("doubles", rich, validation=0.5)
    source, copy = (first_cell(rich, with_validation.with_role(role)[0]) for role in ("test", "validation"))
    leaked = plant(rich, source, copy)
    assert failed(audit(with_validation, leaked)) == {"duplicated cells"}
    # A copy within the test is no leak.
    assert not failed(audit(m, plant(rich, test, test + 1)))


def test_a_copied_cell_fails_in_a_split_by_cells(rich):
    (m,) = make("iid", rich, min_cells=2)
    position = {b: i for i, b in enumerate(rich.barcodes)}
    test = position[m.test_cells[0]]
    train = next(i for i in range(len(rich.codes)) if rich.codes[i] == rich.codes[test] and rich.barcodes[i] not in m.test_cells)
    assert not failed(audit(m, rich))
    assert failed(audit(m, plant(rich, test, train))) == {"duplicated cells"}
    assert "barcodes" in failed(audit(replace(m, test_cells=("nobody", *m.test_cells)), rich))


def test_sparse_cells_are_not_called_copies(make_screen):
    screen = make_screen(["control", "A", "B", "C", "D"], n_genes=MIN_EXPRESSED - 1)
    screen.adata.X[:] = 1.0
    m = make("unseen-single", screen, folds=2)[0]
    assert verdict(audit(m, screen), "duplicated cells") == "na"


@pytest.mark.parametrize("spelling", ["B+A", "b + a", "A+B+ctrl"])
@pytest.mark.parametrize("role", ["train", "validation"])
def test_a_label_that_was_not_split_fails(rich, spelling, role):
    (m,) = make("doubles", rich, holdout=0.9)
    assert any(c.targets == ("A", "B") and r == "test" for c, r in m.roles.items())
    leak = with_condition(m, Condition((spelling,), context="K562"), role)
    assert "reversed combinations" in failed(audit(leak))
    assert ("canonical labels" if role == "train" else "validation") in failed(audit(leak))
    assert "evaluation set" in failed(audit(leak, rich))


@pytest.mark.parametrize("spelling", ["A_B", "B,A", "a|b"])
def test_a_combination_that_was_read_as_one_name_fails(rich, spelling):
    (m,) = make("doubles", rich, holdout=0.9)
    assert failed(audit(with_condition(m, Condition((spelling,), context="K562"), "train"))) == {"reversed combinations"}
    # The other way round: the test has the unread name and training the pair.
    pair = next(c for c in m.with_role("test") if c.targets == ("A", "B") and c.context == "K562")
    misread = Condition((spelling,), context="K562")
    swapped = replace(m, roles={**m.roles, pair: "train", misread: "test"})
    assert "reversed combinations" in failed(audit(swapped))
    other_context = with_condition(m, Condition((spelling,), context="elsewhere"), "train")
    assert "reversed combinations" not in failed(audit(other_context))


def test_a_test_single_in_other_case_fails(rich):
    m = make("unseen-single", rich)[0]
    condition = m.with_role("test")[0]
    leak = with_condition(m, Condition((f" {condition.targets[0].lower()}",), context=condition.context), "train")
    assert {"canonical labels", "unseen targets"} <= failed(audit(leak))


def test_validation_equal_to_test_fails(rich, tmp_path):
    (m,) = make("doubles", rich)
    moved = {c: "validation" if r == "test" else r for c, r in m.roles.items()}
    assert "roles" in failed(audit(replace(m, roles=moved)))
    respelled = {Condition(tuple(t.lower() for t in c.targets), context=c.context): "validation" for c in m.with_role("test")}
    assert "validation" in failed(audit(replace(m, roles={**m.roles, **respelled})))
    # In the file itself the edit is caught before the audit.
    path = tmp_path / "split.json"
    m.save(path)
    value = json.loads(path.read_text())
    next(row for row in value["conditions"] if row["role"] == "test")["role"] = "validation"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="edited"):
        SplitManifest.load(path)


def test_a_broken_promise_fails(rich):
    m = make("unseen-single", rich)[0]
    target = m.with_role("test")[0].targets[0]
    assert verdict(audit(m), "unseen targets") == "pass"
    for role in ("train", "validation"):
        pair = next(c for c in m.with_role("excluded") if target in c.targets)
        assert "unseen targets" in failed(audit(with_condition(m, pair, role)))
    context = make("unseen-context", rich)[0]
    test = context.with_role("test")
    assert verdict(audit(context), "test contexts") == "pass"
    assert "test contexts" in failed(audit(with_condition(context, test[0], "train")))
    assert "test contexts" in failed(audit(replace(context, declared={"controls": "shared"})))


def test_undeclared_controls_wrong_labels_and_silent_exclusions_fail(rich):
    (m,) = make("gears-simulation", rich)
    assert "control cells" in failed(audit(replace(m, declared={})))
    assert verdict(audit(replace(m, declared={"controls": "disjoint halves"})), "control cells") == "pass"
    test = m.with_role("test")[0]
    wrong = {**m.subgroups, test: {**m.subgroups[test], "seen_k": "7"}}
    assert failed(audit(replace(m, subgroups=wrong))) == {"subgroup labels"}
    assert failed(audit(replace(m, reasons={}))) == {"evaluation set"}
    fewer = {c: r for c, r in m.roles.items() if c != test}
    assert failed(audit(replace(m, roles=fewer), rich)) == {"evaluation set"}


def test_side_information_of_the_same_screen_fails(rich):
    (m,) = make("doubles", rich)
    table = FeatureTable(("A",), np.ones((1, 2), np.float32), source="elsewhere")
    assert verdict(audit(m, resources={"go": table}), "side information") == "pass"
    own = {"go": table, "pca": replace(table, same_screen=True)}
    assert failed(audit(m, resources=own)) == {"side information"}


@pytest.mark.parametrize(("overlap", "expected"), [("no", "pass"), ("yes", "warn"), ("unknown", "warn")])
def test_pretraining_overlap_is_reported(rich, overlap, expected):
    findings = audit(make("doubles", rich)[0], capabilities=Capabilities(pretraining_overlap=overlap))
    assert verdict(findings, "pretraining overlap") == expected


def test_the_card_is_reported(make_screen):
    screen = make_screen(["control", "A", "B", "C"], feature_selection="hvg_all", known_defects=("labels of C are wrong",))
    findings = audit(make("unseen-single", screen, folds=3)[0], screen)
    assert verdict(findings, "feature selection") == verdict(findings, "known defects") == "warn"
    screen = make_screen(["control", "A", "B", "C"], known_defects=("so it goes " * 5000,))
    assert max(len(f.detail) for f in audit(make("unseen-single", screen, folds=3)[0], screen)) == LONGEST
    for how in ("none", "hvg_train"):
        clean = make_screen(["control", "A", "B", "C"], feature_selection=how)
        assert verdict(audit(make("unseen-single", clean, folds=3)[0], clean), "feature selection") == "pass"


def test_confounded_batches_are_reported(make_screen):
    labels = ["control", "A", "B", "C"]
    confounded = make_screen([{"perturbation": p, "batch": f"b{i // 2}"} for i, p in enumerate(labels)])
    balanced = make_screen([{"perturbation": p, "batch": b} for p in labels for b in ("b0", "b1")])
    for screen, expected in ((confounded, "warn"), (balanced, "pass")):
        assert verdict(audit(make("unseen-single", screen, folds=3)[0], screen), "batch confounding") == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=60))
def test_cramers_v_agrees_with_scipy(pairs):
    left, right = (np.array(column) for column in zip(*pairs, strict=True))
    table = np.array([[np.sum((left == a) & (right == b)) for b in np.unique(right)] for a in np.unique(left)])
    if min(table.shape) == 1:
        assert np.isnan(cramers_v(left, right))
    else:
        assert cramers_v(left, right) == pytest.approx(association(table, method="cramer", correction=False), abs=1e-6)


def test_row_hashes_are_equal_exactly_for_equal_rows():
    rng = np.random.default_rng(0)
    X = rng.poisson(0.7, size=(600, 6)).astype(np.float32)
    inverse = np.unique(X, axis=0, return_inverse=True)[1].ravel()
    hashes, expressed = row_hashes(sparse.csr_matrix(X))
    assert len(np.unique(hashes)) == inverse.max() + 1 < 600
    assert len(np.unique(np.stack([hashes, inverse.astype(np.uint64)]), axis=1).T) == inverse.max() + 1
    assert np.array_equal(expressed, (X != 0).sum(axis=1))
    # Neither stored zeros nor the order of storage nor density count.
    stored = sparse.csr_matrix(X + 1.0)
    stored.data -= 1.0
    reversed_ = sparse.csr_matrix(X[:, ::-1])[:, ::-1]
    for same in (X, stored, reversed_, sparse.csc_matrix(X).tocsr()):
        assert np.array_equal(row_hashes(same)[0], hashes)


def test_row_hashes_are_what_they_say():
    """The same sums with Python's whole numbers, NaN and negative zero among the values."""
    X = np.random.default_rng(1).poisson(0.8, size=(50, 5)).astype(np.float32) * np.float32(1.7)
    X[3, 2], X[4, 1] = np.nan, -2.5
    X = sparse.csr_matrix(X)
    X.data[5] = -0.0
    weights = [2 * int(w) + 1 for w in np.random.default_rng(0).integers(0, 2**63, 5, dtype=np.uint64)]
    expected = []
    for row in range(50):
        total = 0
        for k in range(X.indptr[row], X.indptr[row + 1]):
            mixed = int(X.data[k : k + 1].view(np.uint32)[0]) * 0x9E3779B97F4A7C15 % 2**64
            total += (mixed ^ (mixed >> 32)) * weights[X.indices[k]]
        expected.append(total % 2**64)
    hashes, expressed = row_hashes(X)
    assert hashes.tolist() == expected
    assert expressed.tolist() == [int((X[i].data != 0).sum()) for i in range(50)]


def test_the_verdict_is_the_worst_and_goes_into_json():
    found = [Finding(i, "x", s, "y") for i, s in enumerate(("pass", "na", "warn", "fail"))]
    assert [status(found[:n]) for n in range(5)] == ["pass", "pass", "pass", "warn", "fail"]
    value = json.loads(json.dumps(to_dict(found)))
    assert value["status"] == "fail" and value["findings"][2] == {"rule": 2, "name": "x", "status": "warn", "detail": "y"}


def test_a_real_screen_is_clean():
    folder = os.environ.get("PBENCH_DATA")
    path = Path(folder or ".") / "perturbench_devel.h5ad"
    if not folder or not path.exists():
        pytest.skip("PBENCH_DATA is unset or holds no perturbench_devel.h5ad")
    import anndata

    adata = anndata.read_h5ad(path)
    adata = adata[(adata.obs["dataset"] == "norman19").to_numpy()].copy()
    adata.obs = adata.obs[["perturbation"]].astype(str)
    adata.obs["perturbation"] = ["+".join(sorted(p.split("+"))) for p in adata.obs["perturbation"]]
    screen = Screen(adata, DatasetCard("norman-subset", "", "", "", "log1p_1e4", "control", feature_selection="hvg_all"))
    for name in ("doubles", "unseen-single", "gears-simulation"):
        for m in make(name, screen):
            findings = audit(m, screen, Capabilities(), {})
            assert not failed(findings)
            assert verdict(findings, "feature selection") == "warn"
