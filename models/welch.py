"""Welch's test of every gene from means, variances and cell numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bench.contracts.errors import DataError
from ..bench.contracts.training import Profiles

Array = np.ndarray[Any, Any]


def welch_p(profiles: Profiles, controls: Profiles) -> Array:
    r"""(n, G) two-sided p-value of each gene of each profile against the control cells of its context.

    With s² the unbiased variances, :math:`t = (\bar x - \bar c) / \sqrt{s_x^2/n_x + s_c^2/n_c}` has a t distribution
    with :math:`(s_x^2/n_x + s_c^2/n_c)^2 / [(s_x^2/n_x)^2/(n_x-1) + (s_c^2/n_c)^2/(n_c-1)]` degrees of freedom
    (Welch 1947). The p-value is 1 where there is nothing to test: fewer than two cells on a side, or no variance and
    no difference. It is 0 where there is a difference and no variance.

    Raises
    ------
    DataError
        If a context has no control cells.
    """
    from ..bench.kernels.p_values import welch

    rows = []
    for condition in profiles.conditions:
        row = controls.row(condition.control())
        if row is None:
            raise DataError(f"{condition.key!r} has no control cells in its context; add controls of that context.")
        rows.append(row)
    n, m = profiles.n_cells[:, None], controls.n_cells[rows, None]
    _, p = welch(profiles.mean, profiles.var, n, controls.mean[rows], controls.var[rows], m)
    return np.where(np.isnan(p), 1.0, p)


def adjusted_p(p: Array) -> Array:
    """(n, G) p-values of each row after the correction of Benjamini and Hochberg (1995)."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(p, axis=1, method="bh") if p.size else p
