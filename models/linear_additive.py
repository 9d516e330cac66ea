"""Linear-additive: a control cell plus a learned vector for each target."""

from __future__ import annotations

from typing import Any

from .neural.regression import CellRegression


class LinearAdditive(CellRegression):
    """Adds to a control cell one learned vector for each target (times its dose) and for the context.

    x̂ = softplus(x_control + W u + V c + b) with weights that start at zero; squared error to a random perturbed cell of the condition.
    The softplus keeps expression positive, so an untrained model does not return the control cell exactly.

    Parameters
    ----------
    epochs, batch_size, learning_rate, weight_decay, patience
        Of training, as in `Settings`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Wu et al. 2025, PerturBench, linear additive model"
    presets = {
        "quick": {"epochs": 20},
        # Learning rate and decay of the search on Norman 2019 (linear_best_params_norman19); batch, epochs: the paper's general settings.
        "paper": {"learning_rate": 4.7e-3, "weight_decay": 1.8e-8, "batch_size": 4000, "epochs": 500, "patience": 50},
    }

    def __init__(
        self,
        *,
        epochs: int = 60,
        batch_size: int = 256,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-5,
        patience: int = 10,
        device: str = "auto",
    ) -> None:
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.device = device

    def _network(self, n_genes: int, n_told: int, n_covariates: int) -> Any:
        from .neural.regression_networks import LinearAdditiveNetwork

        return LinearAdditiveNetwork(n_genes, n_told + n_covariates)
