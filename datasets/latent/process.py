"""A process of latent variables that a perturbation drives from one instant to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Instants before time 0, after which the unperturbed process has forgotten where it started.
BURN_IN = 60
#: Largest gain of the process: below 1 it forgets where it started, and has one resting state rather than several.
GAIN = 0.95
#: Standard deviation of what is new at each instant, before the variables are brought to variance 1.
INNOVATION = 0.35


@dataclass(frozen=True)
class Drive:
    """What a perturbation does to the mechanisms of its targets; neutral elsewhere.

    Parameters
    ----------
    shift
        (r,) added at each instant.
    edges
        (r,) factor of the effect of the other responsive variables.
    noise
        (r,) factor of the innovations.
    onset
        (r,) instants after time 0 at which it does not act yet.
    """

    shift: Array
    edges: Array
    noise: Array
    onset: Array

    def __add__(self, other: Drive) -> Drive:
        """Two perturbations of different variables at once: each acts as it does alone."""
        onset = np.maximum(self.onset, other.onset)
        return Drive(self.shift + other.shift, self.edges * other.edges, self.noise * other.noise, onset)

    def at(self, t: int) -> Drive:
        """What acts at an instant: nothing up to time 0."""
        acts = t > self.onset
        return replace(
            self, shift=self.shift * acts, edges=np.where(acts, self.edges, 1.0), noise=np.where(acts, self.noise, 1.0)
        )


def neutral(r: int) -> Drive:
    """The drive that changes nothing."""
    return Drive(np.zeros(r), np.ones(r), np.ones(r), np.zeros(r, dtype=int))


@dataclass(frozen=True)
class Process:
    r"""r responsive variables whose past, and q invariant variables that stay as they are, decide what comes next.

    .. math:: z_t = a z_{t-1} + e_p \Big(\sum_l W_l \tanh z_{t-l} + B \tanh z_t\Big) + U v + s_p + .35\,\sigma_p \varepsilon_t

    Parameters
    ----------
    keep
        (r,) a, the share of its value that a variable keeps.
    lagged
        (L, r, r) W: effect of the column on the row one instant later, two, …; zero diagonals.
    instant
        (r, r) B: effect of the column on the row in the same instant; acyclic.
    order
        The responsive variables, causes in the same instant before effects.
    invariant
        (r, q) U: effect of the invariant variables.
    """

    keep: Array
    lagged: Array
    instant: Array
    order: tuple[int, ...]
    invariant: Array

    def sample(self, rng: np.random.Generator, n: int, n_times: int, drive: Drive) -> tuple[Array, Array]:
        """Responsive (n, T, r) and invariant (n, q) variables of units; until time 0 no unit is perturbed."""
        r, q = self.invariant.shape
        v = rng.standard_normal((n, q))
        L = len(self.lagged)
        past = [np.zeros((n, r))] * L
        seen = []
        for t in range(-BURN_IN, n_times):
            past.append(self._step(past[-L:], v, rng.standard_normal((n, r)), drive.at(t)))
            seen.append(past[-1])
        return np.stack(seen[BURN_IN:], axis=1), v

    def _step(self, past: list[Array], v: Array, noise: Array, drive: Drive) -> Array:
        others = sum((np.tanh(past[-lag]) @ w.T for lag, w in enumerate(self.lagged, 1)), np.zeros_like(noise))
        alone = self.keep * past[-1] + v @ self.invariant.T + drive.shift + INNOVATION * drive.noise * noise
        if not self.instant.any():
            return alone + drive.edges * others
        z = np.zeros_like(noise)
        for node in self.order:
            z[:, node] = alone[:, node] + drive.edges[node] * (others[:, node] + np.tanh(z) @ self.instant[node])
        return z


def process(rng: np.random.Generator, r: int, q: int, *, lag: int, instantaneous: bool, edge: float, invariant: float) -> Process:
    """Draw a process with at least one lagged effect of a responsive variable on another.

    Effects are U(.4, .9) with a random sign, all made smaller by one factor where the process would otherwise have a gain
    above .95.

    Parameters
    ----------
    r, q
        Responsive and invariant variables.
    lag
        Instants for which the past matters.
    instantaneous
        Whether there are effects in the same instant.
    edge
        Probability of an effect of a responsive variable on another, shared out among the lags and the same instant.
    invariant
        Standard deviation of the effects of the invariant variables.
    """
    keep = rng.uniform(0.5, 0.8, r)
    edge = edge / (lag + instantaneous)
    others = ~np.eye(r, dtype=bool)
    while not (present := (rng.random((lag, r, r)) < edge) & others).any():
        pass
    weights = present * rng.uniform(0.4, 0.9, present.shape) * rng.choice([-1, 1], present.shape)
    effect = invariant * rng.standard_normal((r, q))
    order = rng.permutation(r)
    instant = np.zeros((r, r))
    while instantaneous and not instant.any():
        below = np.tril(rng.random((r, r)) < edge, k=-1) * rng.uniform(0.4, 0.9, (r, r)) * rng.choice([-1, 1], (r, r))
        instant[np.ix_(order, order)] = below
    while gain(keep, weights, instant) > GAIN:
        weights, instant = 0.97 * weights, 0.97 * instant
    return Process(keep, weights, instant, tuple(order.tolist()), effect)


def gain(keep: Array, lagged: Array, instant: Array) -> float:
    """Spectral radius of the linear process that bounds how far two units with the same noise drift apart."""
    r, L = len(keep), len(lagged)
    first = [np.diag(keep) * (lag == 0) + np.abs(w) for lag, w in enumerate(lagged)]
    through = np.linalg.inv(np.eye(r) - np.abs(instant))
    companion = np.eye(L * r, k=-r)
    companion[:r] = np.concatenate([through @ w for w in first], axis=1)
    return float(np.abs(np.linalg.eigvals(companion)).max())


def drive(rng: np.random.Generator, r: int, node: int, onset: int) -> Drive:
    """Draw what a perturbation of one variable does; its onset is among 0 to `onset`."""
    at = np.arange(r) == node
    shift = at * rng.uniform(0.5, 0.9) * rng.choice([-1, 1])
    edges = np.where(at, rng.uniform(0, 0.6), 1.0)
    noise = np.where(at, rng.uniform(0.5, 1.8), 1.0)
    return Drive(shift, edges, noise, at * rng.integers(onset + 1))
