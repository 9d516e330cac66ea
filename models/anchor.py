"""The additive anchor: a model supplies only the interaction, the observed singles the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.prediction import Prediction
from ..bench.contracts.training import Profiles, TrainingData
from .singles import Singles

Array = np.ndarray[Any, Any]


def anchored(base: type[Any]) -> type[Any]:
    """A subclass of a model class whose answers to combinations are anchored on the training singles.

    x̂(S) = c̄ + Σ_{i∈S} (x̄(i) − c̄) + [f(S) − Σ_{i∈S} f(i) + (|S| − 1) f(∅)], with f the mean that the model predicts and x̄ the mean of
    the training cells. Without an interaction in f it equals the additive model, so it is nested in the strongest baseline.

    Combinations with a target that has no training single, and single targets, are answered by the model itself; the former are
    flagged as fallback. Where the model says nothing of a single or of no perturbation, c̄ + (x̄(i) − c̄) and c̄ stand for it, so that it
    supplies its whole change. Cells and variances of the model are around another mean and are not passed on for anchored answers.
    """
    return type(f"Anchored{base.__name__}", (_Anchored, base), {"__doc__": anchored.__doc__, "wraps": base})


class _Anchored:
    """What an anchored model does differently."""

    wraps: type[Any]

    def fit(self, data: TrainingData, *, seed: int) -> Any:
        """Fit the model, and remember the training singles."""
        self.singles_ = Singles(data)
        self.genes_ = data.genes
        super().fit(data, seed=seed)  # type: ignore[misc]
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Ask the model for the combinations, their singles and no perturbation, and put the parts together."""
        parts = {c: [c.single(t) for t in c.targets] for c in conditions if len(c.targets) > 1}
        parts = (
            {c: own for c, own in parts.items() if all(self.singles_.shift(s) is not None for s in own)}
            if hasattr(self, "singles_")
            else {}
        )
        asked = set(conditions)
        further = dict.fromkeys(x for c, own in parts.items() for x in (*own, c.control()) if x not in asked)
        prediction = super().predict((*conditions, *further), controls)  # type: ignore[misc]
        values = dict(zip(prediction.conditions, self._on_profile_scale(prediction, controls), strict=True))
        wholly = prediction.fallback if prediction.fallback is not None else np.zeros(len(values), dtype=bool)
        fallback = dict(zip(prediction.conditions, wholly, strict=True))
        control = dict(zip(conditions, controls.control_mean(conditions), strict=True))
        answered = tuple(c for c in conditions if c in values)
        mean = np.array([self._answer(c, parts.get(c), values, control[c]) for c in answered]).reshape(len(answered), -1)
        return Prediction(
            answered,
            mean if len(answered) else np.empty((0, len(self.genes_))),
            fallback=np.array(
                [
                    (len(c.targets) > 1 and c not in parts) or any(fallback.get(x, False) for x in (c, *parts.get(c, ())))
                    for c in answered
                ],
                dtype=bool,
            ),
            absent={c: reason for c, reason in prediction.absent.items() if c in asked},
        )

    def _answer(
        self, condition: Condition, singles: list[Condition] | None, values: dict[Condition, Array], control: Array
    ) -> Array:
        if singles is None:
            return values[condition]
        observed = {s: control + self.singles_.shift(s) for s in singles}
        interaction = values[condition] + (len(singles) - 1) * values.get(condition.control(), control)
        for single in singles:
            interaction = interaction - values.get(single, observed[single])
        return control + sum(observed[s] - control for s in singles) + interaction

    def _on_profile_scale(self, prediction: Prediction, controls: Profiles) -> Array:
        mean = np.asarray(prediction.mean, dtype=np.float64).reshape(len(prediction.conditions), -1)
        if prediction.genes is not None:
            position = {str(g): i for i, g in enumerate(prediction.genes)}
            mean = mean[:, [position[str(g)] for g in self.genes_]]
        if prediction.scale == "delta":
            mean = mean + controls.control_mean(prediction.conditions)
        return np.log1p(mean) if prediction.scale == "counts" else mean
