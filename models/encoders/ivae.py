"""iVAE: the prior of the codes follows from what was done to a cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .beta_vae import VariationalEncoder

if TYPE_CHECKING:
    from ..neural.variational_encoder import VariationalNetwork


class IVAE(VariationalEncoder):
    """A variational autoencoder with the prior p(z | u), normal with independent coordinates, and the encoder q(z | x, u).

    u holds the targets (multi-hot, or doses), one-hot contexts and one-hot times. Means and variances of the prior are networks of
    u; the loss is − log p(x | z) + KL(q(z | x, u) ‖ p(z | u)). Where latent variables are independent given u, and u changes their
    variances and means enough, z is found up to order and an invertible function of each; where perturbations act on a causal
    model they are not independent given u, and the theorem does not apply.

    Codes depend on u: what a code says of a perturbation may have been read from the label. Asked about a cell that is called a
    control cell, the encoder is told no target.

    Parameters
    ----------
    latent
        Number of codes; as many as the data set has latent variables where it is None, ten where that is not known.
    means
        Whether u changes means too, and not the variances alone.
    prior_width, prior_hidden
        Units and number of hidden layers of the networks of u.
    width, hidden
        The same of encoder and decoder.
    epochs, batch_size, learning_rate, weight_decay, decay
        Of training, as in `Settings`; there is no early stopping.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    capabilities = replace(VariationalEncoder.capabilities, claim="permutation")
    reference = "Khemakhem et al., AISTATS 2020 (iVAE)"
    presets = {
        "quick": {"width": 64, "epochs": 40},
        # Khemakhem et al. 2020 and their code (ilkhem/iVAE): three hidden layers of 100 units, batches of 64, Adam with 0.01, 20
        # epochs on the synthetic data, a prior of mean zero whose variances alone follow from u, variance of x fixed. Here the
        # variance is learned, and units are leaky rather than tanh with a slope.
        "paper": {
            "means": False,
            "width": 100,
            "hidden": 3,
            "prior_width": 100,
            "prior_hidden": 3,
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 1e-2,
            "decay": "none",
        },
    }

    def __init__(
        self,
        *,
        latent: int | None = None,
        means: bool = True,
        prior_width: int = 64,
        prior_hidden: int = 1,
        width: int = 128,
        hidden: int = 2,
        epochs: int = 100,
        batch_size: int = 256,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        decay: str = "cosine",
        device: str = "auto",
    ) -> None:
        self.latent, self.means = latent, means
        self.prior_width, self.prior_hidden, self.width, self.hidden = prior_width, prior_hidden, width, hidden
        self.epochs, self.batch_size, self.decay = epochs, batch_size, decay
        self.learning_rate, self.weight_decay, self.device = learning_rate, weight_decay, device

    def _network(self, n_features: int, n_told: int, latent: int) -> VariationalNetwork:
        from ..neural.variational_encoder import ConditionalPrior, VariationalNetwork

        prior = ConditionalPrior(n_told, latent, width=self.prior_width, hidden=self.prior_hidden, means=self.means)
        return VariationalNetwork(n_features, n_told, latent, width=self.width, hidden=self.hidden, prior=prior, told=True)
