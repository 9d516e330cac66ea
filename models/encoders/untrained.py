"""An encoder that nobody has trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .beta_vae import VariationalEncoder

if TYPE_CHECKING:
    from ..neural.fitting import History
    from ..neural.variational_encoder import VariationalNetwork

Array = np.ndarray[Any, Any]


class UntrainedCode(VariationalEncoder):
    """The encoder of `BetaVAE` with random weights: what a random non-linear map of the cells scores.

    Parameters
    ----------
    latent, width, hidden, device
        As in `BetaVAE`.
    """

    reference = "control: an encoder at its initial weights"
    presets = {"quick": {"width": 64}}

    def __init__(self, *, latent: int | None = None, width: int = 128, hidden: int = 2, device: str = "auto") -> None:
        self.latent, self.width, self.hidden, self.device = latent, width, hidden, device

    def _network(self, n_features: int, n_told: int, latent: int) -> VariationalNetwork:
        from ..neural.variational_encoder import NormalPrior, VariationalNetwork

        return VariationalNetwork(n_features, n_told, latent, width=self.width, hidden=self.hidden, prior=NormalPrior())

    def _train(self, x: Array, told: Array, seed: int) -> History | None:
        return None
