"""The conformance kit: named checks of a model on a toy screen, each with what is wrong in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.errors import NotFitted, PbenchError
from ..contracts.model import Capabilities, Model, ReferenceRow, parameters
from ..contracts.resource import FeatureTable
from ..contracts.training import Cells, TrainingData
from ..contracts.truth import Truth
from .answer import Answer, ask
from .assemble import de_order
from .statistics import group_sums

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Verdict:
    """The result of one check; `problem` is empty where it passed."""

    check: str
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class Toy:
    """A small screen of singles and doubles: what `fit` sees and the truth of what is asked."""

    data: TrainingData
    truth: Truth


def toy(capabilities: Capabilities, *, seed: int = 0, order: Array | None = None, poison: bool = False) -> Toy:
    """A toy screen that stays inside `capabilities`.

    Parameters
    ----------
    seed
        Of the expression values.
    order
        Permutation of the training cells.
    poison
        Fill all test cells with NaN after the training side is made, as a model must not see them.
    """
    rng = np.random.default_rng(seed)
    genes = np.array([f"G{i:02d}" for i in range(40)])
    targets = [f"G{i:02d}" for i in range(8)]
    singles = [Condition((t,)) for t in targets]
    doubles = [Condition((targets[i], targets[i + 1])) for i in range(0, 7)]
    asked_doubles = doubles[:3] if capabilities.max_targets is None or capabilities.max_targets > 1 else []
    asked = asked_doubles or singles[-2:]
    if capabilities.unseen_targets:
        asked = [*asked_doubles, *singles[-2:]]
    hidden = {t for c in asked if len(c.targets) == 1 for t in c.targets}
    train = [c for c in singles + doubles if c not in asked and not hidden & set(c.targets)]
    if not asked_doubles and not capabilities.unseen_targets:
        asked, train = singles[:2], singles + doubles[3:]
    effect = {t: rng.normal(0, 0.5, len(genes)) for t in targets}
    base = rng.uniform(0.5, 2.0, len(genes))

    def expected(condition: Condition) -> Array:
        return base + sum((effect[t] for t in condition.targets), np.zeros(len(genes)))

    def cells(condition: Condition, n: int = 16) -> Array:
        return np.maximum(expected(condition) + rng.normal(0, 0.2, (n, len(genes))), 0).astype(np.float32)

    control = Condition()
    trained = (control, *train)
    blocks = {c: cells(c) for c in trained}
    X = np.concatenate([blocks[c] for c in trained])
    codes = np.repeat(np.arange(len(trained)), 16)
    test_blocks = {c: cells(c) for c in asked}
    if order is not None:
        X, codes = X[order], codes[order]
    held = np.concatenate([test_blocks[c] for c in asked])
    sums = group_sums(X, codes, len(trained), scale="log1p_1e4")
    perturbed = sums.pool([[i] for i in range(1, len(trained))], tuple(train))
    controls = sums.pool([[0]], (control,))
    table = FeatureTable(tuple(targets), np.stack([effect[t][:6] for t in targets]).astype(np.float32), "toy")
    names = capabilities.resources
    data = TrainingData(
        genes,
        perturbed,
        controls,
        perturbed.select(lambda c: False),
        resources=dict.fromkeys(names, table),
        load_cells=(lambda role: Cells(sparse.csr_matrix(X), codes, trained, "log1p_1e4")) if capabilities.needs_cells else None,
    )
    test = group_sums(held, np.repeat(np.arange(len(asked)), 16), len(asked), scale="log1p_1e4").pool(
        [[i] for i in range(len(asked))], tuple(asked)
    )
    if poison:
        test = replace(test, mean=np.full_like(test.mean, np.nan), var=np.full_like(test.var, np.nan))
    index = {g: i for i, g in enumerate(genes)}
    own = tuple(tuple(index[t] for t in c.targets) for c in asked)
    ctrl = controls.control_mean(asked)
    truth = Truth(
        genes=genes,
        profiles=test,
        controls=controls,
        references={"ctrl": ctrl, "pert": ctrl + data.mean_shift, "loo": ctrl},
        de_order=de_order(test, controls, np.zeros(len(asked), dtype=int), own),
        target_genes=own,
        halves=(test, test),
        subgroups=tuple({} for _ in asked),
        noise_free=np.stack([expected(c) for c in asked]),
        load_cells=lambda c, half=None: sparse.csr_matrix(test_blocks[c] if half is None else test_blocks[c][half::2]),
    )
    return Toy(data, truth)


def check_model(cls: type) -> Iterator[Verdict]:
    """Run every check on a model class; a check that raises says what it raised."""
    for name, function in CHECKS.items():
        try:
            problem = function(cls) or ""
        except PbenchError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the finding
            problem = f"raised {type(error).__name__}: {error}"
        yield Verdict(name, problem)


def _capabilities(cls: type) -> Capabilities:
    return getattr(cls, "capabilities", Capabilities())


def _ask(cls: type, scene: Toy, *, seed: int = 0, model: Any = None) -> Answer:
    return ask(model if model is not None else cls(), scene.data, scene.truth, seed=seed)


def _constructor(cls: type) -> str | None:
    import inspect

    if cls.__init__ is object.__init__:
        return None
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return f"the constructor takes any argument (*{name}); name each parameter, so that a mistyped one is noticed."
        if parameter.default is parameter.empty:
            return f"constructor parameter '{name}' has no default; a model must be constructible without arguments."
        if parameter.kind is not parameter.KEYWORD_ONLY:
            return f"constructor parameter '{name}' is not keyword-only; write def __init__(self, *, {name}=...)."
    return None


def _parameters(cls: type) -> str | None:
    model = cls()
    for name, default in parameters(cls).items():
        if not hasattr(model, name):
            return f"the constructor does not store '{name}' under its own name (self.{name} = {name})."
        if getattr(model, name) is not default and getattr(model, name) != default:
            return f"the constructor changes '{name}' from {default!r} to {getattr(model, name)!r}; store it unchanged and work on it in fit."
        json.dumps(default)
    return None


def _declares(cls: type) -> str | None:
    if not isinstance(getattr(cls, "capabilities", None), Capabilities):
        return "the class has no capabilities = Capabilities(...); declare what the model can be asked."
    if cls.capabilities is Model.capabilities:
        return "capabilities are not declared and inherit the narrowest default; write capabilities = Capabilities(...)."
    return None


def _answers(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    answer = _ask(cls, scene)
    if (answer.absent != "").all():
        return f"the model predicts none of {len(answer.absent)} conditions that its capabilities allow: {answer.absent[0]}"
    return None


def _not_fitted(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    try:
        cls().predict(scene.truth.conditions, scene.truth.controls)
    except NotFitted:
        return None
    except Exception as error:  # noqa: BLE001 - any other error is the finding
        return f"predict before fit raised {type(error).__name__} instead of NotFitted; call self._check_fitted('mean_') first, or whatever you learn."
    return "predict before fit gives an answer; raise NotFitted."


def _deterministic(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    if not np.array_equal(_ask(cls, scene).mean, _ask(cls, scene).mean, equal_nan=True):
        return "two fits with the same seed differ; draw every random number from np.random.default_rng(seed)."
    return None


def _seed(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    moved = not np.array_equal(_ask(cls, scene, seed=0).mean, _ask(cls, scene, seed=1).mean, equal_nan=True)
    if moved and not _capabilities(cls).stochastic:
        return (
            "the seed changes the answer, and capabilities.stochastic is False; set it, so that the model is run with every seed."
        )
    return None


def _refit(cls: type) -> str | None:
    first, second = toy(_capabilities(cls)), toy(_capabilities(cls), seed=1)
    model = cls()
    _ask(cls, first, model=model)
    if not np.allclose(_ask(cls, second, model=model).mean, _ask(cls, second).mean, atol=1e-5, equal_nan=True):
        return "a second fit gives another answer than a fresh model; fit must forget what it learned before."
    return None


def _no_mutation(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    given = [a for p in (scene.data.perturbed, scene.data.controls) for a in (p.mean, p.var, p.n_cells)]
    given += [table.values for table in scene.data.resources.values()]
    if _capabilities(cls).needs_cells:
        given += [scene.data.cells.X.data, scene.data.cells.X.indices, scene.data.cells.codes]
    before = [a.copy() for a in given]
    _ask(cls, scene)
    if not all(np.array_equal(a, b) for a, b in zip(before, given, strict=True)):
        return "fit or predict changed the data that it was given; copy before you change an array."
    return None


def _poison(cls: type) -> str | None:
    if issubclass(cls, ReferenceRow):
        return None
    clean, poisoned = toy(_capabilities(cls)), toy(_capabilities(cls), poison=True)
    if not np.array_equal(_ask(cls, clean).mean, _ask(cls, poisoned).mean, equal_nan=True):
        return "the answer changes when all test cells become NaN: the model reads them somehow."
    return None


def _cell_order(cls: type) -> str | None:
    if _capabilities(cls).stochastic:
        return None
    n = len(toy(_capabilities(cls)).data.perturbed.conditions) * 16 + 16
    shuffled = toy(_capabilities(cls), order=np.random.default_rng(3).permutation(n))
    if not np.allclose(_ask(cls, toy(_capabilities(cls))).mean, _ask(cls, shuffled).mean, atol=1e-4, equal_nan=True):
        return "the answer depends on the order of the training cells."
    return None


def _query_alone(cls: type) -> str | None:
    if _capabilities(cls).stochastic:
        return None
    scene = toy(_capabilities(cls))
    answer = _ask(cls, scene)
    model = cls()
    if isinstance(model, ReferenceRow):
        return None
    model.fit(scene.data, seed=0)
    i = int(np.flatnonzero(answer.absent == "")[0])
    prediction = model.predict((scene.truth.conditions[i],), scene.truth.controls)
    alone = np.asarray(prediction.mean)[0]
    if prediction.scale == "delta":
        alone = alone + scene.truth.controls.control_mean(prediction.conditions)[0]
    if prediction.genes is None and prediction.scale != "counts" and not np.allclose(alone, answer.mean[i], atol=1e-4):
        return "a condition asked alone is answered otherwise than among others; predict must not depend on the other queries."
    return None


CHECKS: dict[str, Callable[[type], str | None]] = {
    "constructor: keyword-only, all with defaults": _constructor,
    "constructor: stores parameters unchanged, JSON values": _parameters,
    "capabilities are declared": _declares,
    "fit and predict give a valid prediction": _answers,
    "predict before fit raises NotFitted": _not_fitted,
    "same seed, same answer": _deterministic,
    "a seed that matters is declared": _seed,
    "a second fit forgets the first": _refit,
    "inputs are left unchanged": _no_mutation,
    "test cells are never read": _poison,
    "order of training cells does not matter": _cell_order,
    "a query does not depend on the others": _query_alone,
}
