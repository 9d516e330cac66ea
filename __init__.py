"""pbench: which single-cell perturbation predictor to believe.

Public names are imported on first use, so that ``import pbench`` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench.contracts.condition import Condition
    from .bench.contracts.errors import TrainingFailed
    from .bench.contracts.metric import Comparison, MetricInfo, Values
    from .bench.contracts.model import Capabilities, Model
    from .bench.contracts.prediction import Prediction
    from .bench.contracts.screen import DatasetCard, Screen
    from .bench.contracts.split import SplitManifest
    from .bench.contracts.training import Profiles, TrainingData

__version__ = "0.1.0"

_HOMES = {
    "Capabilities": "model",
    "Comparison": "metric",
    "Condition": "condition",
    "DatasetCard": "screen",
    "MetricInfo": "metric",
    "Model": "model",
    "Prediction": "prediction",
    "Profiles": "training",
    "Screen": "screen",
    "SplitManifest": "split",
    "TrainingData": "training",
    "TrainingFailed": "errors",
    "Values": "metric",
}

__all__ = [
    "Capabilities",
    "Comparison",
    "Condition",
    "DatasetCard",
    "MetricInfo",
    "Model",
    "Prediction",
    "Profiles",
    "Screen",
    "SplitManifest",
    "TrainingData",
    "TrainingFailed",
    "Values",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pbench.bench.contracts.{_HOMES[name]}"), name)
