"""What a latent code says of the variables that generated the data.

Whatever is aligned, chosen or fitted is so on one half of the held-out cells; the other half is reported. Both halves have whole units.
"""

from __future__ import annotations

from ...bench.contracts.metric import MetricInfo
from . import correlation, invariance, progress, regression, structure

#: Metrics of latent variables by page, in the order in which a reader meets them.
FAMILIES: dict[str, tuple[MetricInfo, ...]] = {
    "latent-matching": correlation.METRICS,
    "latent-regression": regression.METRICS,
    "latent-structure": structure.METRICS,
    "latent-invariance": invariance.METRICS,
    "latent-time": progress.METRICS,
}
