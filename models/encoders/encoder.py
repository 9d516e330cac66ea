"""What models that only encode have in common: how many codes, which features of a cell, and no predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Capabilities, Model
from ...bench.contracts.prediction import Prediction
from ...bench.contracts.stored_rows import StoredRows
from ...bench.contracts.training import Cells, Profiles, TrainingData
from ...bench.kernels.normalisation import log1p_per_10k
from ..neural.condition_codes import ConditionCodes

Array = np.ndarray[Any, Any]

#: Codes where neither the user nor the data set says how many.
UNTOLD = 10
#: Genes above which features are principal components, how many of them, and cells that they are computed from.
WIDE, COMPONENTS, SAMPLE = 512, 100, 5000
#: Least standard deviation that a gene is divided by, as a share of the root mean square over genes.
FLOOR = 0.1
#: Cells that are dense at a time.
BLOCK = 2048

ENCODES_ONLY = "capability: encodes only"


class Encoder(Model):
    """Base of models that say what the latent variables of cells are and predict nothing.

    A subclass learns in `fit` and gives codes of cells in ``encode``; `fit` sets ``n_genes_``.
    """

    capabilities = Capabilities(predicts=False, needs_cells=True)
    latent: int | None = None
    n_genes_: int

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """No condition is answered."""
        self._check_fitted("n_genes_")
        return Prediction((), np.empty((0, self.n_genes_)), absent=dict.fromkeys(conditions, ENCODES_ONLY))

    def _n_codes(self, data: TrainingData) -> int:
        """How many codes: what the user says, else as many as the data set has latent variables, else `UNTOLD`.

        Raises
        ------
        UsageError
            If the user asks for none.
        """
        if self.latent is not None and self.latent < 1:
            raise UsageError(f"latent={self.latent} leaves nothing to encode into; use 1 or more.")
        return self.latent or sum(data.latents.values()) or UNTOLD


@dataclass(frozen=True)
class Features:
    """Cells as a few standardised numbers each, with moments and axes of training cells.

    Each gene is centred and divided by its standard deviation, which is taken to be no less than a tenth of the root mean square
    of those of all genes. Where there are more than 512 genes, features are the scores of the first 100 principal components of
    that, all divided by one number, so that their mean variance is 1: distances between cells remain what they were.

    Parameters
    ----------
    scale
        Of the cells.
    centre, spread
        (G,) of each gene.
    axes
        (G, p) orthonormal, and ``unit`` what scores are divided by; None where genes themselves are the features.
    """

    scale: str
    centre: Array
    spread: Array
    axes: Array | None = None
    unit: float = 1.0

    @classmethod
    def of(cls, cells: Cells) -> Features:
        """Learn moments and axes from training cells.

        Axes are those of at most 5,000 random cells, by a randomised decomposition (Halko, Martinsson & Tropp 2011); the largest
        loading of each is positive. Neither depends on the seed of a model.
        """
        X: Any = cells.X
        n, total, squares = X.shape[0], 0.0, 0.0
        for block in _blocks(X, cells.scale):
            total = total + block.sum(axis=0, dtype=np.float64)
        centre = np.asarray(total) / n
        for block in _blocks(X, cells.scale):
            squares = squares + ((block - centre) ** 2).sum(axis=0)
        variance = np.asarray(squares) / n
        spread = np.maximum(np.sqrt(variance), FLOOR * np.sqrt(variance.mean()))
        plain = cls(cells.scale, centre, np.where(spread > 0, spread, 1.0))
        return plain if len(centre) <= WIDE else plain._projected(cells)

    def _projected(self, cells: Cells) -> Features:
        from sklearn.utils import extmath

        every: Any = cells.X
        decompose: Any = extmath.randomized_svd
        rng = np.random.default_rng(derived_seed("features"))
        n = every.shape[0]
        chosen = np.arange(n) if n <= SAMPLE else np.sort(rng.choice(n, SAMPLE, replace=False))
        X = np.concatenate(list(self._standardised(every[chosen])))
        k = min(COMPONENTS, *X.shape)
        _, size, axes = decompose(X, k, n_iter=4, random_state=derived_seed("axes"))
        axes = axes * np.sign(axes[np.arange(k), np.abs(axes).argmax(axis=1)])[:, None]
        unit = float(np.sqrt((size**2).sum() / (len(X) * k))) or 1.0
        return Features(self.scale, self.centre, self.spread, axes.T.astype(np.float32), unit)

    def _standardised(self, X: Any) -> Iterator[Array]:
        for block in _blocks(X, self.scale):
            yield ((block - self.centre) / self.spread).astype(np.float32)

    @property
    def width(self) -> int:
        """Number of features p."""
        return len(self.centre) if self.axes is None else self.axes.shape[1]

    def __call__(self, cells: Cells) -> Array:
        """(n, p) float32 features of cells."""
        axes = self.axes
        _require(cells, self.width, "features")
        blocks = self._standardised(cells.X)
        parts = list(blocks) if axes is None else [block @ axes / np.float32(self.unit) for block in blocks]
        return np.concatenate(parts) if parts else np.empty((0, self.width), dtype=np.float32)


@dataclass(frozen=True)
class Labels:
    """What is known of a cell beside its values: targets, context and time.

    Parameters
    ----------
    codes
        Targets and contexts of the training cells.
    times
        Sorted times of the training cells, controls among them; empty where there is a single one.
    """

    codes: ConditionCodes
    times: tuple[float, ...]

    @classmethod
    def of(cls, cells: Cells) -> Labels:
        """Those of training cells."""
        found = _times(cells)
        times = tuple(np.unique(found[np.isfinite(found)]).tolist())
        return cls(replace(ConditionCodes.of(cells.conditions), times=(None,)), times if len(times) > 1 else ())

    def targets(self, cells: Cells) -> Array:
        """(n, k) float32 dose of each target over its largest one in training; 1 where the screen has no doses."""
        return self.codes.multi_hot(cells.conditions)[cells.codes]

    def contexts(self, cells: Cells) -> Array:
        """(n, c) float32 one-hot contexts; nothing where there is one."""
        return self.codes.covariates(cells.conditions)[cells.codes]

    def at(self, cells: Cells) -> Array:
        """(n, t) float32 one-hot times; zeros for a time that was not in training."""
        return (_times(cells)[:, None] == np.array(self.times)).astype(np.float32)

    def __call__(self, cells: Cells) -> Array:
        """(n, k + c + t) float32 of all three side by side."""
        _require(cells, len(self.codes.targets) + self.codes.n_covariates + len(self.times), "labels")
        return np.concatenate([self.targets(cells), self.contexts(cells), self.at(cells)], axis=1)


def _require(cells: Cells, width: int, what: str) -> None:
    """Make sure that (n, width) float32 fit where cells do not."""
    if isinstance(cells.X, StoredRows):
        cells.X.require(4 * width * len(cells.codes), f"{what} of {len(cells.codes):,} cells")


def _times(cells: Cells) -> Array:
    """(n,) time of each cell, NaN where it is not known."""
    if cells.time is not None:
        return np.asarray(cells.time, dtype=np.float64)
    return np.array([np.nan if c.time is None else c.time for c in cells.conditions])[cells.codes]


def _blocks(X: Any, scale: str) -> Iterator[Array]:
    """Dense blocks of rows of a CSR matrix on the scale of the profiles."""
    for start in range(0, X.shape[0], BLOCK):
        rows = X[start : start + BLOCK]
        yield (log1p_per_10k(rows) if scale == "counts" else rows).toarray()
