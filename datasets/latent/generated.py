"""A generator as a data set: its dials, its name and its identity."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from ...bench.contracts.errors import UsageError, suggestion
from ...bench.contracts.identity import content_id
from ...bench.contracts.screen import Dataset, DatasetCard, Screen, validate
from ..dials import defaults_of, named, typed
from ..gene_sim import _syntax  # pyright: ignore[reportPrivateUsage]


def generated(simulate: Callable[..., Screen], card: DatasetCard, modules: tuple[ModuleType, ...]) -> Dataset:
    """The data set that a generator makes by default; its ``generate(**dials)`` makes the others.

    Parameters
    ----------
    simulate
        Generator whose parameters are keyword-only, have defaults, and are numbers, texts or truth values.
    card
        Of what it makes by default.
    modules
        All modules whose syntax decides what is generated: the identity of the data changes with it.
    """

    def make(**dials: Any) -> Dataset:
        defaults = defaults_of(simulate)
        changed = {k: v for k, v in typed(defaults, card.name, dials).items() if v != defaults[k]}
        # What is known of the default need not hold for another size.
        own = replace(card, name=named(card.name, changed), n_cells=None, n_genes=None, n_perturbations=None) if changed else card
        parameters = {**defaults, **changed}

        def load() -> Screen:
            screen = simulate(**parameters)
            return validate(replace(screen, card=replace(screen.card, name=own.name)), source=own.name)

        return Dataset(card=own, data_id=lambda: identity(parameters, modules), load=load, generate=make, parameters=parameters)

    return make()


def identity(parameters: Mapping[str, Any], modules: tuple[ModuleType, ...]) -> str:
    """sha256 of what is generated: the parameters, the numpy release, and the syntax of the modules.

    Comments, docstrings and layout do not count. The numpy release does, because it may change the streams.
    """
    syntax = [_syntax(ast.parse(inspect.getsource(module))) for module in modules]
    release = ".".join(np.__version__.split(".")[:2])
    return content_id({"parameters": dict(parameters), "numpy": release, "syntax": syntax})


def choice(**named_values: tuple[str, tuple[str, ...]]) -> None:
    """Raise `UsageError` unless each value is among those that its dial knows."""
    for dial, (value, known) in named_values.items():
        if value not in known:
            raise UsageError(f"{dial}={value} is not known. {suggestion(str(value), known)}")


def at_least(**named_values: tuple[float, float]) -> None:
    """Raise `UsageError` unless each value is no smaller than the least that its dial allows."""
    for dial, (value, least) in named_values.items():
        if not value >= least:
            raise UsageError(f"{dial}={value} is too small; give at least {least:g}.")
