"""What the contract asks of every registered model."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, UsageError
from pbench.bench.contracts.model import Model, ReferenceRow, build, parameters
from pbench.bench.contracts.registry import models
from pbench.bench.contracts.resource import FeatureTable
from pbench.bench.contracts.training import Profiles
from pbench.models import CATALOGUE as EVERYTHING

#: Models of a group (adversaries, readers of submissions) have tests of their own.
CATALOGUE = {name: value for name, value in EVERYTHING.items() if len(value) == 2}
REFERENCES = ("oracle-mean", "noise-free", "technical-duplicate", "interpolated-duplicate", "oracle-sampler", "shuffled")
COMPETING = tuple(n for n in CATALOGUE if n not in REFERENCES)
#: Trained by gradient descent: the contract is checked after two epochs.
NEURAL = tuple(n for n in COMPETING if "torch" in models.get(n).capabilities.packages)
FROM_PROFILES = tuple(n for n in COMPETING if not models.get(n).capabilities.needs_cells)
# A tree chooses among equally good splits by the last bit, and a sum in another order has another last bit.
# The weights that a network starts from stand in the order of its inputs.
NO_FOREST = tuple(n for n in COMPETING if not n.startswith("forest") and n not in NEURAL)
ASKED = (
    Condition(("G04",)),
    Condition(("G20",)),
    Condition(("G00", "G04")),
    Condition(("G01", "G21")),
    Condition(("G10", "G11")),
    Condition(("unknown",)),
)


def made(name, load):
    return load(name)(**({"epochs": 2} if name in NEURAL else {}))


def answered(model, data, asked=ASKED, seed=0):
    """Fit and ask all that the capabilities allow, as the engine does."""
    queries = [c for c in asked if model.capabilities.refusal(c, data.perturbed.conditions) is None]
    return model.fit(data, seed=seed).predict(queries, data.controls), queries


def assert_same(a, b, *, exact=True):
    assert set(a.conditions) == set(b.conditions)
    assert dict(a.absent) == dict(b.absent)
    for i, condition in enumerate(a.conditions):
        j = b.conditions.index(condition)
        if exact:
            np.testing.assert_array_equal(a.mean[i], b.mean[j])
        else:
            np.testing.assert_allclose(a.mean[i], b.mean[j], rtol=1e-5, atol=1e-6)
        assert bool(a.fallback[i]) == bool(b.fallback[j])


def permuted(data, order):
    def columns(p):
        return Profiles(p.conditions, p.mean[:, order], p.var[:, order], p.n_cells)

    return replace(
        data,
        genes=data.genes[order],
        perturbed=columns(data.perturbed),
        controls=columns(data.controls),
        validation=columns(data.validation),
    )


def test_references_come_last_and_every_entry_resolves():
    names = list(CATALOGUE)
    assert names[-len(REFERENCES) :] == list(REFERENCES)
    for name in names:
        cls = models.get(name)
        assert issubclass(cls, Model)
        assert issubclass(cls, ReferenceRow) == (name in REFERENCES)
        assert cls.reference
        assert CATALOGUE[name][1].endswith(".")
    assert len({models.get(n) for n in names}) == len(names)


def test_importing_the_models_imports_no_heavy_package():
    modules = sorted({value[0].partition(":")[0] for value in EVERYTHING.values()})
    lines = [f"import pbench.models.{m}" for m in modules]
    lines.append("import sys; print([m for m in ('sklearn', 'pandas', 'anndata', 'scipy.stats', 'torch') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", CATALOGUE)
def test_constructor_is_keyword_only_and_only_stores(name, load):
    cls = load(name)
    for parameter in list(inspect.signature(cls).parameters.values()):
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    sentinel = {key: object() for key in parameters(cls)}
    model = cls(**sentinel)
    assert model.get_params() == sentinel
    assert vars(model) == sentinel


@pytest.mark.parametrize("name", CATALOGUE)
def test_predict_before_fit_says_so(name, load, screen):
    with pytest.raises(NotFitted, match=load(name).__name__):
        load(name)().predict([Condition(("G00",))], screen.controls)


@pytest.mark.parametrize("name", NEURAL)
def test_every_network_has_presets_that_can_be_built(name, load):
    cls = load(name)
    assert {"quick", "paper"} <= cls.presets.keys()
    for preset in ("quick", "standard", "paper"):
        model = build(cls, {}, name=name, preset=preset)
        assert set(cls.presets.get(preset, {})) <= set(model.get_params())
        assert model.get_params()["device"] == "auto"


@pytest.mark.parametrize("name", COMPETING)
def test_every_query_is_answered_or_absent_with_a_reason(name, load, screen):
    prediction, queries = answered(made(name, load), screen)
    assert set(prediction.conditions) | set(prediction.absent) == set(queries)
    assert not set(prediction.conditions) & set(prediction.absent)
    assert prediction.mean.shape == (len(prediction.conditions), len(screen.genes))
    assert prediction.fallback.shape == (len(prediction.conditions),)
    assert prediction.mean.dtype == np.float64
    assert np.isfinite(prediction.mean).all()
    assert all(r.startswith(("capability: ", "resource: ", "graph: ")) for r in prediction.absent.values())
    assert len(prediction.conditions) >= 1


@pytest.mark.parametrize("name", COMPETING)
def test_answers_do_not_depend_on_what_else_is_asked_or_in_which_order(name, load, screen):
    model = made(name, load)
    prediction, queries = answered(model, screen)
    assert_same(prediction, model.predict(queries[::-1], screen.controls), exact=False)
    for i, condition in enumerate(prediction.conditions):
        alone = model.predict([condition], screen.controls)
        np.testing.assert_allclose(alone.mean[0], prediction.mean[i], rtol=1e-4 if name in NEURAL else 1e-12)


@pytest.mark.parametrize("name", COMPETING)
def test_refit_forgets(name, load, screen, make_data):
    other = make_data([Condition((g,)) for g in ("G04", "G05", "G06", "G00")], seed=9)
    model = made(name, load)
    model.fit(other, seed=5).predict([Condition(("G04",))], other.controls)
    again, _ = answered(model, screen)
    fresh, _ = answered(made(name, load), screen)
    assert_same(again, fresh)


@pytest.mark.parametrize("name", COMPETING)
def test_seed_matters_only_where_declared(name, load, screen):
    a, _ = answered(made(name, load), screen, seed=1)
    b, _ = answered(made(name, load), screen, seed=2)
    same = all(np.array_equal(x, y) for x, y in zip(a.mean, b.mean, strict=True))
    assert same != load(name).capabilities.stochastic
    assert_same(a, answered(made(name, load), screen, seed=1)[0])


@pytest.mark.parametrize("name", COMPETING)
def test_inputs_are_left_alone(name, load, make_data):
    data = make_data([Condition(t) for t in [("G00",), ("G01",), ("G02",), ("G00", "G01")]], seed=4)
    arrays = [data.perturbed.mean, data.controls.mean, data.shifts, data.mean_shift, data.resources["go"].values]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    asked = [Condition(("G00",)), Condition(("G01", "G02"))]
    prediction, _ = answered(made(name, load), data, asked)
    prediction.mean[:] = 0
    again, _ = answered(made(name, load), data, asked)
    assert again.mean.any(axis=1).tolist() == [True, True]
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NO_FOREST)
def test_columns_follow_the_order_of_the_genes(name, load, screen):
    order = np.random.default_rng(0).permutation(len(screen.genes))
    straight, _ = answered(made(name, load), screen)
    shuffled, _ = answered(made(name, load), permuted(screen, order))
    assert_same(replace(straight, mean=straight.mean[:, order]), shuffled, exact=False)


@pytest.mark.parametrize("name", NO_FOREST)
def test_order_of_training_conditions_does_not_matter(name, load, screen):
    order = np.random.default_rng(1).permutation(len(screen.perturbed))
    p = screen.perturbed
    mixed = Profiles(tuple(p.conditions[i] for i in order), p.mean[order], p.var[order], p.n_cells[order])
    straight, _ = answered(made(name, load), screen)
    shuffled, _ = answered(made(name, load), replace(screen, perturbed=mixed))
    assert_same(straight, shuffled, exact=False)


@pytest.mark.parametrize("name", FROM_PROFILES)
def test_control_cells_of_the_query_decide_the_context(name, load, two_contexts):
    """The same change is added to whatever control the query's context has."""
    data = two_contexts
    asked = [Condition(("G01",), context=c) for c in "ac"]
    model = made(name, load).fit(data, seed=0)
    moved = Profiles(data.controls.conditions, data.controls.mean + np.float32(1), data.controls.var, data.controls.n_cells)
    np.testing.assert_allclose(model.predict(asked, moved).mean, model.predict(asked, data.controls).mean + 1, rtol=1e-5)


