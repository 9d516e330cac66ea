"""How a latent variable comes from its direct causes, with mean 0 and variance 1 where nothing is perturbed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MECHANISMS = ("linear", "quadratic", "mlp")
NOISES = ("gaussian", "laplace", "location-scale")
UNITS = 8
#: Beyond this a cause has no more effect through products: squares of squares would have tails that no sample can standardise.
SATURATION = 2.0


@dataclass(frozen=True)
class Mechanism:
    """z = share x f(causes) + sd x g(causes) x noise, with E f = 0, E f^2 = 1 and E g^2 = 1 in unperturbed cells.

    Parameters
    ----------
    linear
        (k,) weights of the k causes.
    quadratic
        (k, k) upper triangular weights of the products of saturating causes; zero in other mechanisms.
    inner, bias, outer
        (k, 8), (8,) and (8,) of a network of tanh units; of size zero where there is none.
    centre, spread
        Mean and standard deviation of the function before it was standardised.
    share, sd
        Weights of causes and noise; their squares sum to 1.
    noise_kind
        One of `NOISES`.
    scale, scale_spread
        (k,) weights of the log standard deviation of the noise, and its root mean square.
    """

    linear: Array
    quadratic: Array
    inner: Array
    bias: Array
    outer: Array
    centre: float
    spread: float
    share: float
    sd: float
    noise_kind: str
    scale: Array
    scale_spread: float

    def effect(self, causes: Array) -> Array:
        """(n,) part that comes from (n, k) causes."""
        return self.share * (self._raw(causes) - self.centre) / self.spread

    def disturbance(self, causes: Array, noise: Array) -> Array:
        """(n,) part that comes from (n,) noise of variance 1."""
        return self.sd * self._raw_scale(causes) / self.scale_spread * noise

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        """(n,) noise of mean 0 and variance 1."""
        return rng.laplace(scale=np.sqrt(0.5), size=n) if self.noise_kind == "laplace" else rng.standard_normal(n)

    def _raw(self, causes: Array) -> Array:
        bounded = SATURATION * np.tanh(causes / SATURATION)
        products = np.einsum("ni,ij,nj->n", bounded, self.quadratic, bounded, optimize=True)
        return causes @ self.linear + products + np.tanh(causes @ self.inner + self.bias) @ self.outer

    def _raw_scale(self, causes: Array) -> Array:
        return np.exp(0.7 * np.tanh(causes @ self.scale))


def mechanism(rng: np.random.Generator, causes: Array, *, kind: str, noise_kind: str) -> Mechanism:
    """Draw a mechanism; `causes` (n, k) are those of unperturbed cells, over which it is standardised."""
    k = causes.shape[1]
    signs = rng.choice([-1.0, 1.0], k)
    linear = signs * rng.uniform(0.5, 1.5, k)
    quadratic = np.triu(rng.choice([-1.0, 1.0], (k, k)) * rng.uniform(0.3, 0.7, (k, k)))
    inner, bias, outer = rng.standard_normal((k, UNITS)), rng.standard_normal(UNITS), rng.standard_normal(UNITS)
    variance = rng.uniform(0.16, 0.49)
    scale = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 1.0, k)
    sd = np.sqrt(variance) if k else 1.0
    network = kind == "mlp"
    plain = Mechanism(
        linear=linear * (not network),
        quadratic=quadratic * (kind == "quadratic"),
        inner=inner[:, : UNITS * network],
        bias=bias[: UNITS * network],
        outer=outer[: UNITS * network],
        centre=0.0,
        spread=1.0,
        share=float(np.sqrt(1 - sd**2)),
        sd=float(sd),
        noise_kind=noise_kind,
        scale=scale * (noise_kind == "location-scale"),
        scale_spread=1.0,
    )
    if not k:
        return plain
    values, scales = plain._raw(causes), plain._raw_scale(causes)
    return replace(
        plain, centre=float(values.mean()), spread=float(values.std()), scale_spread=float(np.sqrt((scales**2).mean()))
    )
