"""TDRL: codes of a sequence are what makes its transition fall apart into independent residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.errors import UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Capabilities
from ...bench.contracts.training import Cells, TrainingData
from .encoder import Encoder, Features, Labels

if TYPE_CHECKING:
    from ..neural.fitting import History

Array = np.ndarray[Any, Any]
#: Cells that are encoded at a time.
BLOCK = 4096


class Tdrl(Encoder):
    """A variational autoencoder of sequences with the inverse-transition prior of TDRL, the perturbation being the domain.

    What is left of each variable when the states before it and the perturbation are known, ε_ti = f_i(z_{t−1}, u, z_ti), is
    independent and standard normal under the prior; f_i is a perceptron for each variable, whose derivative by z_ti gives the
    density. The loss is squared error + β KL(first states) + γ KL(later states). Where transitions are modular, and pasts and domains
    change them enough, z is found up to order and an invertible function of each variable. There is no invariant block, and
    nothing acts in the same instant.

    Needs units that are seen at several times; a guarantee for them says nothing of cells that are killed to be measured.
    The encoder sees a frame and no label. A reconstruction from the published objective, and not the authors' code.

    Parameters
    ----------
    latent
        Number of codes; as many as the data set has latent variables where it is None, ten where that is not known.
    lag
        States that a transition looks back.
    kl_first, kl_later
        β and γ.
    width, hidden
        Units and number of hidden layers of encoder and decoder.
    prior_width, prior_hidden, embedding
        Units and number of hidden layers of each f_i, and size of the linear embedding of the perturbation.
    epochs, batch_size, learning_rate, weight_decay, decay
        Of training, as in `Settings`; batches hold that many cells, in whole units.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    capabilities = Capabilities(
        predicts=False,
        needs_cells=True,
        needs_pairs=True,
        claim="permutation",
        stochastic=True,
        packages=("torch",),
        imports=("torch",),
    )
    reference = "Yao, Chen & Zhang, NeurIPS 2022 (TDRL; weirayao/tdrl)"
    presets = {
        "quick": {"width": 64, "prior_width": 16, "epochs": 30},
        # As published for the synthetic data: 128 units, β 2e-3, γ 2e-2, two-dimensional embeddings of domains, lag 2, batches of 64
        # sequences (of some six frames), 100 epochs, learning rate 5e-4.
        "paper": {
            "lag": 2,
            "kl_first": 2e-3,
            "kl_later": 2e-2,
            "width": 128,
            "hidden": 3,
            "prior_width": 128,
            "prior_hidden": 3,
            "embedding": 2,
            "epochs": 100,
            "batch_size": 384,
            "learning_rate": 5e-4,
            "decay": "none",
        },
    }

    def __init__(
        self,
        *,
        latent: int | None = None,
        lag: int = 1,
        kl_first: float = 0.02,
        kl_later: float = 0.02,
        width: int = 128,
        hidden: int = 2,
        prior_width: int = 32,
        prior_hidden: int = 2,
        embedding: int = 8,
        epochs: int = 100,
        batch_size: int = 384,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        decay: str = "cosine",
        device: str = "auto",
    ) -> None:
        self.latent, self.lag, self.embedding = latent, lag, embedding
        self.kl_first, self.kl_later = kl_first, kl_later
        self.prior_width, self.prior_hidden, self.width, self.hidden = prior_width, prior_hidden, width, hidden
        self.epochs, self.batch_size, self.decay = epochs, batch_size, decay
        self.learning_rate, self.weight_decay, self.device = learning_rate, weight_decay, device

    def fit(self, data: TrainingData, *, seed: int) -> Tdrl:
        """Train on the sequences of all training units, control units among them.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite, or memory runs out.
        UsageError
            If no unit has more frames than `lag`, or frames have no known order.
        """
        import torch

        from ..neural.fitting import Descent, Settings, device_of, seeded, train
        from ..neural.sequences import SequenceBatches
        from ..neural.tdrl_network import TdrlNetwork

        cells = data.cells
        self.device_, self.n_genes_ = device_of(self.device), len(data.genes)
        self.features_, labels = Features.of(cells), Labels.of(cells)
        x = self.features_(cells)
        told = labels.codes.multi_hot(cells.conditions)
        batches = SequenceBatches(cells, cells.conditions, self.batch_size, self.device_, values=x)
        batches.by_length = {length: rows for length, rows in batches.by_length.items() if length > self.lag}
        if not batches.by_length:
            raise UsageError(f"lag={self.lag} needs units with more frames than that; lower lag.")
        settings = Settings(self.epochs, self.learning_rate, self.weight_decay, patience=0, decay=self.decay)
        with seeded(derived_seed("tdrl", seed), self.device_):
            network = TdrlNetwork(
                x.shape[1],
                self._n_codes(data),
                told.shape[1],
                width=self.width,
                hidden=self.hidden,
                prior_width=self.prior_width,
                prior_hidden=self.prior_hidden,
                embedding=self.embedding,
                lag=self.lag,
                kl_first=self.kl_first,
                kl_later=self.kl_later,
            ).to(self.device_)
            of = torch.from_numpy(told).to(self.device_)
            descent = Descent(network, lambda batch: network.loss(batch.cells, of[batch.codes]), settings)
            self.history_: History = train(network, batches.epoch, descent, settings, seed=seed, at_epoch=descent.at_epoch)
        self.network_ = network
        return self

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Posterior means (n, d) float32 under the name ``latent``, each from its own frame."""
        import torch

        self._check_fitted("network_")
        with torch.no_grad():
            parts = [
                self.network_.encoded(x.to(self.device_))[0].cpu().numpy()
                for x in torch.from_numpy(self.features_(cells)).split(BLOCK)
            ]
        return {"latent": np.concatenate(parts)}

    def diagnostics(self) -> dict[str, Any]:
        """Epochs, losses and speed of training."""
        return self.history_.summary()
