"""The kit for splits: the built-in ones pass, and each bad one fails where it is bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import UsageError
from pbench.bench.engine.check_split import CHECKS, MADE, PARAMETERS, check_split
from pbench.datasets.splits import CATALOGUE
from pbench.datasets.splits.targets import unseen_single


def problems(function):
    return {v.check: v.problem for v in check_split(function) if v.problem}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_built_in_split_passes(name):
    assert problems(registry.splits.get(name)) == {}


def positional(screen, *, data_id, folds=5, **options):
    return unseen_single(screen, data_id=data_id, folds=folds)


def made_by(change):
    """A split that spoils the manifests of a good one."""

    def split(screen, *, data_id):
        return tuple(change(m, screen) for m in unseen_single(screen, data_id=data_id))

    return split


def drawn(screen, *, data_id):
    return unseen_single(screen, data_id=data_id, seed=int(np.random.default_rng().integers(10_000)))


def by_row(screen, *, data_id):
    return unseen_single(screen, data_id=data_id, seed=sum(map(ord, screen.barcodes[0])))


def writes(screen, *, data_id):
    screen.adata.obs["seen"] = True
    return unseen_single(screen, data_id=data_id)


def impatient(screen, *, data_id):
    if len(screen.perturbed) < 3:
        raise UsageError("too few")
    return unseen_single(screen, data_id=data_id)


BAD = {
    "any parameter": (positional, PARAMETERS, "not keyword-only"),
    "no manifest": (lambda screen, *, data_id: [], MADE, "no SplitManifest"),
    "raises": (lambda screen, *, data_id: {}["x"], MADE, "KeyError"),
    "usage": (impatient, "a screen that does not fit is refused in words", "DataError"),
    "other data": (made_by(lambda m, s: replace(m, data_id="1")), "manifests name the split, the data and the fold", "data_id"),
    "silent": (
        made_by(lambda m, s: replace(m, roles={c: "excluded" if r == "train" else r for c, r in m.roles.items()})),
        "every condition has a role, and a reason where it is left out",
        "without a reason",
    ),
    "left out": (
        made_by(lambda m, s: replace(m, roles=dict(list(m.roles.items())[1:]))),
        "every condition has a role, and a reason where it is left out",
        "no role",
    ),
    "wrong strata": (
        made_by(lambda m, s: replace(m, subgroups={c: {"seen_k": "7"} for c in m.subgroups})),
        "the audit finds no leak",
        "seen_k",
    ),
    "drawn": (drawn, "same screen, same manifests", "second call"),
    "by row": (by_row, "order of cells and genes does not matter", "another order"),
    "writes": (writes, "the screen is left unchanged", "changed the screen"),
    "tuples": (
        made_by(lambda m, s: replace(m, params={"pair": (1, 2)})),
        "manifests are the same after JSON",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_split_fails_where_it_is_bad(what):
    function, check, says = BAD[what]
    found = problems(function)
    assert check in found and says in found[check], found


def test_every_check_has_a_split_that_fails_it():
    assert {check for _, check, _ in BAD.values()} == set(CHECKS)
