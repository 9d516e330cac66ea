"""The order of models by a metric: ranks that are shared where the data cannot tell, and how stable the order is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from .inference import Clusters, chosen, defined, design_effect, gain, holm, sign_flip_p

Array = np.ndarray[Any, Any]


def tied_ranks(
    values: Mapping[str, Array],
    *,
    direction: str,
    perfect: float,
    alpha: float = 0.05,
    n_perm: int = 10_000,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> dict[str, int]:
    """Ranks of models, shared where the data cannot tell a model from the best of its group.

    Models are walked through from the best mean to the worst. The first leads a group; a model that is significantly
    worse than the leader (paired sign-flip test, Holm over all pairs of models) leads the next one. The comparison is
    with the leader, since "not significantly different" is not transitive: comparing neighbours would chain a model
    to a much better one through those between. The family is all pairs, since the leader is chosen by the same data.

    Parameters
    ----------
    values
        For each model (n,) values aligned by perturbation, NaN where undefined. Means are over a model's defined values,
        so pass models that answered the same perturbations.
    direction, perfect
        Of the metric; for ``target`` the values compared are \\|value - perfect\\|.
    n_perm
        Sign patterns at least; more are drawn where Holm over many pairs would leave even the smallest p above `alpha`.
    clusters
        The targets of each perturbation, as in `paired_test`.

    Returns
    -------
    Rank of each model, best first: 1 + the number of models in better groups. A model without a value has none and is absent.
    """
    gains = _gains(values, direction, perfect)
    mean = {m: float(np.sort(g[~np.isnan(g)]).mean()) for m, g in gains.items()}
    order = sorted(gains, key=lambda m: (-mean[m], m))
    pairs = list(combinations(order, 2))
    if not pairs:
        return dict.fromkeys(order, 1)
    d = np.stack([gains[a] - gains[b] for a, b in pairs], axis=1)
    d = d[~np.isnan(d).all(axis=1)]
    known = [defined(gains[a], gains[b]) for a, b in pairs]
    effects = [design_effect((gains[a] - gains[b])[k], chosen(clusters, k)) for (a, b), k in zip(pairs, known, strict=True)]
    n_perm = max(n_perm, int(np.ceil(10 * len(pairs) / alpha)))
    p = holm(sign_flip_p(d, np.array(effects), n_perm=n_perm, seed=seed)) if len(d) else np.full(len(pairs), np.nan)
    # On the perturbations they share, the model with the better mean may be the worse one; then it is no evidence either.
    worse = {pair for i, pair in enumerate(pairs) if p[i] < alpha and np.nansum(d[:, i]) > 0}
    ranks: dict[str, int] = {}
    leader = order[0]
    for place, model in enumerate(order, 1):
        if (leader, model) in worse:
            leader = model
        ranks[model] = place if leader == model else ranks[leader]
    return ranks


def rank_stability(values: Mapping[str, Array], *, direction: str, perfect: float, n_boot: int = 1000, seed: int = 0) -> float:
    """Whether another draw of perturbations would order the models alike: 1 the same order, 0 no relation, -1 reversed.

    Mean Kendall tau-b between the models' means and their means over n perturbations drawn with replacement, the same
    ones for all models. Models without a value, and draws that leave a model without one, are left out.

    Returns
    -------
    Mean tau, or NaN below two models or perturbations, or where all models are equal.

    References
    ----------
    Kendall, Biometrika 33 (1945): tau-b.
    """
    gains = _gains(values, direction, perfect)
    if len(gains) < 2:
        return float("nan")
    table = np.stack([gains[m] for m in sorted(gains)])
    table = table[:, np.lexsort(table)]
    n = table.shape[1]
    if n < 2:
        return float("nan")
    draws = np.random.default_rng(seed).integers(0, n, size=(n_boot, n))
    rows = np.concatenate([np.arange(n)[None], draws])
    known = ~np.isnan(table)
    counts = np.stack([k[rows].sum(axis=1) for k in known], axis=1)
    sums = np.stack([np.where(k, v, 0.0)[rows].sum(axis=1) for v, k in zip(table, known, strict=True)], axis=1)
    means = (sums / np.where(counts, counts, 1))[(counts > 0).all(axis=1)]
    i, j = np.triu_indices(len(table), 1)
    signs = np.sign(means[:, i] - means[:, j])
    norm = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1:]).sum(axis=1))
    tau = (signs[1:] @ signs[0])[norm > 0] / norm[norm > 0]
    return float(tau.mean()) if len(tau) else float("nan")


def _gains(values: Mapping[str, Array], direction: str, perfect: float) -> dict[str, Array]:
    """Gains of the models that have any value, in the order of their names."""
    gains = {m: gain(values[m], direction=direction, perfect=perfect) for m in sorted(values)}
    if gains:
        defined(*gains.values())
    return {m: g for m, g in gains.items() if not np.isnan(g).all()}
