"""Decoder-only: expression from the perturbation alone, to tell whether others use the control cell."""

from __future__ import annotations

from typing import Any

from .neural.regression import CellRegression


class DecoderOnly(CellRegression):
    """Decodes the perturbation and the context to expression and never looks at a control cell.

    x̂ = softplus(Dec(u, c)); squared error to the cells of the condition. A model that this one equals makes nothing of its control
    cells.

    Parameters
    ----------
    width, hidden, dropout
        Units and number of hidden layers, share of units dropped.
    epochs, batch_size, learning_rate, weight_decay, patience
        Of training, as in `Settings`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Wu et al. 2025, PerturBench, decoder-only model"
    presets = {
        "quick": {"width": 128, "epochs": 20},
        # The search on Norman 2019 (decoder_best_params_norman19); batch size and epochs: the paper's general settings.
        "paper": {
            "width": 3328,
            "hidden": 3,
            "learning_rate": 1.4e-4,
            "weight_decay": 4.4e-5,
            "batch_size": 4000,
            "epochs": 500,
            "patience": 50,
        },
    }

    def __init__(
        self,
        *,
        width: int = 512,
        hidden: int = 2,
        dropout: float = 0.0,
        epochs: int = 60,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        patience: int = 10,
        device: str = "auto",
    ) -> None:
        self.width, self.hidden, self.dropout = width, hidden, dropout
        self.epochs, self.batch_size, self.patience = epochs, batch_size, patience
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.device = device

    def _network(self, n_genes: int, n_told: int, n_covariates: int) -> Any:
        from .neural.regression_networks import DecoderOnlyNetwork

        return DecoderOnlyNetwork(n_genes, n_told + n_covariates, width=self.width, hidden=self.hidden, dropout=self.dropout)
