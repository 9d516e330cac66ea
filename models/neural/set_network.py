"""A network of a set of embedded targets."""

from __future__ import annotations

import torch
from torch import nn

from .layers import perceptron


class SetNetwork(nn.Module):
    """Dec(Σ Enc(e)) − Dec(0) over the targets of a condition, so that no target changes nothing.

    Parameters
    ----------
    width, latent, hidden, dropout
        Of both networks; `latent` is the size of what is summed.
    """

    def __init__(self, n_in: int, n_genes: int, *, width: int, latent: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.encoder = perceptron(n_in, width, latent, hidden=hidden, dropout=dropout)
        self.decoder = perceptron(latent, width, n_genes, hidden=1)

    def forward(self, vectors: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        """Changes of n conditions.

        Parameters
        ----------
        vectors
            (t, d) embeddings of targets.
        members
            (n, t) dose of each target in each condition.

        Returns
        -------
        (n, G).
        """
        summed = members @ self.encoder(vectors)
        return self.decoder(summed) - self.decoder(torch.zeros_like(summed[:1]))
