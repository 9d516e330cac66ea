"""How latent variables become measured ones: an injective random network, the same for all cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Slope of the leaky rectifier for negative arguments.
SLOPE = 0.2


@dataclass(frozen=True)
class Mixing:
    """x = (f(z) - centre) / spread, with f a network of semi-orthogonal layers and leaky rectifiers between them.

    Every layer has full column rank and the rectifier is strictly increasing, so f is injective: no information on z is lost.
    One layer is a linear map.

    Parameters
    ----------
    layers
        (d, D), then (D, D) matrices that multiply rows from the right; their rows are orthonormal.
    centre, spread
        (D,) mean and standard deviation of f(z) over unperturbed cells.

    References
    ----------
    Hyvarinen and Morioka, "Unsupervised feature extraction by time-contrastive learning", NeurIPS 2016 (a leaky network
    as mixing); Lopez et al., "Learning causal representations of single cells via sparse mechanism shift modeling",
    CLeaR 2023 (orthogonal layers, slope .2).
    """

    layers: tuple[Array, ...]
    centre: Array
    spread: Array

    def __call__(self, latents: Array) -> Array:
        """(n, D) noise-free measurements of (n, d) latent variables."""
        out = latents
        for i, layer in enumerate(self.layers):
            out = (out if i == 0 else np.where(out > 0, out, SLOPE * out)) @ layer
        return (out - self.centre) / self.spread

    def inverse(self, measured: Array) -> Array:
        """(n, d) latent variables of noise-free measurements."""
        out = measured * self.spread + self.centre
        for i, layer in enumerate(reversed(self.layers)):
            out = (out if i == 0 else np.where(out > 0, out, out / SLOPE)) @ layer.T
        return out


def mixing(rng: np.random.Generator, reference: Array, *, n_features: int, n_layers: int) -> Mixing:
    """Draw a network; `reference` (n, d) are latent variables of unperturbed cells, which fix the scale of the measurements."""
    d = reference.shape[1]
    layers = tuple(_orthonormal(rng, d if i == 0 else n_features, n_features) for i in range(n_layers))
    plain = Mixing(layers, np.zeros(n_features), np.ones(n_features))
    measured = plain(reference)
    return replace(plain, centre=measured.mean(axis=0), spread=measured.std(axis=0))


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Rows of a uniformly distributed orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((columns, columns)))
    return (q * np.sign(np.diag(r)))[:rows]
