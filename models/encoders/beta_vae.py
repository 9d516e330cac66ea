"""Encoders that are networks, and the variational autoencoder among them that knows no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import Cells, TrainingData
from .encoder import Encoder, Features, Labels

if TYPE_CHECKING:
    from ..neural.fitting import History
    from ..neural.variational_encoder import VariationalNetwork

Array = np.ndarray[Any, Any]
#: Cells that are encoded at a time.
BLOCK = 4096


class VariationalEncoder(Encoder):
    """Base of encoders that are networks on features of cells; a subclass makes the network in `_network`."""

    capabilities = Capabilities(predicts=False, needs_cells=True, stochastic=True, packages=("torch",), imports=("torch",))
    width: int
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    decay: str
    device: str
    history_: History | None

    def _network(self, n_features: int, n_told: int, latent: int) -> VariationalNetwork:
        raise TypeError(f"{type(self).__name__} defines no _network(n_features, n_told, latent)")

    def fit(self, data: TrainingData, *, seed: int) -> VariationalEncoder:
        """Train on all training cells, controls among them.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite, or memory runs out.
        UsageError
            If a parameter makes no sense.
        """
        from ..neural.fitting import device_of, seeded

        cells = data.cells
        self.device_, self.n_genes_ = device_of(self.device), len(data.genes)
        self.features_, self.labels_ = Features.of(cells), Labels.of(cells)
        x, told = self.features_(cells), self.labels_(cells)
        with seeded(derived_seed("variational-encoder", seed), self.device_):
            self.network_ = self._network(x.shape[1], told.shape[1], self._n_codes(data)).to(self.device_)
            self.history_ = self._train(x, told, seed)
        self.network_.eval()
        return self

    def _train(self, x: Array, told: Array, seed: int) -> History | None:
        from ..neural.fitting import Descent, Settings, train
        from ..neural.variational_encoder import RowBatches

        settings = Settings(self.epochs, self.learning_rate, self.weight_decay, patience=0, decay=self.decay)
        descent = Descent(self.network_, self.network_.loss, settings)
        batches = RowBatches(x, told, self.batch_size, self.device_)
        return train(self.network_, batches.epoch, descent, settings, seed=seed, at_epoch=descent.at_epoch)

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Posterior means (n, d) float32 under the name ``latent``.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        UsageError
            If the encoder is told of targets, and one of the cells was not trained on.
        """
        import torch

        self._check_fitted("network_")
        x = torch.from_numpy(self.features_(cells))
        # What an encoder does not read must not stop it: a target that was not trained on, say.
        told = torch.from_numpy(self.labels_(cells) if self.network_.told else np.empty((len(x), 0), dtype=np.float32))
        with torch.no_grad():
            parts = [
                self.network_.encode(a.to(self.device_), b.to(self.device_))[0].cpu().numpy()
                for a, b in zip(x.split(BLOCK), told.split(BLOCK), strict=True)
            ]
        return {"latent": np.concatenate(parts)}

    def diagnostics(self) -> dict[str, Any]:
        """Epochs, losses and speed of training."""
        return self.history_.summary() if self.history_ is not None else {}


class BetaVAE(VariationalEncoder):
    """A variational autoencoder whose divergence weighs β: − log p(x | z) + β KL(q(z | x) ‖ N(0, I)).

    It sees no condition, and no theorem says that it finds anything: what its codes score is what compression alone is worth.
    p(x | z) is normal with a learned variance for each feature, so that β = 1 is the evidence bound and needs no tuning to the
    scale of x (Rybkin, Daniilidis & Levine 2021). The default 4 is the value that the β-VAE was introduced with.

    Parameters
    ----------
    latent
        Number of codes; as many as the data set has latent variables where it is None, ten where that is not known.
    beta
        β.
    width, hidden
        Units and number of hidden layers of encoder and decoder.
    epochs, batch_size, learning_rate, weight_decay, decay
        Of training, as in `Settings`; there is no early stopping.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    reference = "Kingma & Welling 2014; Higgins et al. 2017 (β-VAE)"
    presets = {"quick": {"width": 64, "epochs": 40}}

    def __init__(
        self,
        *,
        latent: int | None = None,
        beta: float = 4.0,
        width: int = 128,
        hidden: int = 2,
        epochs: int = 100,
        batch_size: int = 256,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        decay: str = "cosine",
        device: str = "auto",
    ) -> None:
        self.latent, self.beta, self.width, self.hidden = latent, beta, width, hidden
        self.epochs, self.batch_size, self.decay = epochs, batch_size, decay
        self.learning_rate, self.weight_decay, self.device = learning_rate, weight_decay, device

    def _network(self, n_features: int, n_told: int, latent: int) -> VariationalNetwork:
        from ..neural.variational_encoder import NormalPrior, VariationalNetwork

        return VariationalNetwork(
            n_features, n_told, latent, width=self.width, hidden=self.hidden, prior=NormalPrior(), beta=self.beta
        )
