"""The conformance kit as one function: whatever can be registered, its kind, and every check of that kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..contracts.errors import UsageError
from ..contracts.metric import MetricInfo
from ..contracts.screen import Dataset
from .verdict import Verdict

KINDS = ("models", "datasets", "splits", "metrics")


def kind_of(thing: Any) -> str:
    """``models``, ``datasets``, ``splits`` or ``metrics``.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    if isinstance(thing, Dataset):
        return "datasets"
    if isinstance(thing, MetricInfo):
        return "metrics"
    if isinstance(thing, type):
        return "models"
    if callable(thing):
        return "splits"
    raise UsageError(
        f"{type(thing).__name__} cannot be checked; give the class of a model, a Dataset, a MetricInfo or the function of a split."
    )


def verdicts_on(thing: Any, kind: str | None = None) -> Iterator[Verdict]:
    """Every check of a kind; of what it is, where no kind is named."""
    kind = kind or kind_of(thing)
    if kind == "models":
        from .check import check_model

        return check_model(thing)
    if kind == "datasets":
        from .check_dataset import check_dataset

        return check_dataset(thing)
    if kind == "metrics":
        from .check_metric import check_metric

        return check_metric(thing)
    from .check_split import check_split

    return check_split(thing)


def check(thing: Any) -> None:
    """Assert that a model class, a `Dataset`, a `MetricInfo` or a split generator keeps its contract; for tests of plugins.

    The checks are those of ``pbench check``.

    Raises
    ------
    AssertionError
        With each check that failed, and what is wrong in plain words.
    UsageError
        If it is none of these.

    Examples
    --------
    >>> import pbench
    >>> class Nothing(pbench.Model):
    ...     capabilities = pbench.Capabilities(unseen_targets=True)
    ...     def fit(self, data, *, seed):
    ...         self.fitted_ = True
    ...         return self
    ...     def predict(self, conditions, controls):
    ...         self._check_fitted("fitted_")
    ...         return pbench.Prediction(tuple(conditions), controls.control_mean(conditions))
    >>> pbench.check(Nothing)
    """
    failed = [v for v in verdicts_on(thing) if not v.passed]
    if failed:
        raise AssertionError("\n".join(f"{v.check}: {v.problem}" for v in failed))