@pytest.mark.parametrize("name", COMPETING)
def test_without_perturbed_cells_nothing_crashes_and_nothing_is_claimed(name, load, make_data):
    data = make_data([], contexts=[None])
    prediction, _ = answered(made(name, load), data, [Condition(("G00",)), Condition(("G01", "G02"))])
    if name != "no-change":
        assert prediction.fallback.all()
    np.testing.assert_allclose(prediction.mean, data.controls.control_mean(prediction.conditions))


@pytest.mark.parametrize("name", COMPETING)
def test_one_training_condition_is_enough_not_to_crash(name, load, make_data):
    data = make_data([Condition(("G00",))])
    prediction, _ = answered(made(name, load), data, [Condition(("G00",)), Condition(("G01",))])
    assert np.isfinite(prediction.mean).all()


@pytest.mark.parametrize("name", [n for n in FROM_PROFILES if n not in ("no-change", "train-mean-cells")])
def test_a_group_of_cells_counts_once(name, load, screen):
    """Numbers of cells are used by the cell-weighted mean alone."""
    p = screen.perturbed
    heavier = replace(screen, perturbed=Profiles(p.conditions, p.mean, p.var, p.n_cells * np.arange(1, len(p) + 1)))
    assert_same(answered(made(name, load), screen)[0], answered(made(name, load), heavier)[0])


