"""The order of models by a metric: ranks that are shared where the data cannot tell, groups, and how stable the order is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from .all_pairs import sign_flip_pairs
from .dependence import Clusters, chosen, design_effect, sample
from .inference import EXACT, PairedTest, defined, gain, holm, paired_test, sign_flip_p, weighed
from .strata import Contexts, context_mean, resampled_means, strata, weights

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PairwiseTests:
    """Every model against every other.

    Parameters
    ----------
    order
        Models from the best mean to the worst.
    p
        For each pair, the better mean first, the p value of no difference, adjusted after Holm over all pairs.
    better
        Pairs of which the first is significantly better.
    """

    order: tuple[str, ...]
    p: Mapping[tuple[str, str], float]
    better: frozenset[tuple[str, str]]


def pairwise_tests(
    values: Mapping[str, Array],
    *,
    direction: str,
    perfect: float,
    alpha: float = 0.05,
    n_perm: int = 10_000,
    seed: int = 0,
    clusters: Clusters | None = None,
    contexts: Contexts | None = None,
) -> PairwiseTests:
    """Paired sign-flip tests between all models that have a value, with Holm over all pairs; parameters as in `tied_ranks`."""
    gains = _gains(values, direction, perfect)
    mean = {m: context_mean(g, contexts) for m, g in gains.items()}
    order = sorted(gains, key=lambda m: (-mean[m], m))
    pairs = list(combinations(order, 2))
    if not pairs:
        return PairwiseTests(tuple(order), {}, frozenset())
    if (wanted := int(np.ceil(10 * len(pairs) / alpha))) > n_perm:
        raw_p, sums = _many(gains, order, pairs, clusters, contexts, first_look=n_perm, n_perm=wanted, seed=seed)
        return _tested(order, pairs, holm(raw_p), sums, alpha)
    raw = [gains[a] - gains[b] for a, b in pairs]
    known = [defined(x) for x in raw]
    effects = [design_effect(x[k], chosen(clusters, k), chosen(contexts, k)) for x, k in zip(raw, known, strict=True)]
    d = np.stack([weighed(x, contexts) for x in raw], axis=1)
    d = d[~np.isnan(d).all(axis=1)]
    p = holm(sign_flip_p(d, np.array(effects), n_perm=n_perm, seed=seed)) if len(d) else np.full(len(pairs), np.nan)
    return _tested(order, pairs, p, np.nansum(d, axis=0), alpha)


def _tested(order: list[str], pairs: list[tuple[str, str]], p: Array, sums: Array, alpha: float) -> PairwiseTests:
    # On the perturbations they share, the model with the better mean may be the worse one; then it is no evidence either.
    better = frozenset(pair for pair, own, total in zip(pairs, p, sums, strict=True) if own < alpha and total > 0)
    return PairwiseTests(tuple(order), dict(zip(pairs, p.tolist(), strict=True)), better)


def _many(
    gains: Mapping[str, Array],
    order: list[str],
    pairs: list[tuple[str, str]],
    clusters: Clusters | None,
    contexts: Contexts | None,
    *,
    first_look: int,
    n_perm: int,
    seed: int,
) -> tuple[Array, Array]:
    """P values of many pairs and the sums of their weighed differences; pairs that are defined on the same perturbations at once."""
    table = np.stack([gains[m] for m in order], axis=1)
    place = {m: i for i, m in enumerate(order)}
    known = ~np.isnan(table)
    p, sums = np.full((2, len(pairs)), np.nan)
    alike: dict[bytes, list[int]] = {}
    for i, (a, b) in enumerate(pairs):
        alike.setdefault((known[:, place[a]] & known[:, place[b]]).tobytes(), []).append(i)
    for pattern, numbers in alike.items():
        keep = np.frombuffer(pattern, dtype=bool)
        n = int(keep.sum())
        if n < 2:
            continue
        where = chosen(contexts, keep)
        weight = weights(where, n) * n
        columns = np.array([[place[a], place[b]] for a, b in (pairs[i] for i in numbers)])
        used, columns = np.unique(columns, return_inverse=True)
        columns = columns.reshape(-1, 2)
        own = table[keep][:, used]
        effects, total = np.empty((2, len(numbers)))
        for start in range(0, len(numbers), 256):
            d = own[:, columns[start : start + 256, 0]] - own[:, columns[start : start + 256, 1]]
            effects[start : start + 256] = sample(chosen(clusters, keep), where, n).design_effects(d)
            total[start : start + 256] = weight @ d
        own = own * weight[:, None]
        if n > EXACT:
            found = sign_flip_pairs(own, columns, effects, first_look=first_look, n_perm=n_perm, seed=seed, keys=(weight,))
        else:
            found = sign_flip_p(own[:, columns[:, 0]] - own[:, columns[:, 1]], effects, n_perm=n_perm, seed=seed)
        p[numbers], sums[numbers] = found, total
    return p, sums


def tied_ranks(
    values: Mapping[str, Array],
    *,
    direction: str,
    perfect: float,
    alpha: float = 0.05,
    n_perm: int = 10_000,
    seed: int = 0,
    clusters: Clusters | None = None,
    contexts: Contexts | None = None,
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
    clusters, contexts
        The targets and the context of each perturbation, as in `inference.paired_test`.

    Returns
    -------
    Rank of each model, best first: 1 + the number of models in better groups. A model without a value has none and is absent.
    """
    return ranks_of(
        pairwise_tests(
            values,
            direction=direction,
            perfect=perfect,
            alpha=alpha,
            n_perm=n_perm,
            seed=seed,
            clusters=clusters,
            contexts=contexts,
        )
    )


