"""The scores. One file a family; every score is a pure function of a `Comparison`.

Ids follow ``family[.variant][@genes][~reference][#representation]``: ``pearson_delta@de20~pert`` is the Pearson
correlation of changes against the training mean over the 20 genes that the truth says are affected most.
"""

from __future__ import annotations

from ..bench.contracts.metric import MetricInfo
from . import delta, pointwise, retrieval

#: Every built-in metric by id, families in the order in which a reader meets them.
CATALOGUE: dict[str, MetricInfo] = {m.id: m for family in (pointwise, delta, retrieval) for m in family.METRICS}

#: Named selections of ids: ``headline`` is the leaderboard's first table, ``full`` is everything.
PROFILES: dict[str, tuple[str, ...]] = {
    "headline": tuple(name for name, metric in CATALOGUE.items() if metric.headline),
    "full": tuple(CATALOGUE),
}
