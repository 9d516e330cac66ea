"""What a prediction says beyond its mean: variance and cells, checked and put on the scale of the profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.errors import InvalidPrediction
from ..contracts.prediction import Prediction
from .statistics import on_profile_scale

Array = np.ndarray[Any, Any]


class ProfileCells(Mapping[int, Any]):
    """Predicted cells by row of the asked conditions, float32 on the scale of the profiles with genes in the screen's order.

    They are read and checked when they are looked up, so that a model may give them one condition at a time.
    """

    def __init__(self, rows: Mapping[int, Condition], read: Callable[[Condition], Any]) -> None:
        self.rows, self.read = rows, read

    def __getitem__(self, row: int) -> Any:
        return self.read(self.rows[row])

    def __contains__(self, row: object) -> bool:
        return row in self.rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def predicted_cells(prediction: Prediction, asked: Sequence[Condition], genes: Array) -> Mapping[int, Any]:
    """Cells of a prediction by row of `asked`; empty where the model gives none.

    Cells in memory are checked at once, cells that are read one condition at a time when they are.

    Raises
    ------
    InvalidPrediction
        If a condition was not predicted, or cells have another shape, scale or values that are not finite.
    """
    if prediction.cells is None:
        return {}
    given = set(prediction.conditions)
    if strange := [c for c in prediction.cells if c not in given]:
        raise InvalidPrediction(f"cells were returned for {strange[0].key!r}, whose mean was not predicted.")
    if prediction.scale == "delta":
        raise InvalidPrediction("cells cannot be on the scale 'delta'; return cells and means as log1p_1e4 (or raw) or counts.")
    columns = _columns(prediction.genes, genes)
    source = prediction.cells
    cells = ProfileCells(
        {i: c for i, c in enumerate(asked) if c in source},
        lambda c: _checked(source[c], c, len(genes), columns, prediction.scale),
    )
    return dict(cells) if isinstance(source, dict) else cells


def predicted_variance(
    prediction: Prediction, asked: Sequence[Condition], genes: Array, cells: Mapping[int, Any]
) -> Array | None:
    """(n, G) float32 predicted variance over cells, NaN where a condition has none; None where the model gives none at all.

    A model's own variance is taken first, else the unbiased sample variance of its cells where there are two or more.

    Raises
    ------
    InvalidPrediction
        If variances have the wrong shape, are negative or not finite, or belong to another scale than the profiles'.
    """
    shape = (len(asked), len(genes))
    if prediction.variance is not None:
        variance = np.asarray(prediction.variance, dtype=np.float64)
        if variance.shape != np.shape(prediction.mean):
            raise InvalidPrediction(f"predicted variance has shape {variance.shape}, the mean {np.shape(prediction.mean)}.")
        if prediction.scale == "counts":
            raise InvalidPrediction("variances must be of log1p expression; return mean and variance on the scale log1p_1e4.")
        if not (variance >= 0).all() or not np.isfinite(variance).all():
            raise InvalidPrediction("predicted variance holds negative, NaN or infinite values.")
        out = np.full(shape, np.nan, dtype=np.float32)
        row = {c: i for i, c in enumerate(asked)}
        out[[row[c] for c in prediction.conditions]] = variance[:, _columns(prediction.genes, genes)]
        return out
    if not cells:
        return None
    out = np.full(shape, np.nan, dtype=np.float32)
    for i, drawn in cells.items():
        if drawn.shape[0] > 1:
            out[i] = _variance(drawn)
    return out


def _variance(cells: Any) -> Array:
    """(G,) unbiased variance over the rows of CSR or dense cells."""
    n = cells.shape[0]
    if sparse.issparse(cells):
        squares = cells.astype(np.float64)
        mean = np.asarray(squares.mean(axis=0)).ravel()
        squares.data **= 2
        return np.maximum(np.asarray(squares.sum(axis=0)).ravel() - n * mean**2, 0) / (n - 1)
    return np.var(np.asarray(cells, dtype=np.float64), axis=0, ddof=1)


def _columns(given: Array | None, genes: Array) -> Any:
    """Where each gene of the screen stands among the prediction's columns (`answer.checked` has made sure that it is there)."""
    if given is None:
        return slice(None)
    position = {str(g): i for i, g in enumerate(given)}
    return np.array([position[str(g)] for g in genes], dtype=int)


def _checked(cells: Any, condition: Condition, n_genes: int, columns: Any, scale: str) -> Any:
    cells = sparse.csr_matrix(cells, dtype=np.float32) if sparse.issparse(cells) else np.asarray(cells, dtype=np.float32)
    if cells.ndim != 2 or cells.shape[0] == 0 or (isinstance(columns, slice) and cells.shape[1] != n_genes):
        raise InvalidPrediction(
            f"predicted cells of {condition.key!r} have shape {cells.shape}; (m, {n_genes}) with m > 0 was expected."
        )
    values = cells.data if sparse.issparse(cells) else cells
    if not np.isfinite(values).all():
        raise InvalidPrediction(f"predicted cells of {condition.key!r} hold NaN or infinite values.")
    if scale == "counts" and values.size and values.min() < 0:
        raise InvalidPrediction(f"predicted counts of {condition.key!r} are negative.")
    own = cells if isinstance(columns, slice) else cells[:, columns]
    # Depth is over the genes of the screen, as it is for the truth.
    return on_profile_scale(own, "counts").astype(np.float32) if scale == "counts" else own
