"""Scores as a tidy table: a row for each model, split, perturbation and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contracts import registry

if TYPE_CHECKING:
    import pandas as pd

#: What a value is: there; asked for and not defined; or of a perturbation that the model did not predict.
STATUSES = (OK, UNDEFINED, UNAVAILABLE) = ("ok", "undefined", "unavailable")
COLUMNS = (
    "model",
    "split",
    "fold",
    "seed",
    "perturbation",
    "context",
    "dose",
    "time",
    "metric",
    "value",
    "status",
    "reason",
    "direction",
    "version",
    "n_cells",
    "effect",
)


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of records in the layout for people.

    Parameters
    ----------
    rows
        Of `Store.rows`.

    Returns
    -------
    A frame with the columns `COLUMNS`. ``value`` is NaN wherever ``status`` is not ``ok``, and ``reason`` says why. ``direction`` is
    that of the metric: ``up``, ``down`` or ``target``. A metric with one value for all perturbations has ``*`` as perturbation.
    """
    import numpy as np
    import pandas as pd

    found = rows.reset_index(drop=True)
    value = found["value"].astype(float)
    status = np.where(value.notna(), OK, np.where(found["predicted"].eq(False), UNAVAILABLE, UNDEFINED))
    made: dict[str, Any] = {name: found[name] for name in COLUMNS if name in found}
    made |= {"value": value, "status": status, "direction": found["metric"].map(lambda m: registry.metrics.get(str(m)).direction)}
    out = pd.DataFrame({name: made[name] for name in COLUMNS})
    out["n_cells"] = out["n_cells"].astype("Int64")
    for name in ("context", "dose", "reason"):
        out[name] = out[name].astype(object).where(out[name].notna(), None)
    return out
