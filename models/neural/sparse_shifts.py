"""What SAMS-VAE and sVAE+ share as models: sizes of their networks, and the table of which target moves which latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.training import TrainingData
from .generation import CellGenerator, Scene

if TYPE_CHECKING:
    from .fitting import Settings

Array = np.ndarray[Any, Any]

#: Least standard deviation that a gene is divided by, so that rare counts do not become large inputs.
FLOOR = 0.1


class SparseShifts(CellGenerator):
    """Base of generators whose targets shift a few latents each."""

    width: int
    hidden: int
    decoder_width: int
    decoder_hidden: int
    latent: int
    temperature: float
    logit: float
    warmup: int
    clip: float
    table_rate: float

    def _settings(self) -> Settings:
        return replace(super()._settings(), clip=self.clip)

    def _step(self, network: Any, settings: Settings) -> tuple[Callable[[Any], float], Callable[[int], None]]:
        from .fitting import optimiser

        step: Any
        step, at_epoch = super()._step(network, settings)
        tables = {id(p) for p in network.tables()}
        rest = [p for p in network.parameters() if id(p) not in tables]
        # Decay would pull inclusion to one half.
        of_tables = {"params": network.tables(), "lr": self.table_rate * self.learning_rate, "weight_decay": 0.0}
        step.optimiser = optimiser([{"params": rest}, of_tables], self.learning_rate, self.weight_decay)
        return step, at_epoch

    def _scene(self, data: TrainingData, conditions: Sequence[Condition]) -> Scene:
        trained = data.profiles(conditions)
        mean, variance = trained.pooled_mean(), trained.pooled_variance()
        self.moments_ = mean, np.maximum(np.sqrt(variance), FLOOR)
        return super()._scene(data, conditions)

    def _sizes(self) -> dict[str, Any]:
        names = ("width", "hidden", "decoder_width", "decoder_hidden", "latent", "temperature", "logit", "warmup")
        return {name: getattr(self, name) for name in names}

    def targets(self) -> dict[str, Array]:
        """(d,) size of the expected shift P(inclusion) · |effect| of each latent by target, at the largest dose in training.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        table = self.shifts()
        return dict(zip(self.codes_.targets, table["inclusion"] * np.abs(table["effect"]), strict=True))

    def shifts(self) -> dict[str, Array]:
        """Which target moves which latent, how surely and how far.

        Returns
        -------
        dict
            ``targets`` (k,) names; ``inclusion`` (k, d) probability that the target moves the latent at all; ``effect`` (k, d)
            mean shift if it does, at the largest dose of the target in training.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        self._check_fitted("network_")
        network = self.network_
        return {
            "targets": np.array(self.codes_.targets, dtype=str),
            "inclusion": network.inclusion.detach().sigmoid().cpu().numpy(),
            "effect": network.effect.detach().cpu().numpy(),
        }
