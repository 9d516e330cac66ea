"""What can be checked, without the truth, of the conditions under which latent variables are identified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Repetitions behind the noise floor, and cells that an environment needs to count.
DRAWS, FEWEST = 20, 10


def natural_parameters(codes: Array) -> Array:
    """(2 d,) m / v and −1 / (2 v) of each column of codes (n, d), taken to be normal."""
    mean, variance = codes.mean(axis=0), np.maximum(codes.var(axis=0, ddof=1), 1e-12)
    return np.concatenate([mean / variance, -0.5 / variance])


def spectrum(codes: Array, environment: Array, *, seed: int) -> dict[str, Any]:
    """Singular values of how natural parameters change between environments and control, beside those of chance.

    Rows are environments, columns the 2 d parameters of codes in units of their deviations in control cells, each row weighed by
    the square root of its cells' number over the mean number. Chance: environments of the same sizes that are drawn with
    replacement from control cells; its floor is the 95 % quantile of the largest singular value. The theorem asks for rank 2 d.

    Parameters
    ----------
    codes
        (n, d).
    environment
        (n,) number of each cell's environment, 0 for control.
    """
    control = codes[environment == 0]
    own = [e for e in np.unique(environment) if e > 0 and (environment == e).sum() >= FEWEST]
    d = codes.shape[1]
    out = {"environments": len(own), "needed": 2 * d, "singular_values": [], "noise_floor": None, "effective_rank": 0}
    if not own or len(control) < FEWEST:
        return out
    scale = np.maximum(control.std(axis=0), 1e-12)
    codes, control = codes / scale, control / scale
    sizes = np.array([(environment == e).sum() for e in own])
    weights = np.sqrt(sizes / sizes.mean())[:, None]
    base = natural_parameters(control)
    changes = np.array([natural_parameters(codes[environment == e]) for e in own]) - base
    values = np.linalg.svd(weights * changes, compute_uv=False)
    rng, largest = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn = [natural_parameters(control[rng.integers(len(control), size=n)]) - base for n in sizes]
        largest.append(np.linalg.svd(weights * np.array(drawn), compute_uv=False)[0])
    floor = float(np.quantile(largest, 0.95))
    return {
        **out,
        "singular_values": values.tolist(),
        "noise_floor": floor,
        "effective_rank": int((values > floor).sum()),
        "condition_number": float(values[0] / max(values[-1], 1e-12)) if len(values) == 2 * d else None,
    }


def separation(codes: Array, environment: Array) -> dict[str, float | None]:
    """How well environments can be told from control by codes: discrepancy and area under the curve, mean and largest.

    The discrepancy is that of `unbiased_discrepancy` on at most 500 cells a side. The curve is that of a linear discriminant fitted
    on every second cell and judged on the others: 0.5 is chance.
    """
    import torch

    from .cite_alignment import unbiased_discrepancy

    control = codes[environment == 0]
    gaps, areas = [], []
    for e in np.unique(environment[environment > 0]):
        own = codes[environment == e]
        if len(own) < FEWEST or len(control) < FEWEST:
            continue
        gaps.append(float(unbiased_discrepancy(torch.from_numpy(own[:500]), torch.from_numpy(control[:500]))))
        a, b = own[::2], control[::2]
        pooled = np.atleast_2d(np.cov(a.T)) + np.atleast_2d(np.cov(b.T)) + 1e-6 * np.eye(codes.shape[1])
        direction = np.linalg.solve(pooled, a.mean(axis=0) - b.mean(axis=0))
        areas.append(_area(own[1::2] @ direction, control[1::2] @ direction))
    if not gaps:
        return {"mmd_mean": None, "mmd_max": None, "auc_mean": None, "auc_max": None}
    return {
        "mmd_mean": float(np.mean(gaps)),
        "mmd_max": float(np.max(gaps)),
        "auc_mean": float(np.mean(areas)),
        "auc_max": float(np.max(areas)),
    }


def _area(positive: Array, negative: Array) -> float:
    """Probability that a positive score exceeds a negative one, ties counting half."""
    both = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse][: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def leakage(responsive: Array, invariant: Array) -> float:
    """R² of responsive codes from invariant ones, linear, fitted on every second cell and judged on the others; at least 0."""
    inputs = np.column_stack([invariant, np.ones(len(invariant))])
    weights = np.linalg.lstsq(inputs[::2], responsive[::2], rcond=None)[0]
    error = ((responsive[1::2] - inputs[1::2] @ weights) ** 2).sum(axis=0)
    total = ((responsive[1::2] - responsive[::2].mean(axis=0)) ** 2).sum(axis=0)
    return float(max(0.0, np.mean(1 - error / np.maximum(total, 1e-12))))


def collapsed(codes: Array) -> int:
    """Codes whose variance is below 1 % of the median variance, or of 1 if that is more than the median."""
    variance = codes.var(axis=0)
    return int((variance < 0.01 * max(1.0, float(np.median(variance)))).sum())


def report(
    responsive: Array, invariant: Array, environment: Array, names: Sequence[str], incoming: Array, *, regime: str, seed: int
) -> dict[str, Any]:
    """JSON values on what a fitted model and its data say of the conditions of identification.

    Parameters
    ----------
    responsive, invariant
        (n, d) and (n, e) codes of training cells.
    environment
        (n,) number of each cell's environment, 0 for control.
    names
        Of the environments, by number.
    incoming
        (E, d) norm of the weights with which other variables act on each in the same instant, in each environment.

    Returns
    -------
    dict
        ``environments``, ``needed`` (2 d), ``singular_values``, ``noise_floor`` and ``effective_rank`` of `spectrum`;
        ``vanishing``, for each variable the least incoming weight over environments, which the theorem wants to be zero;
        ``alignment`` of invariant codes and the same of responsive ones; ``leakage``; ``collapsed`` codes of each block;
        ``dynamics``, in words, what the regime says of them. Whether two trainings agree is not for one of them to say.
    """
    dynamics = {
        "paired": "the transition is observed: units are seen before and after each step",
        "timed": "marginals at several times are observed and no transition; what happens to a cell in between is an assumption",
        "endpoint": "nothing is observed of the dynamics: any number of steps has the law of one step",
    }
    return {
        "regime": regime,
        "dynamics": dynamics[regime],
        **spectrum(responsive, environment, seed=seed),
        "perturbations": list(names[1:]),
        "vanishing": incoming.min(axis=0).tolist(),
        "alignment": {"invariant": separation(invariant, environment), "responsive": separation(responsive, environment)},
        "leakage": leakage(responsive, invariant),
        "collapsed": {"responsive": collapsed(responsive), "invariant": collapsed(invariant)},
    }
