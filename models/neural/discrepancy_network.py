"""The network of the discrepancy-VAE: control cells, a shift of one latent variable for each target, a graph, a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from .cell_batches import Batch
from .expression import Expression
from .generation import Scene
from .layers import draw, gaussian_divergence, perceptron
from .maximum_mean_discrepancy import maximum_mean_discrepancy


@dataclass(frozen=True)
class DiscrepancyWeights:
    """What the terms of the loss weigh once their schedules are over, and how reconstruction is counted.

    Parameters
    ----------
    discrepancy, divergence, sparsity
        α, β and λ.
    temperature
        Of the softmax at the end of training.
    reconstruction
        ``mean`` or ``sum`` of squared errors over genes.
    """

    discrepancy: float
    divergence: float
    sparsity: float
    temperature: float
    reconstruction: str


def ramp(epoch: int, start: float, stop: float) -> float:
    """0 until the epoch `start`, 1 from the epoch `stop` on, linear in between."""
    return min(1.0, max(0.0, (epoch - start) / max(stop - start, 1e-9)))


class DiscrepancyNetwork(nn.Module):
    """z ~ q(z | x) for a control cell; v = (z + Σ shifts) (I − triu(G, 1))⁻¹ as rows; x̂ = Dec(v).

    Parameters
    ----------
    scene
        Sizes and what the targets of each condition are.
    latent
        d, the number of latent variables.
    width
        Units of the one hidden layer of each of the three networks.
    bandwidth, kernels
        Of the discrepancy.
    """

    temperature: torch.Tensor

    def __init__(
        self, scene: Scene, *, latent: int, width: int, bandwidth: float, kernels: int, weights: DiscrepancyWeights
    ) -> None:
        super().__init__()
        sizes = {"hidden": 1, "norm": "none", "activation": "leaky"}
        self.encoder = perceptron(scene.n_genes, width, 2 * latent, **sizes)
        self.decoder = perceptron(latent, width, scene.n_genes, **sizes)
        self.assignment = perceptron(scene.n_targets, width, latent + 1, **sizes)
        self.edges = nn.Parameter(torch.zeros(latent, latent))
        nn.init.normal_(self.edges, std=0.01)
        with torch.no_grad():
            last = self.decoder[-1]
            assert isinstance(last, nn.Linear)
            last.bias.copy_(torch.as_tensor(scene.mean, dtype=torch.float32))
        # Kept with the weights: the temperature of the epoch whose weights are kept is part of what was learned.
        self.register_buffer("temperature", torch.ones(()))
        self.latent, self.n_targets, self.told = latent, scene.n_targets, scene.told
        self.bandwidth, self.kernels, self.weights = bandwidth, kernels, weights
        self.alpha, self.beta = weights.discrepancy, weights.divergence

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Set the weights of an epoch: the published schedule of 100 epochs, stretched to the number of epochs."""
        self.alpha = self.weights.discrepancy * ramp(epoch, 0.05 * epochs, 0.5 * epochs)
        self.beta = self.weights.divergence * ramp(epoch, 0.1 * epochs, epochs)
        self.temperature.fill_(1 + (self.weights.temperature - 1) * ramp(epoch, 0.05 * epochs, epochs))

    def exogenous(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d) mean and log variance of q(z | x)."""
        mean, raw = self.encoder(cells).chunk(2, dim=1)
        return mean, torch.log(nn.functional.softplus(raw) + 1e-8)

    def assigned(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(k, d) probability that a target acts on a latent variable, and (k,) the size of its shift."""
        out = self.assignment(torch.eye(self.n_targets, device=self.edges.device))
        return torch.softmax(self.temperature * out[:, :-1], dim=1), out[:, -1]

    def shift(self, told: torch.Tensor) -> torch.Tensor:
        """(n, d) sum over targets of dose times shift, in exogenous variables."""
        probability, size = self.assigned()
        return told @ (probability * size[:, None])

    def graph(self) -> torch.Tensor:
        """(d, d) strictly upper triangular weights, from the variable of the row to that of the column."""
        return torch.triu(self.edges, 1)

    def caused(self, exogenous: torch.Tensor) -> torch.Tensor:
        """(n, d) v with v = v G + z."""
        identity = torch.eye(self.latent, device=exogenous.device)
        return torch.linalg.solve_triangular(identity - self.graph(), exogenous, upper=True, left=False, unitriangular=True)

    def loss(self, batch: Batch) -> torch.Tensor:
        """α MMD + reconstruction of control cells + β divergence from N(0, I) + λ |G|₁."""
        assert batch.controls is not None
        mean, log_variance = self.exogenous(batch.controls)
        z = draw(mean, log_variance)
        # One pass through graph and decoder for both: cells as they were, and as if perturbed.
        both = self.decoder(self.caused(torch.cat([z, z + self.shift(self.told[batch.codes])])))
        reconstructed, generated = both.chunk(2)
        error = (reconstructed - batch.controls) ** 2
        reconstruction = error.mean() if self.weights.reconstruction == "mean" else error.sum(dim=1).mean()
        loss = reconstruction + self.beta * gaussian_divergence(mean, log_variance).mean()
        loss = loss + self.weights.sparsity * self.graph().abs().sum()
        if self.alpha:
            loss = loss + self.alpha * self.discrepancy(generated, batch.cells, batch.codes)
        return loss

    def discrepancy(self, generated: torch.Tensor, cells: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Mean over cells of the discrepancy of their condition's piece of the batch."""
        total = generated.new_zeros(())
        for code in codes.unique():
            own = torch.nonzero(codes == code)[:, 0]
            value = maximum_mean_discrepancy(generated[own], cells[own], bandwidth=self.bandwidth, kernels=self.kernels)
            total = total + len(own) / len(codes) * value
        return total

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """Decoded cells; the decoder has no noise, so that all spread between cells is that of the latent variables."""
        z = draw(*self.exogenous(cells))
        mean = self.decoder(self.caused(z + self.shift(told)))
        return Expression(mean, torch.full((mean.shape[1],), -torch.inf, device=mean.device))

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """Latent variables of cells as they are: what the encoder says of a perturbed cell has its shift already."""
        z = self.exogenous(cells)[0]
        return {"latent": self.caused(z), "exogenous": z}
