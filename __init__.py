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
    from .bench.contracts.screen import Dataset, DatasetCard, Screen
    from .bench.contracts.split import SplitManifest
    from .bench.contracts.training import Profiles, TrainingData
    from .bench.engine.conformance import check
    from .bench.estimator import PerturbationPredictor
    from .bench.evaluate import evaluate

__version__ = "0.1.0"

#: Module of each public name.
_HOMES = {
    "Capabilities": "bench.contracts.model",
    "Comparison": "bench.contracts.metric",
    "Condition": "bench.contracts.condition",
    "Dataset": "bench.contracts.screen",
    "DatasetCard": "bench.contracts.screen",
    "MetricInfo": "bench.contracts.metric",
    "Model": "bench.contracts.model",
    "PerturbationPredictor": "bench.estimator",
    "Prediction": "bench.contracts.prediction",
    "Profiles": "bench.contracts.training",
    "Screen": "bench.contracts.screen",
    "SplitManifest": "bench.contracts.split",
    "TrainingData": "bench.contracts.training",
    "TrainingFailed": "bench.contracts.errors",
    "Values": "bench.contracts.metric",
    "check": "bench.engine.conformance",
    "evaluate": "bench.evaluate",
}

__all__ = [
    "Capabilities",
    "Comparison",
    "Condition",
    "Dataset",
    "DatasetCard",
    "MetricInfo",
    "Model",
    "PerturbationPredictor",
    "Prediction",
    "Profiles",
    "Screen",
    "SplitManifest",
    "TrainingData",
    "TrainingFailed",
    "Values",
    "__version__",
    "check",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
