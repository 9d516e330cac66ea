"""What a model is given: summaries and cells of training conditions. Test cells do not exist here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .condition import Condition
from .errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from .stored_rows import StoredRows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Profiles:
    """Pseudobulks: the mean and variance over cells of log1p expression, a row for each condition.

    Parameters
    ----------
    conditions
        n conditions in the order of the rows.
    mean, var
        (n, G) float32. `mean` is the mean of log1p over cells (not the log of a mean); `var` is the unbiased
        sample variance, 0 where there is one cell.
    n_cells
        (n,) int64.
    """

    conditions: tuple[Condition, ...]
    mean: Array
    var: Array
    n_cells: Array

    def __len__(self) -> int:
        return len(self.conditions)

    @cached_property
    def _rows(self) -> dict[Condition, int]:
        return {c: i for i, c in enumerate(self.conditions)}

    def __contains__(self, condition: Condition) -> bool:
        return condition in self._rows

    def row(self, condition: Condition) -> int | None:
        """Row of `condition`, or None where it is absent."""
        return self._rows.get(condition)

    def select(self, keep: Callable[[Condition], bool]) -> Profiles:
        """The rows whose condition satisfies `keep`, in the same order."""
        rows = [i for i, c in enumerate(self.conditions) if keep(c)]
        return Profiles(tuple(self.conditions[i] for i in rows), self.mean[rows], self.var[rows], self.n_cells[rows])

    def pooled_mean(self) -> Array:
        """(G,) mean over all cells of all rows, each cell weighted equally."""
        return np.average(self.mean.astype(np.float64), axis=0, weights=self.n_cells)

    def pooled_variance(self) -> Array:
        """(G,) variance over all cells of all rows, each cell weighted equally."""
        return np.average(self.var + (self.mean - self.pooled_mean()) ** 2, axis=0, weights=self.n_cells)

    def control_mean(self, conditions: Sequence[Condition]) -> Array:
        """(len(conditions), G) control mean of each condition's context, for `Profiles` of controls.

        A condition whose context has no control row gets the pooled mean over all control cells.
        """
        pooled = self.pooled_mean()
        out = np.empty((len(conditions), self.mean.shape[1]))
        for i, condition in enumerate(conditions):
            row = self.row(condition.control())
            out[i] = pooled if row is None else self.mean[row]
        return out


@dataclass(frozen=True)
class Cells:
    """Training cells of a screen, controls included, in the screen's declared scale.

    Parameters
    ----------
    X
        (n, G) float32 CSR; where that takes too much of the memory, `StoredRows`, which reads the rows that are asked for.
    codes
        (n,) index into `conditions` of each cell.
    conditions
        The training conditions and the control condition of each context.
    scale
        ``counts``, ``log1p_1e4`` or ``raw``.
    unit
        (n,) int64: cells with the same number are one unit, observed at several times; None where the screen does not say.
    time
        (n,) hours at which each cell was observed, of controls too; None where the screen has no times, NaN where a cell has none.
    """

    X: csr_matrix | StoredRows
    codes: Array
    conditions: tuple[Condition, ...]
    scale: str
    unit: Array | None = None
    time: Array | None = None

    @property
    def paired(self) -> bool:
        """Whether there are units that were observed more than once."""
        return self.unit is not None and len(np.unique(self.unit)) < len(self.unit)


@dataclass(frozen=True)
class TrainingData:
    """All that `fit` may see.

    Parameters
    ----------
    genes
        (G,) names in the order of every matrix here (sorted, whatever the order in the file).
    perturbed
        Profiles of the training conditions, sorted.
    controls
        Profiles of control cells, a row for each context.
    scale
        Of the profiles: ``log1p_1e4``, or ``raw`` where the screen is.
    validation
        Profiles of conditions that the split set aside from training for early stopping and model selection; may
        be empty. They are no test conditions, and a model is free not to look at them.
    resources
        Declared side information by name, mostly `FeatureTable`, as the model's `Capabilities.resources` asked.
    load_cells
        Returns the training cells (validation cells for ``"validation"``), read on first use.
    load_controls
        Returns the (m, G) control cells of a context on the scale of the profiles, CSR or `StoredRows`; None where no cells are
        stored.
    latents
        How many latent variables the generator of a simulated screen has, by block (``responsive``, ``invariant``): the same hint
        for every model. Empty elsewhere.
    image_shape
        (height, width, channels) where the genes are the pixels of an image, row by row; empty elsewhere.
    """

    genes: Array
    perturbed: Profiles
    controls: Profiles
    validation: Profiles
    scale: str = "log1p_1e4"
    resources: Mapping[str, Any] = field(default_factory=dict)
    load_cells: Callable[[str], Cells] | None = None
    load_controls: Callable[[str | None], csr_matrix | StoredRows] | None = None
    latents: Mapping[str, int] = field(default_factory=dict)
    image_shape: tuple[int, ...] = ()

    @cached_property
    def cells(self) -> Cells:
        """Training and control cells; only for models whose capabilities say that they need cells."""
        return self._load("train")

    @cached_property
    def validation_cells(self) -> Cells:
        """Cells of the validation conditions; only for models whose capabilities say that they need cells."""
        return self._load("validation")

    def _load(self, role: str) -> Cells:
        if self.load_cells is None:
            raise UsageError("cells were asked for by a model that does not declare needs_cells=True in its Capabilities.")
        return self.load_cells(role)

    @cached_property
    def gene_index(self) -> dict[str, int]:
        """Column of each gene."""
        return {g: i for i, g in enumerate(self.genes)}

    def profiles(self, conditions: Sequence[Condition]) -> Profiles:
        """Profiles of some conditions, the controls among them first."""
        wanted = set(conditions)
        parts = [p.select(lambda c: c in wanted) for p in (self.controls, self.perturbed)]
        mean, var, n_cells = (np.concatenate([getattr(p, name) for p in parts]) for name in ("mean", "var", "n_cells"))
        return Profiles(tuple(c for p in parts for c in p.conditions), mean, var, n_cells)

    @cached_property
    def shifts(self) -> Array:
        """(n, G) change of each training profile against the control mean of its context."""
        return self.perturbed.mean - self.controls.control_mean(self.perturbed.conditions)

    @cached_property
    def mean_shift(self) -> Array:
        """(G,) mean of `shifts`, each training condition weighted equally."""
        return self.shifts.mean(axis=0) if len(self.perturbed) else np.zeros(len(self.genes))