def ranks_of(tests: PairwiseTests) -> dict[str, int]:
    """`tied_ranks` from tests that are already made."""
    ranks: dict[str, int] = {}
    leader = tests.order[0] if tests.order else ""
    for place, model in enumerate(tests.order, 1):
        if (leader, model) in tests.better:
            leader = model
        ranks[model] = place if leader == model else ranks[leader]
    return ranks


def against(
    values: Mapping[str, Array],
    baseline: Array,
    *,
    direction: str,
    perfect: float,
    n_perm: int = 10_000,
    seed: int = 0,
    clusters: Clusters | None = None,
    contexts: Contexts | None = None,
) -> dict[str, PairedTest]:
    """Each model tested directly against one baseline, p values adjusted after Holm over these models alone.

    Unlike ranks, which are shared with the best of a group, this says of every model whether it is better than the baseline.

    Parameters
    ----------
    values, baseline
        (n,) of each model and of the baseline, aligned by perturbation. Models without a value are absent from the result.

    Returns
    -------
    `PairedTest` of gains by model: a positive difference is in favour of the model, whatever the direction. Differences
    within 1e-6 of the largest value are rounding and count as none.
    """
    gains, base = _gains(values, direction, perfect), gain(baseline, direction=direction, perfect=perfect)
    gains = {m: np.where(np.abs(g - base) <= 1e-6 * max(_largest(g), _largest(base)), base, g) for m, g in gains.items()}
    n_perm = max(n_perm, 400 * len(gains))
    tests = {m: paired_test(g, base, n_perm=n_perm, seed=seed, clusters=clusters, contexts=contexts) for m, g in gains.items()}
    adjusted = holm(np.array([t.p for t in tests.values()]))
    return {m: replace(t, p=float(p)) for (m, t), p in zip(tests.items(), adjusted, strict=True)}


def mean_ranks(
    values: Mapping[str, Array], *, direction: str, perfect: float, contexts: Contexts | None = None
) -> dict[str, float]:
    """Mean over perturbations (then over contexts) of a model's rank among all models, 1 the best, ties sharing their mid-rank.

    Perturbations on which a model is undefined are left out for all, so that every rank is among the same models. Empty
    where none is left.

    References
    ----------
    Demsar, J. Mach. Learn. Res. 7 (2006): average ranks of a critical-difference diagram.
    """
    from scipy.stats import rankdata

    gains = _gains(values, direction, perfect)
    if not gains:
        return {}
    table = np.stack(list(gains.values()))
    keep = defined(*gains.values())
    if not keep.any():
        return {}
    ranks = rankdata(-table[:, keep], axis=0)
    return {m: context_mean(r, chosen(contexts, keep)) for m, r in zip(gains, ranks, strict=True)}


