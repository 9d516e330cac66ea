"""Linear codes: principal and independent components of cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...bench.contracts.training import Cells, TrainingData
from ..principal_components import principal_components
from .encoder import Encoder, Features

Array = np.ndarray[Any, Any]


class Pca(Encoder):
    """Scores of the leading principal components of standardised cells: information kept, and nothing identified.

    Parameters
    ----------
    latent
        Number of components; as many as the data set has latent variables where it is None, ten where that is not known. There
        are fewer where cells span fewer dimensions.
    """

    reference = "Pearson 1901; Hotelling 1933"

    def __init__(self, *, latent: int | None = None) -> None:
        self.latent = latent

    def fit(self, data: TrainingData, *, seed: int) -> Pca:
        """Diagonalise the covariance of the training cells."""
        cells = data.cells
        self.n_genes_ = len(data.genes)
        self.features_ = Features.of(cells)
        X = self.features_(cells).astype(np.float64)
        self.centre_ = X.mean(axis=0)
        scores, self.axes_ = principal_components(X - self.centre_, self._n_codes(data))
        self.spread_ = scores.std(axis=0)
        self._unmix(scores / self.spread_, seed)
        return self

    def _unmix(self, whitened: Array, seed: int) -> None:
        """What else is learned from (n, k) scores of unit variance."""

    def _scores(self, cells: Cells) -> Array:
        self._check_fitted("axes_")
        return (self.features_(cells) - self.centre_) @ self.axes_

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Scores (n, k) under the name ``latent``.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        return {"latent": self._scores(cells)}


class Ica(Pca):
    """FastICA: the rotation of whitened principal components whose coordinates are farthest from a normal distribution.

    It finds the latent variables where they are independent, at most one of them is normal, and x is linear in them; none of which
    a causal model behind a non-linear mixing grants.

    Parameters
    ----------
    latent
        Number of components, as in `Pca`.
    iterations, tolerance
        When the search ends; whether it had converged is in `diagnostics`.
    """

    capabilities = replace(
        Pca.capabilities, stochastic=True, claim="permutation", packages=("scikit-learn",), imports=("sklearn.decomposition",)
    )
    reference = "Hyvärinen 1999 (FastICA, parallel, log cosh; scikit-learn)"

    def __init__(self, *, latent: int | None = None, iterations: int = 400, tolerance: float = 1e-4) -> None:
        self.latent, self.iterations, self.tolerance = latent, iterations, tolerance

    def _unmix(self, whitened: Array, seed: int) -> None:
        import warnings

        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        build: Any = FastICA
        search = build(whiten=False, max_iter=self.iterations, tol=self.tolerance, random_state=seed % 2**32)
        with warnings.catch_warnings():
            # Where there is nothing but normal noise the search goes on for ever, and any rotation is as good.
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(whitened)
        self.rotation_ = np.asarray(search.components_).T
        self.iterations_ = int(search.n_iter_)

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Independent components (n, k) of unit variance under the name ``latent``.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        return {"latent": self._scores(cells) / self.spread_ @ self.rotation_}

    def diagnostics(self) -> dict[str, Any]:
        """How many iterations the search took, and whether it had converged."""
        return {"iterations": self.iterations_, "converged": self.iterations_ < self.iterations}
