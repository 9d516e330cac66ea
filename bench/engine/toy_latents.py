"""Toy units whose latent variables are known, and codes of them that are right, wrong and odd, for the checks of metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..contracts.latents import Encoding, GroundTruth, LatentComparison
from ..contracts.metric import Comparison
from .toy_predictions import Stage

Array = np.ndarray[Any, Any]
RESPONSIVE, INVARIANT = 4, 2


def stage_of_codes() -> Stage:
    """Four hundred units at three times: variables that perturbations move and that cause each other, and some that stay."""
    latents = _units()
    rng = np.random.default_rng(5)
    n, d = latents.truth.values.shape
    noise = rng.normal(size=(n, d))
    strengths = {label: rng.random(RESPONSIVE) for label in latents.truth.perturbations[1:]}
    middling = _said(latents, latents.truth.values + 0.7 * noise, targets=strengths, graph=rng.random((RESPONSIVE, RESPONSIVE)))
    order = rng.permutation(n)
    return Stage(
        _of(_said(latents, latents.truth.values, **_true(latents.truth))),
        _of(middling),
        {"codes of noise": _of(_said(latents, noise, targets=strengths, graph=rng.random((RESPONSIVE, RESPONSIVE))))},
        _of(_reordered(middling, order)),
        None,
        {
            "codes that are constant": _of(_said(latents, np.ones((n, d)))),
            "codes without names for blocks": _of(replace(latents, encoding=Encoding({"latent": latents.truth.values}))),
            "a single latent variable": _of(_single(latents)),
            "cells that were seen once": _of(replace(middling, unit=np.arange(n), time=np.full(n, np.nan))),
        },
        lambda comparison, names: replace(comparison),
    )


def _of(latents: LatentComparison) -> Comparison:
    # There is no prediction of conditions beside codes: a metric of latent variables reads nothing else.
    absent: Any = None
    return Comparison(absent, absent, latents=latents)


def _said(latents: LatentComparison, codes: Array, **encoding: Any) -> LatentComparison:
    parts = {"responsive": codes[:, :RESPONSIVE], "invariant": codes[:, RESPONSIVE:]}
    return replace(latents, encoding=Encoding(parts, **encoding))


def _true(truth: GroundTruth) -> dict[str, Any]:
    block = truth.block("responsive")
    names = truth.perturbations
    targets = {names[p]: truth.targets[p, block].astype(np.float64) for p in range(1, len(names))}
    return {"targets": targets, "graph": truth.lagged[0][np.ix_(block, block)].astype(np.float64)}


def _units(n_units: int = 400, n_times: int = 3, n_perturbations: int = 5) -> LatentComparison:
    rng = np.random.default_rng(4)
    d = RESPONSIVE + INVARIANT
    own = rng.integers(0, n_perturbations, n_units)
    targets = np.zeros((n_perturbations, d), dtype=bool)
    targets[np.arange(1, n_perturbations), np.arange(n_perturbations - 1) % RESPONSIVE] = True
    causes = np.tril(rng.random((RESPONSIVE, RESPONSIVE)) < 0.5, -1)
    causes[1, 0] = True
    still = rng.normal(size=(n_units, INVARIANT))
    state, states = rng.normal(size=(n_units, RESPONSIVE)), []
    for _ in range(n_times):
        push = 0.5 * np.tanh(state) @ causes.T + 2.0 * targets[own][:, :RESPONSIVE]
        state = 0.6 * state + push + 0.4 * rng.normal(size=state.shape)
        states.append(state)
    lagged = np.zeros((1, d, d), dtype=bool)
    lagged[0, :RESPONSIVE, :RESPONSIVE] = causes | np.eye(RESPONSIVE, dtype=bool)
    values = np.concatenate([np.stack(states, 1).reshape(-1, RESPONSIVE), np.repeat(still, n_times, axis=0)], axis=1)
    truth = GroundTruth(
        values,
        tuple(f"z{i}" for i in range(d)),
        ("responsive",) * RESPONSIVE + ("invariant",) * INVARIANT,
        ("continuous",) * d,
        ("control", *(f"P{p}" for p in range(1, n_perturbations))),
        targets,
        np.zeros((d, d), dtype=bool),
        lagged,
    )
    report = np.repeat(rng.random(n_units) < 0.5, n_times)
    unit, time = np.repeat(np.arange(n_units), n_times), np.tile(np.arange(n_times, dtype=float), n_units)
    return LatentComparison(truth, Encoding({}), report, np.repeat(own, n_times), unit, time, "permutation")


def _reordered(latents: LatentComparison, order: Array) -> LatentComparison:
    codes = {name: value[order] for name, value in latents.encoding.codes.items()}
    return replace(
        latents,
        truth=latents.truth.at(order),
        encoding=replace(latents.encoding, codes=codes),
        report=latents.report[order],
        perturbation=latents.perturbation[order],
        unit=latents.unit[order],
        time=latents.time[order],
    )


def _single(latents: LatentComparison) -> LatentComparison:
    t = latents.truth
    one = GroundTruth(
        t.values[:, :1],
        t.names[:1],
        t.blocks[:1],
        t.kinds[:1],
        t.perturbations,
        t.targets[:, :1],
        t.graph[:1, :1],
        t.lagged[:, :1, :1],
    )
    return replace(latents, truth=one, encoding=Encoding({"responsive": t.values[:, :1]}))
