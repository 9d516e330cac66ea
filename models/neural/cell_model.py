"""What networks that train on cells have in common, whatever they make of a control cell."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.model import Model
from .condition_codes import ConditionCodes
from .held_out import seen_targets

if TYPE_CHECKING:
    import torch

    from .fitting import History, Settings

Array = np.ndarray[Any, Any]

#: Control cells that a prediction starts from, and that an epoch's score does.
CONTROLS, SCORED = 300, 64


class CellModel(Model, ABC):
    """Base of `CellRegression` and `CellGenerator`: what is told of conditions, which can be answered, how training is set."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    device: str
    device_: Any
    codes_: ConditionCodes
    history_: History

    def _settings(self) -> Settings:
        from .fitting import Settings

        return Settings(self.epochs, self.learning_rate, self.weight_decay, self.patience)

    def _predictable(self, condition: Condition, others: list[Condition]) -> bool:
        """Whether a condition could be predicted by a model trained on `others`."""
        return seen_targets(condition, others)

    def _refusal(self, condition: Condition) -> str | None:
        """Why a condition cannot be predicted; None where it can."""
        return None if self.codes_.knows(condition) else "capability: unseen target, context or time"

    def _parted(self, conditions: Sequence[Condition]) -> tuple[tuple[Condition, ...], dict[Condition, str]]:
        """Conditions that can be predicted, and the reason for each other one."""
        absent = {c: reason for c in conditions if (reason := self._refusal(c))}
        return tuple(c for c in conditions if c not in absent), absent

    def _tensors(self, conditions: Sequence[Condition]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, k) doses of targets and (n, c) covariates, on the device."""
        import torch

        told, covariates = self.codes_.multi_hot(conditions), self.codes_.covariates(conditions)
        return torch.from_numpy(told).to(self.device_), torch.from_numpy(covariates).to(self.device_)

    def diagnostics(self) -> dict[str, Any]:
        """Epochs, losses and speed of training."""
        return self.history_.summary()
