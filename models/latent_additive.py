"""Latent-additive: a control cell and a perturbation are added up in a latent space."""

from __future__ import annotations

from typing import Any

from .neural.regression import CellRegression


class LatentAdditive(CellRegression):
    """Encodes a control cell and the perturbation, adds the codes up, and decodes the sum.

    x̂ = softplus(Dec(Enc_x(x_control) + Enc_p(u, c))) with u the doses of the targets and c the context; squared error to a random
    perturbed cell of the condition. Written from the formula.

    Parameters
    ----------
    width, latent, hidden, dropout
        Units and number of hidden layers of the three networks, size of the latent space, share of units dropped.
    epochs, batch_size, learning_rate, weight_decay, patience
        Of training, as in `Settings`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Wu et al. 2025, PerturBench, latent additive model"
    presets = {
        "quick": {"width": 128, "epochs": 20},
        # The search on Norman 2019 (latent_additive_best_params_norman19); batch size and epochs: the paper's general settings.
        "paper": {
            "width": 5376,
            "latent": 64,
            "hidden": 1,
            "dropout": 0.1,
            "learning_rate": 6.8e-5,
            "weight_decay": 1e-8,
            "batch_size": 4000,
            "epochs": 500,
            "patience": 50,
        },
    }

    def __init__(
        self,
        *,
        width: int = 512,
        latent: int = 64,
        hidden: int = 1,
        dropout: float = 0.1,
        epochs: int = 60,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        patience: int = 10,
        device: str = "auto",
    ) -> None:
        self.width, self.latent, self.hidden, self.dropout = width, latent, hidden, dropout
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.device = device

    def _network(self, n_genes: int, n_told: int, n_covariates: int) -> Any:
        from .neural.regression_networks import LatentAdditiveNetwork

        return LatentAdditiveNetwork(
            n_genes, n_told + n_covariates, width=self.width, latent=self.latent, hidden=self.hidden, dropout=self.dropout
        )
