"""The conformance kit for splits: named checks of a generator on toy screens with pairs, contexts, times and doses."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.errors import DataError, PbenchError
from ..contracts.screen import Screen
from ..contracts.split import ROLES, SplitManifest
from .audit import audit, row_hashes
from .toy_screen import TARGETS, shuffled, toy_screen
from .verdict import Verdict, verdicts

DATA_ID = "0" * 64


@dataclass(frozen=True)
class Generator:
    """A split with the toy screens that it divides, and what it says of the others."""

    function: Callable[..., Any]

    @cached_property
    def screens(self) -> dict[str, Screen]:
        contexts = ("K562", "RPE1", "THP1")
        return {
            "singles and pairs": toy_screen(n_genes=24),
            "three contexts": toy_screen(n_genes=24, contexts=contexts, doubles=False),
            "four times": toy_screen(n_genes=24, times=(1.0, 2.0, 4.0, 8.0), doubles=False),
            "three doses": toy_screen(n_genes=24, doses=(0.1, 1.0, 2.0)),
            "one perturbation": toy_screen(n_genes=24, targets=TARGETS[:1], doubles=False),
            "many cells": toy_screen(n_genes=24, n_cells=64, targets=TARGETS[:5], doubles=False),
            "few cells": toy_screen(n_genes=24, n_cells=3, doubles=False),
        }

    def made(self, screen: Screen) -> tuple[SplitManifest, ...]:
        return tuple(self.function(screen, data_id=DATA_ID))

    @cached_property
    def manifests(self) -> dict[str, tuple[SplitManifest, ...]]:
        """Manifests by screen, for those that it divides."""
        found = {}
        for name, screen in self.screens.items():
            try:
                found[name] = self.made(screen)
            except PbenchError:
                continue
        return found

    def each(self) -> Iterator[tuple[str, Screen, SplitManifest]]:
        for name, manifests in self.manifests.items():
            for manifest in manifests:
                yield name, self.screens[name], manifest


def check_split(function: Callable[..., Any]) -> Iterator[Verdict]:
    """Run every check on a split generator; one that divides no toy screen is not checked further."""
    if not callable(function):
        return iter([Verdict(MADE, f"this is {type(function).__name__}; a split is a function of a screen.")])
    return verdicts(CHECKS, Generator(function), needed=(PARAMETERS, MADE))


def _parameters(generator: Generator) -> str | None:
    found = list(inspect.signature(generator.function).parameters.values())
    if "data_id" not in {p.name for p in found}:
        return "the function takes no data_id; write def name(screen, *, data_id, ...)."
    for p in found[1:]:
        if p.kind is not p.KEYWORD_ONLY:
            return f"parameter '{p.name}' is not keyword-only; write def name(screen, *, data_id, {p.name}=...)."
        if p.name != "data_id":
            if p.default is p.empty:
                return f"parameter '{p.name}' has no default."
            json.dumps(p.default, allow_nan=False)
    return None


def _made(generator: Generator) -> str | None:
    for name, screen in generator.screens.items():
        try:
            manifests = generator.made(screen)
        except PbenchError:
            continue
        if not manifests or not all(isinstance(m, SplitManifest) for m in manifests):
            return f"on a screen of {name} it returns no SplitManifest; return one for each fold, or raise DataError."
    if not generator.manifests:
        return f"it divides none of the toy screens ({', '.join(generator.screens)})."
    return None


def _refuses(generator: Generator) -> str | None:
    for name, screen in generator.screens.items():
        try:
            generator.made(screen)
        except DataError as error:
            if not str(error).strip():
                return f"on a screen of {name} it raises a DataError that says nothing."
        except PbenchError as error:
            return f"on a screen of {name} it raises {type(error).__name__} ({error}); data that do not fit are a DataError."
    return None


def _facts(generator: Generator) -> str | None:
    for name, screen, m in generator.each():
        if m.data_id != DATA_ID or m.dataset != screen.card.name:
            return f"on a screen of {name} the manifest holds another data_id or data set than it was made for."
        if not m.split:
            return "the manifest holds no name of the split."
        if not isinstance(m.generator_version, int) or m.generator_version < 1:
            return "generator_version is no whole number from 1 on; raise it when the same parameters divide otherwise."
    for name, manifests in generator.manifests.items():
        if len({m.fold for m in manifests}) < len(manifests):
            return f"on a screen of {name} two folds have the same name."
    return None


def _roles(generator: Generator) -> str | None:
    for name, screen, m in generator.each():
        if left := [c for c in screen.perturbed if c not in m.roles]:
            return f"on a screen of {name} it gives {left[0].key!r} no role; exclude a condition with a reason."
        if strange := [c for c in m.roles if c not in set(screen.perturbed)]:
            return f"on a screen of {name} it gives {strange[0].key!r} a role, which is no perturbed condition of the screen."
        if unknown := sorted(set(m.roles.values()) - set(ROLES)):
            return f"role '{unknown[0]}' is not one of {', '.join(ROLES)}."
        if silent := [c for c in m.with_role("excluded") if not m.reasons.get(c)]:
            return f"on a screen of {name} it excludes {silent[0].key!r} without a reason."
        if not m.with_role("test"):
            return f"on a screen of {name} fold {m.fold} tests nothing."
    return None


def _audited(generator: Generator) -> str | None:
    for name, screen, m in generator.each():
        for finding in audit(m, screen):
            if finding.status == "fail":
                return f"on a screen of {name}, rule {finding.rule} ({finding.name}): {finding.detail}"
    return None


def _again(generator: Generator) -> str | None:
    for name, screen in generator.screens.items():
        if name in generator.manifests and _ids(generator.made(screen)) != _ids(generator.manifests[name]):
            return f"on a screen of {name} a second call divides otherwise; draw from np.random.default_rng(seed)."
    return None


def _order(generator: Generator) -> str | None:
    for name, screen in generator.screens.items():
        if name in generator.manifests and _ids(generator.made(shuffled(screen))) != _ids(generator.manifests[name]):
            return (
                f"on a screen of {name} it divides otherwise when cells and genes come in another order; sort, or choose by hash."
            )
    return None


def _no_mutation(generator: Generator) -> str | None:
    # New screens: those of the other checks have been through its hands.
    for name, screen in Generator(generator.function).screens.items():
        if name in generator.manifests:
            adata: Any = screen.adata
            obs, hashes = adata.obs.copy(), row_hashes(adata.X)[0]
            generator.made(screen)
            if not (obs.equals(adata.obs) and np.array_equal(hashes, row_hashes(adata.X)[0])):
                return f"on a screen of {name} it changed the screen that it was given."
    return None


def _file(generator: Generator) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        for name, _, m in generator.each():
            path = Path(folder) / "manifest.json"
            m.save(path)
            again = SplitManifest.load(path)
            if again.id != m.id or dict(again.params) != dict(m.params):
                return f"on a screen of {name} the manifest is another one after it was written and read."
    return None


def _ids(manifests: tuple[SplitManifest, ...]) -> list[str]:
    return [m.id for m in manifests]


PARAMETERS = "parameters: keyword-only, with defaults, JSON values"
MADE = "gives a manifest for each fold of a screen"
CHECKS: dict[str, Callable[[Generator], str | None]] = {
    PARAMETERS: _parameters,
    MADE: _made,
    "a screen that does not fit is refused in words": _refuses,
    "manifests name the split, the data and the fold": _facts,
    "every condition has a role, and a reason where it is left out": _roles,
    "the audit finds no leak": _audited,
    "same screen, same manifests": _again,
    "order of cells and genes does not matter": _order,
    "the screen is left unchanged": _no_mutation,
    "manifests are the same after JSON": _file,
}
