"""The compositional perturbation autoencoder: what a cell is, plus what was done to it, plus where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from ...bench.contracts.errors import UsageError
from .cell_batches import Batch
from .expression import Expression, ExpressionHead
from .generation import Scene
from .layers import draw, gaussian_divergence, perceptron

DOSERS = ("linear", "sigmoid", "log-sigmoid")


class Doser(nn.Module):
    """How strongly a dose acts, for each target; a dose of zero never acts.

    ``linear``: d. ``sigmoid``: σ(β_g d + b_g) − σ(b_g). ``log-sigmoid``: the same of sign(d) log(1 + |d|).

    Raises
    ------
    UsageError
        If the kind is unknown.
    """

    def __init__(self, kind: str, n_targets: int) -> None:
        super().__init__()
        if kind not in DOSERS:
            raise UsageError(f"doser={kind!r} is unknown; use auto, {', '.join(DOSERS)}.")
        self.kind = kind
        if kind != "linear":
            self.slope = nn.Parameter(torch.ones(n_targets))
            self.offset = nn.Parameter(torch.zeros(n_targets))

    def forward(self, doses: torch.Tensor) -> torch.Tensor:
        """(n, k) strengths of (n, k) doses."""
        if self.kind == "linear":
            return doses
        if self.kind == "log-sigmoid":
            doses = doses.sign() * torch.log1p(doses.abs())
        return torch.sigmoid(doses * self.slope + self.offset) - torch.sigmoid(self.offset)


@dataclass(frozen=True)
class Blend:
    """Which second cell is mixed into each cell of a batch.

    Parameters
    ----------
    codes
        (n,) conditions of the second cells.
    share
        Of the first cells, between 0 and 1.
    """

    codes: torch.Tensor
    share: float

    @classmethod
    def of(cls, batch: Batch, share: float) -> tuple[Batch, Blend]:
        """A batch in which each cell is mixed with a random other one. Counts are mixed as counts, fractions then."""
        order = torch.randperm(len(batch), device=batch.codes.device)

        def mean(values: torch.Tensor) -> torch.Tensor:
            return share * values + (1 - share) * values[order]

        if batch.counts is None or batch.depth is None:
            mixed = replace(batch, cells=mean(batch.cells))
        else:
            counts, depth = mean(batch.counts), mean(batch.depth)
            # Two empty cells make an empty one.
            factor = 1e4 / depth.clamp(min=1e-6)
            mixed = replace(batch, counts=counts, depth=depth, cells=torch.log1p(counts * factor[:, None]))
        return mixed, cls(batch.codes[order], share)


def looked_up(table: torch.Tensor, codes: torch.Tensor, blend: Blend | None = None) -> torch.Tensor:
    """(n, d) rows of a table of conditions, mixed as the cells are."""
    rows = nn.functional.embedding(codes, table)
    if blend is None:
        return rows
    return blend.share * rows + (1 - blend.share) * nn.functional.embedding(blend.codes, table)


class CpaNetwork(nn.Module):
    """z = Enc(x) + Σ_g doser_g(dose_g) e_g + Σ embeddings of covariates, decoded to expression.

    Parameters
    ----------
    scene
        Sizes, the kind of likelihood, and what the conditions of batches are.
    width, latent
        Units of hidden layers; size of the latent space.
    encoder_layers, decoder_layers
        Hidden layers of each.
    norm, decoder_norm
        ``batch``, ``layer`` or ``none``, in the encoder and the decoder.
    dropout
        Share of the encoder's units that are dropped.
    doser
        One of `DOSERS`.
    variational
        Whether basal states are drawn from a normal distribution with a standard normal prior.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        width: int,
        latent: int,
        encoder_layers: int,
        decoder_layers: int,
        norm: str,
        decoder_norm: str,
        dropout: float,
        doser: str,
        variational: bool,
    ) -> None:
        super().__init__()
        self.weights: torch.Tensor | None
        self.told, self.known_covariates, self.variational = scene.told, scene.covariates, variational
        n_codes = 2 * latent if variational else latent
        self.encoder = perceptron(scene.n_genes, width, n_codes, hidden=encoder_layers, dropout=dropout, norm=norm)
        self.doser = Doser(doser, scene.n_targets)
        self.targets = nn.Parameter(0.1 * torch.randn(scene.n_targets, latent))
        self.covariates = nn.Parameter(0.1 * torch.randn(scene.n_covariates, latent))
        # Without its last layer, which is the head.
        self.decoder = perceptron(latent, width, 1, hidden=decoder_layers, norm=decoder_norm)[:-1]
        self.head = ExpressionHead(width if decoder_layers else latent, scene.n_genes, scene.kind)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                # As in scvi-tools, whose layers the official network is made of.
                module.eps, module.momentum = 1e-3, 0.01
        if scene.kind == "normal":
            # Begins at the mean cell: a random head is many standard deviations off in genes that hardly vary.
            nn.init.normal_(self.head.linear.weight, std=1e-3)
        self.head.start_at(scene.mean, scene.variance)
        variance = torch.as_tensor(scene.variance, dtype=torch.float32)
        self.register_buffer("weights", variance / variance.mean().clamp(min=1e-12) if scene.kind == "normal" else None)

    def basal(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(n, latent) mean basal state of (n, G) cells, and its log variance where the network is variational."""
        code = self.encoder(cells)
        if not self.variational:
            return code, None
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def effects(self, told: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """(n, latent) what conditions add to the basal state: targets (n, k) by their doses, and covariates (n, c)."""
        return self.doser(told) @ self.targets + covariates @ self.covariates

    def decode(self, latent: torch.Tensor, depth: torch.Tensor | None) -> Expression:
        """The `Expression` of (n, latent) states."""
        return self.head(self.decoder(latent), depth)

    def sample(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Basal states, drawn where the network is variational, and then their (n,) divergence from the prior."""
        mean, log_variance = self.basal(cells)
        if log_variance is None:
            return mean, None
        return draw(mean, log_variance), gaussian_divergence(mean, log_variance)

    def reconstruct(self, batch: Batch, blend: Blend | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of a batch without adversaries, and the basal states that it used."""
        basal, divergence = self.sample(batch.cells)
        # There are fewer conditions than cells, so effects are worked out once for each condition.
        moved = basal + looked_up(self.effects(self.told, self.known_covariates), batch.codes, blend)
        loss = -self.likelihood(self.decode(moved, batch.depth), batch).mean()
        return loss if divergence is None else loss + divergence.mean(), basal

    def likelihood(self, expression: Expression, batch: Batch) -> torch.Tensor:
        """(n,) log-likelihood of cells; for normal values genes are weighted by their variance among all training cells.

        Without weights a gene that is silent in most cells has a tiny variance, and the few cells that express it are hundreds of
        standard deviations away and drown everything else. With them the means are fitted by least squares, up to the share of
        the variance that is explained, and each gene's variance still by maximum likelihood (Seitzer et al. 2022, β-NLL, β = 1).
        """
        if self.weights is None:
            return expression.log_likelihood(batch)
        error = (batch.cells - expression.mean) ** 2 * torch.exp(-expression.spread) + expression.spread
        return -0.5 * (error @ self.weights)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch without adversaries."""
        return self.reconstruct(batch)[0]

    def imagine(self, cells: torch.Tensor, depth: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> Expression:
        """The `Expression` of control cells as if they had been perturbed."""
        basal, _ = self.sample(cells)
        return self.decode(basal + self.effects(told, covariates), depth)

    def latents(self, cells: torch.Tensor, told: torch.Tensor, covariates: torch.Tensor) -> dict[str, torch.Tensor]:
        """``invariant``: the basal states that the encoder makes of cells; ``responsive``: with their own condition added."""
        basal, _ = self.basal(cells)
        return {"invariant": basal, "responsive": basal + self.effects(told, covariates)}
