"""Requests as they are typed, and the identity of jobs and code."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.identity import derived_seed
from pbench.bench.contracts.metric import MetricInfo, Values
from pbench.bench.engine import fingerprint
from pbench.bench.engine.fingerprint import code_id, environment
from pbench.bench.engine.plan import JobSpec, PlannedModel, Request, parse_requests, scoring_id

KNOWN = ["additive", "knn-go", "knn-pca", "ridge-go"]
SPEC = JobSpec("m", {"k": 1}, "c", "d", "i", "s", "si", "1/1", 0, {"go": "x"}, {"numpy": "2"}, "e")


def parsed(text):
    return [str(r) for r in parse_requests(text, KNOWN, kind="model")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("additive", ["additive"]),
        (" additive , knn-go ", ["additive", "knn-go"]),
        ("all", KNOWN),
        ("knn-*", ["knn-go", "knn-pca"]),
        ("ridge-g?", ["ridge-go"]),
        ("knn-go[k=3,metric=l1],additive", ["knn-go[k=3,metric=l1]", "additive"]),
        ("knn-*[k=3]", ["knn-go[k=3]", "knn-pca[k=3]"]),
        ("additive,all", KNOWN),
        ("additive,additive[]", ["additive"]),
        (",additive,,", ["additive"]),
    ],
)
def test_requests(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("additive+anchor", ["additive+anchor"]),
        ("all+anchor", [f"{name}+anchor" for name in KNOWN]),
        ("knn-*+anchor[k=3]", ["knn-go+anchor[k=3]", "knn-pca+anchor[k=3]"]),
    ],
)
def test_variants_of_names_globs_and_all(text, expected):
    assert [str(r) for r in parse_requests(text, KNOWN, kind="model", variants=["anchor"])] == expected


def test_a_variant_that_is_none():
    with pytest.raises(UsageError, match="no variant 'anker' of a model. Known: anchor"):
        parse_requests("additive+anker", KNOWN, kind="model", variants=["anchor"])
    with pytest.raises(UsageError, match="there is no model 'aditive'"):
        parse_requests("aditive+anchor", KNOWN, kind="model", variants=["anchor"])


def test_a_variant_has_the_seed_of_its_model_and_code_of_its_own():
    assert replace(SPEC, model=f"{SPEC.model}+anchor").derived_seed == SPEC.derived_seed
    plain, anchored = (
        PlannedModel.from_request(Request(n), preset="quick") for n in ("latent-additive", "latent-additive+anchor")
    )
    assert plain.params == anchored.params
    assert plain.code != anchored.code
    assert anchored.label == "latent-additive+anchor (quick)"
    other = PlannedModel.from_request(Request("additive+anchor"), preset="quick")
    assert other.code != anchored.code


def test_values_of_parameters_get_their_types():
    (request,) = parse_requests("additive[a=3,b=0.5,c=true,d=none,e=text,f=1e-3,g=-2]", KNOWN, kind="model")
    assert dict(request.params) == {"a": 3, "b": 0.5, "c": True, "d": None, "e": "text", "f": 1e-3, "g": -2}
    assert type(request.params["a"]) is int


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aditive", "additive"),
        ("nothing-like-it", "pbench list models"),
        ("z*", "pbench list models"),
        ("", "no model was named"),
        (",", "no model was named"),
        ("additive[", "name\\[parameter=value"),
        ("additive]x", "name\\[parameter=value"),
        ("additive[k]", "parameter=value"),
        ("additive[=3]", "parameter=value"),
        ("[k=3]", "name\\[parameter=value"),
    ],
)
def test_what_is_typed_wrongly_is_said(text, says):
    with pytest.raises(UsageError, match=says):
        parse_requests(text, KNOWN, kind="model")


values = st.one_of(st.integers(-999, 999), st.booleans(), st.none(), st.text("abcxyz", min_size=1, max_size=5))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KNOWN), st.dictionaries(st.text("abc_", min_size=1, max_size=4), values, max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_shown_can_be_typed(wanted):
    requests = [Request(name, params) for name, params in wanted]
    again = parse_requests(",".join(map(str, requests)), KNOWN, kind="model")
    assert {str(r): dict(r.params) for r in again} == {str(r): dict(r.params) for r in requests}


CHANGES = {
    "model": "n",
    "params": {"k": 2},
    "model_code": "c2",
    "dataset": "d2",
    "data_id": "i2",
    "split": "s2",
    "split_id": "si2",
    "fold": "2/2",
    "seed": 1,
    "resources": {"go": "y"},
    "environment": {"numpy": "3"},
    "engine": "e2",
}


@pytest.mark.parametrize("name", [f.name for f in fields(JobSpec)])
def test_every_field_is_part_of_the_identity(name):
    assert replace(SPEC, **{name: CHANGES[name]}).id != SPEC.id
    assert JobSpec(**asdict(SPEC)).id == SPEC.id


def test_identity_is_blind_to_the_order_of_parameters():
    assert replace(SPEC, params={"a": 1, "b": 2}).id == replace(SPEC, params={"b": 2, "a": 1}).id


def test_seeds_hang_on_named_parts_alone():
    assert SPEC.derived_seed == derived_seed(SPEC.seed, SPEC.model, SPEC.split, SPEC.fold)
    for name in ("params", "model_code", "dataset", "data_id", "split_id", "environment", "engine", "resources"):
        assert replace(SPEC, **{name: CHANGES[name]}).derived_seed == SPEC.derived_seed
    for name in ("seed", "model", "split", "fold"):
        assert replace(SPEC, **{name: CHANGES[name]}).derived_seed != SPEC.derived_seed


def test_deterministic_models_run_once():
    planned = PlannedModel.from_request(Request("additive"), preset="standard")
    assert planned.seeds((3, 4)) == (0,)
    stochastic = next(n for n in registry.models if registry.models.get(n).capabilities.stochastic)
    assert PlannedModel.from_request(Request(stochastic), preset="standard").seeds((3, 4)) == (3, 4)


def test_parameters_are_checked_before_anything_runs():
    assert PlannedModel.from_request(Request("additive"), preset="standard").label == "additive"
    with pytest.raises(UsageError, match="no parameter 'nonsense'"):
        PlannedModel.from_request(Request("additive", {"nonsense": 1}), preset="standard")


def test_a_parameter_that_json_does_not_have_is_refused():
    name = next(n for n in registry.models if n.startswith("ridge"))
    parameter = next(iter(PlannedModel.from_request(Request(name), preset="standard").params))
    with pytest.raises(UsageError, match="NaN"):
        PlannedModel.from_request(Request(name, {parameter: float("nan")}), preset="standard")


@pytest.fixture
def identity(tmp_path, monkeypatch):
    """Identity of ``codeidpkg.main``, with the modules that are given."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def of(**modules):
        folder = tmp_path / "codeidpkg"
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.py"):
            old.unlink()
        for module, text in {"__init__": "", **modules}.items():
            (folder / f"{module}.py").write_text(text)
        forget()
        return code_id("codeidpkg.main")

    def forget():
        code_id.cache_clear()
        fingerprint._parsed.cache_clear()

    yield of
    forget()
    for module in [m for m in sys.modules if m.startswith("codeidpkg")]:
        del sys.modules[module]