def letters(order: Sequence[str], different: frozenset[tuple[str, str]]) -> dict[str, str]:
    """Compact letter display: two models share a letter exactly where no test tells them apart.

    Parameters
    ----------
    order
        Models, best first; letters are given in this order.
    different
        Pairs (in either order) that a test tells apart.

    >>> letters(["x", "y", "z"], frozenset({("x", "z")}))
    {'x': 'a', 'y': 'ab', 'z': 'b'}

    References
    ----------
    Piepho, J. Comput. Graph. Stat. 13 (2004): insert and absorb.
    """
    place = {m: i for i, m in enumerate(order)}
    groups = [frozenset(range(len(order)))]
    for a, b in sorted(sorted((place[a], place[b])) for a, b in different):
        split = {g - {drop} if {a, b} <= g else g for g in groups for drop in (a, b)}
        groups = [g for g in split if not any(g < other for other in split)]
    names = dict.fromkeys(order, "")
    for number, group in enumerate(sorted(map(sorted, groups))):
        for i in group:
            names[order[i]] += _letter(number)
    return names


def _letter(number: int) -> str:
    """One of a to z, then a1, b1, …"""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")


def rank_stability(
    values: Mapping[str, Array],
    *,
    direction: str,
    perfect: float,
    n_boot: int = 1000,
    seed: int = 0,
    contexts: Contexts | None = None,
) -> float:
    """Whether another draw of perturbations would order the models alike: 1 the same order, 0 no relation, -1 reversed.

    Perturbations are drawn one by one, also those that share a target; where many do, it errs on the high side. Mean Kendall tau-b between the models' means and their means over n perturbations drawn with replacement, the same
    ones for all models. Models without a value, and draws that leave a model without one, are left out.

    Returns
    -------
    Mean tau, or NaN below two models or perturbations, or where all models are equal.

    References
    ----------
    Kendall, Biometrika 33 (1945): tau-b.
    """
    gains = _gains(values, direction, perfect)
    if len(gains) < 2 or len(next(iter(gains.values()))) < 2:
        return float("nan")
    table = np.stack([gains[m] for m in sorted(gains)], axis=1)
    names = None if contexts is None else np.asarray(contexts, dtype=str)
    order = np.lexsort((*table.T, *(() if names is None else (names,))))
    table, where = table[order], None if names is None else names[order].tolist()
    known = ~np.isnan(table)
    weight = np.zeros(table.shape)
    for column, own in enumerate(known.T):
        weight[own, column] = weights(chosen(where, own), int(own.sum()))
    drawn = resampled_means(table, weight, strata(where, len(table)), n_boot=n_boot, seed=seed)
    means = np.array([context_mean(column, where) for column in table.T])
    tau = kendall_tau(means, drawn[~np.isnan(drawn).any(axis=1)])
    return float(np.nanmean(tau)) if (~np.isnan(tau)).any() else float("nan")


def kendall_tau(x: Array, y: Array) -> Array:
    """(b,) Kendall's tau-b between (k,) numbers and each row of (b, k) others; NaN where either has only ties.

    Differences that are nothing but rounding are ties.
    """
    rows = np.concatenate([np.asarray(x, dtype=np.float64)[None], np.atleast_2d(np.asarray(y, dtype=np.float64))])
    i, j = np.triu_indices(rows.shape[1], 1)
    difference = rows[:, i] - rows[:, j]
    signs = np.where(np.abs(difference) > 1e-12 * np.abs(rows).max(axis=1, initial=0)[:, None], np.sign(difference), 0)
    norm = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1:]).sum(axis=1))
    return np.divide(signs[1:] @ signs[0], norm, out=np.full(len(norm), np.nan), where=norm > 0)


def _largest(values: Array) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def _gains(values: Mapping[str, Array], direction: str, perfect: float) -> dict[str, Array]:
    """Gains of the models that have any value, in the order of their names."""
    gains = {m: gain(values[m], direction=direction, perfect=perfect) for m in sorted(values)}
    if gains:
        defined(*gains.values())
    return {m: g for m, g in gains.items() if not np.isnan(g).all()}