@pytest.mark.parametrize("name", [n for n in COMPETING if n.endswith(("-go", "-external"))])
def test_resources_are_needed_and_targets_outside_are_absent(name, load, make_data, screen):
    (wanted,) = load(name).capabilities.resources
    assert load(name).capabilities.prior_knowledge
    bare = make_data([Condition(("G00",)), Condition(("G01",))], resources=False)
    with pytest.raises(UsageError, match=wanted):
        made(name, load).fit(bare, seed=0)
    prediction, _ = answered(made(name, load), screen, [Condition(("G00", "unknown")), Condition(("drug", "G25"))])
    assert prediction.absent == {Condition(("G00", "unknown")): f"resource: '{wanted}' has no vector for unknown"}
    assert prediction.conditions == (Condition(("drug", "G25")),)


@pytest.mark.parametrize("name", ["bilinear-ridge-external", "ridge-go", "knn-go"])
def test_offset_and_unit_of_a_table_change_nothing(name, load, screen):
    def table(values):
        return FeatureTable(screen.resources["go"].names, values, "made up")

    values = screen.resources["go"].values.astype(np.float64)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    straight = replace(screen, resources=dict.fromkeys(("go", "embedding"), table(values)))
    moved = replace(screen, resources=dict.fromkeys(("go", "embedding"), table(3 + 100 * values @ rotation)))
    assert_same(answered(made(name, load), straight)[0], answered(made(name, load), moved)[0], exact=False)
