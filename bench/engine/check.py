"""The conformance kit for models: named checks on a toy screen, each with what is wrong in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..contracts.errors import NotFitted
from ..contracts.model import Capabilities, Model, ReferenceRow, parameters
from .answer import Answer, ask
from .encoding import HeldOut, encode
from .toy import Toy, toy
from .verdict import Verdict, verdicts

Array = np.ndarray[Any, Any]


def check_model(cls: type) -> Iterator[Verdict]:
    """Run every check on a model class; a check that raises says what it raised."""
    return verdicts(CHECKS, cls)


def _capabilities(cls: type) -> Capabilities:
    return getattr(cls, "capabilities", Capabilities())


def _ask(cls: type, scene: Toy, *, seed: int = 0, model: Any = None) -> Answer:
    held_out = scene.held_out if hasattr(cls, "encode") else None
    return ask(model if model is not None else cls(), scene.data, scene.truth, seed=seed, held_out=held_out)


def _same(a: Answer, b: Answer, *, atol: float = 0.0) -> bool:
    """Whether two answers predict the same, and say the same of latent variables."""
    pairs = [(a.mean, b.mean)]
    if a.encoding is not None and b.encoding is not None:
        pairs += [(a.encoding.codes[name], b.encoding.codes[name]) for name in a.encoding.codes]
    return all(np.allclose(x, y, rtol=1e-5 if atol else 0.0, atol=atol, equal_nan=True) for x, y in pairs)


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
    if not _capabilities(cls).predicts:
        return None if hasattr(cls, "encode") else "the model neither predicts nor has encode(cells); what is it for?"
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
    if not _same(_ask(cls, scene), _ask(cls, scene)):
        return "two fits with the same seed differ; draw every random number from np.random.default_rng(seed)."
    return None


def _seed(cls: type) -> str | None:
    scene = toy(_capabilities(cls))
    moved = not _same(_ask(cls, scene, seed=0), _ask(cls, scene, seed=1))
    if moved and not _capabilities(cls).stochastic:
        return (
            "the seed changes the answer, and capabilities.stochastic is False; set it, so that the model is run with every seed."
        )
    return None


def _refit(cls: type) -> str | None:
    first, second = toy(_capabilities(cls)), toy(_capabilities(cls), seed=1)
    model = cls()
    _ask(cls, first, model=model)
    if not _same(_ask(cls, second, model=model), _ask(cls, second), atol=1e-5):
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
    if not _same(_ask(cls, clean), _ask(cls, poisoned)):
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
    if isinstance(model, ReferenceRow) or not _capabilities(cls).predicts:
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


def _encodes(cls: type) -> str | None:
    if not hasattr(cls, "encode"):
        return None
    scene = toy(_capabilities(cls))
    model = cls()
    _ask(cls, scene, model=model)
    first = encode(model, scene.held_out)
    again = encode(model, scene.held_out)
    if any(not np.array_equal(first.codes[name], again.codes[name]) for name in first.codes):
        return "encode gives other codes when it is called again; return means, not draws."
    if isinstance(model, ReferenceRow):
        return None
    cells = scene.held_out.cells
    order = np.random.default_rng(4).permutation(len(cells.codes))
    unit, time = (None if a is None else a[order] for a in (cells.unit, cells.time))
    X: Any = cells.X
    shuffled = replace(cells, X=X[order], codes=cells.codes[order], unit=unit, time=time)
    moved = encode(model, HeldOut(shuffled, None))
    if any(not np.allclose(first.codes[name][order], moved.codes[name], rtol=1e-3, atol=1e-3) for name in first.codes):
        return "the code of a cell depends on the order of the cells; encode must return rows in the order in which they came."
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
    "encode gives codes by name, the same again, row by row": _encodes,
}
