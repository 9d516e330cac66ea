"""The network of TDRL: an autoencoder of frames whose codes follow a modular transition."""

from __future__ import annotations

import math

import torch
from torch import nn

from .layers import draw, perceptron
from .transition_prior import TransitionPrior


class TdrlNetwork(nn.Module):
    """q(z_t | x_t), p(x_t | z_t) and a `TransitionPrior`.

    Parameters
    ----------
    n_features, latent
        Sizes of frames and codes.
    n_domains
        Of what is told of the domain.
    width, hidden
        Of encoder and decoder.
    prior_width, prior_hidden, embedding, lag
        Of the prior.
    kl_first, kl_later
        β and γ, weights of the divergences of the first ``lag`` states and of those after them.
    """

    def __init__(
        self,
        n_features: int,
        latent: int,
        n_domains: int,
        *,
        width: int,
        hidden: int,
        prior_width: int,
        prior_hidden: int,
        embedding: int,
        lag: int,
        kl_first: float,
        kl_later: float,
    ) -> None:
        super().__init__()
        self.encoder = perceptron(n_features, width, 2 * latent, hidden=hidden, norm="none", activation="leaky")
        self.decoder = perceptron(latent, width, n_features, hidden=hidden, norm="none", activation="leaky")
        self.prior = TransitionPrior(
            latent, lag=lag, n_domains=n_domains, embedding=embedding, width=prior_width, hidden=prior_hidden
        )
        self.kl_first, self.kl_later = kl_first, kl_later

    def encoded(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (…, d) of codes of frames (…, p)."""
        mean, log_variance = self.encoder(frames).chunk(2, dim=-1)
        return mean, log_variance.clamp(-10, 5)

    def loss(self, frames: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """Squared error + β KL of the first states + γ KL of the later ones, for frames (b, L, p), domain (b, L, k).

        All terms are sums over features or variables and over frames; the loss is a mean over units, divided by L times p. The
        divergence of states is log q − log p at one draw.
        """
        mean, log_variance = self.encoded(frames)
        z = draw(mean, log_variance)
        error = ((self.decoder(z) - frames) ** 2).sum(dim=(1, 2))
        lag = self.prior.lag
        own = -0.5 * ((z - mean) ** 2 * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)).sum(dim=2)
        first = own[:, :lag].sum(dim=1) - self.prior.start(z)
        later = own[:, lag:].sum(dim=1) - self.prior.later(z, domain)
        return (error + self.kl_first * first + self.kl_later * later).mean() / (frames.shape[1] * frames.shape[2])
