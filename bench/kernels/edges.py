"""How well estimated edges recover those of a directed graph: counts of wrong ones, shares of right ones.

Self-edges never count. Two edges between the same variables, one either way, are allowed: a summary of several instants has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def hamming(true: Array, guess: Array) -> int:
    """Structural Hamming distance of (d, d) bool graphs: edges to add, to delete or to turn, a turned one counting once.

    Tsamardinos, Brown & Aliferis, Machine Learning 2006.
    """
    missing, extra = _off(true & ~guess), _off(guess & ~true)
    pairs = np.triu_indices(len(true), 1)
    return int(np.maximum((missing + missing.T)[pairs], (extra + extra.T)[pairs]).sum())


def _off(graph: Array) -> Array:
    """As integers, without self-edges."""
    return np.where(np.eye(len(graph), dtype=bool), 0, graph).astype(np.int64)


def f1(true: Array, guess: Array) -> float:
    """2 TP / (2 TP + FP + FN) of bool arrays: 0 where nothing is guessed, NaN where nothing is true."""
    if not true.any():
        return float("nan")
    return float(2 * (true & guess).sum() / (true.sum() + guess.sum()))


def skeleton(graph: Array) -> Array:
    """(d (d - 1) / 2,) bool: pairs with an edge either way."""
    return (graph | graph.T)[np.triu_indices(len(graph), 1)]


def off_diagonal(matrix: Array) -> Array:
    """(d (d - 1),) entries of (d, d), row by row."""
    return matrix[~np.eye(len(matrix), dtype=bool)]


def strongest(strength: Array, count: int) -> Array:
    """(d, d) bool: the `count` strongest positive edges of (d, d); of edges tied over the last places none is taken.

    A graph whose strengths are all equal says nothing, and is empty.
    """
    values = np.where(np.eye(len(strength), dtype=bool), 0.0, strength)
    ordered = np.sort(values, axis=None)[::-1]
    if count <= 0:
        return np.zeros(values.shape, dtype=bool)
    beyond = ordered[count] if count < ordered.size else 0.0
    return values > max(0.0, float(beyond))


def empty_distance(true: Array) -> float:
    """Hamming distance of the graph without edges over the number of true edges: always 1; NaN without true edges."""
    edges = int(_off(true).sum())
    return hamming(true, np.zeros_like(true)) / edges if edges else float("nan")


def random_distance(true: Array, *, seed: int, draws: int = 200) -> float:
    """Mean over random graphs with as many edges of the Hamming distance over the number of true edges."""
    edges, rng, found = int(_off(true).sum()), np.random.default_rng(seed), []
    if not edges:
        return float("nan")
    for _ in range(draws):
        found.append(hamming(true, strongest(rng.random(true.shape), edges)))
    return float(np.mean(found)) / edges