MAIN = "from .helper import f\n\ndef g(x):\n    return f() + x\n"
HELPER = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    ("main", "helper"),
    [
        (MAIN + "# a comment\n", HELPER),
        ('"""A docstring."""\n' + MAIN, HELPER),
        (MAIN.replace("    return", '    """Says what."""\n    return'), HELPER),
        (MAIN.replace("\n\n", "\n\n\n\n").replace("f() + x", "(f()  +  x)"), HELPER),
        (MAIN, '"""Helps."""\n\n' + HELPER + "# done\n"),
    ],
)
def test_code_identity_is_blind_to_comments_docstrings_and_layout(identity, main, helper):
    assert identity(main=main, helper=helper) == identity(main=MAIN, helper=HELPER)


@pytest.mark.parametrize(
    ("main", "helper"),
    [
        (MAIN.replace("+ x", "- x"), HELPER),
        (MAIN.replace("g(x)", "g(x, y=1)"), HELPER),
        (MAIN, HELPER.replace("1", "2")),
        (MAIN.replace(".helper", "codeidpkg.helper"), HELPER),
        (MAIN + "X = 'text that is no docstring'\n", HELPER),
    ],
)
def test_code_identity_sees_every_change_of_code(identity, main, helper):
    assert identity(main=main, helper=helper) != identity(main=MAIN, helper=HELPER)


@pytest.mark.parametrize(
    "how", ["from .helper import f", "from . import helper", "import codeidpkg.helper", "from codeidpkg import helper"]
)
def test_code_identity_follows_imports_inside_the_package(identity, how):
    main = f"def g():\n    {how}\n    return 1\n"
    far = {"far": "Z = 1\n"}
    first = identity(main=main, helper="from .far import Z\n", **far)
    assert identity(main=main, helper="from .far import Z\n", far="Z = 2\n") != first
    assert identity(main=main, helper="from .far import Z\n", far="Z = 1  # same\n") == first


def test_code_identity_leaves_other_packages_to_their_versions(identity):
    assert identity(main="import numpy\n") == identity(main="import numpy # still\n")
    assert set(environment(["click", "no-such-package"])) == {"python", "numpy", "scipy", "click", "no-such-package"}
    assert environment(["no-such-package"])["no-such-package"] == "absent"


def test_scores_have_the_identity_of_answer_and_metrics():
    a = MetricInfo("a", 1, "up", 0, 1, 1, _metric, "a")
    b = MetricInfo("b", 1, "up", 0, 1, 1, _metric, "b")
    assert scoring_id("job", [a, b]) == scoring_id("job", [b, a])
    assert (
        len(
            {
                scoring_id("job", [a]),
                scoring_id("job", [a, b]),
                scoring_id("other", [a]),
                scoring_id("job", [replace(a, version=2)]),
            }
        )
        == 4
    )


def _metric(comparison):
    return Values.of([0.0])


def test_none_is_a_name_where_values_are_names():
    """``perturbed-vae[alignment=none]`` was refused: the command line read it as nothing."""
    (request,) = parse_requests("perturbed-vae[alignment=none,groups=none]", ["perturbed-vae"], kind="model")
    planned = PlannedModel.from_request(request, preset="standard")
    assert planned.params["alignment"] == "none" and planned.params["groups"] is None
