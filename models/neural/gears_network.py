"""The network of GEARS: what a perturbation does to every gene, once for each perturbation and not for each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .weighted_norm import WeightedNorm


class NormedPair(nn.Module):
    """Linear, batch normalisation, ReLU, linear, batch normalisation: the two-layer perceptron of GEARS."""

    def __init__(self, n_in: int, width: int, n_out: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Linear(n_in, width), WeightedNorm(width)
        self.second, self.second_norm = nn.Linear(width, n_out), WeightedNorm(n_out)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return self.second_norm(self.second(self.first_norm(self.first(x), weights, relu=True)), weights)


class BoundedEmbedding(nn.Module):
    """Vectors (n, width) of length 1 at most, drawn from normal distributions; longer ones are scaled down when they are used."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, width))

    def forward(self) -> torch.Tensor:
        with torch.no_grad():
            length = self.weight.norm(dim=1, keepdim=True)
            bounded = torch.where(length > 1, self.weight / (length + 1e-7), self.weight)
            if self.training:
                self.weight.copy_(bounded)
        return self.weight if self.training else bounded


@dataclass(frozen=True)
class Told:
    """What the network is told of P perturbations.

    Parameters
    ----------
    taken
        (P, n) what the targets take from each of the n genes of the perturbation graph, summed over targets.
    targets
        (P,) number of targets, 0 for control.
    cells
        (P,) cells of each in the batch, by which batch normalisation weights; not looked at in evaluation.
    """

    taken: torch.Tensor
    targets: torch.Tensor
    cells: torch.Tensor


class GearsNetwork(nn.Module):
    """Perturbations in, the shift of every gene out.

    The shift does not depend on the cell that it is added to. So genes are worked out once for each batch and every distinct
    perturbation once; what the cells of a batch decide are the weights of batch normalisation.

    Parameters
    ----------
    coexpression
        (G, G) CSR, normalised graph over the measured genes.
    n_nodes
        Genes of the perturbation graph.
    hidden
        Width of embeddings.
    uncertainty
        Whether there is a second head for a log variance.
    """

    coexpression: torch.Tensor

    def __init__(self, coexpression: Any, n_nodes: int, *, hidden: int = 64, uncertainty: bool = False) -> None:
        super().__init__()
        n_genes = coexpression.shape[0]
        self.register_buffer("coexpression", _sparse(coexpression), persistent=False)
        self.gene, self.gene_norm = BoundedEmbedding(n_genes, hidden), WeightedNorm(hidden)
        self.place, self.place_linear = BoundedEmbedding(n_genes, hidden), nn.Linear(hidden, hidden)
        self.gene_pair = NormedPair(hidden, hidden, hidden)
        self.perturbation, self.perturbation_linear = BoundedEmbedding(n_nodes, hidden), nn.Linear(hidden, hidden)
        self.perturbation_pair = NormedPair(hidden, hidden, hidden)
        self.sum_norm = WeightedNorm(hidden)
        self.shared_pair = NormedPair(hidden, 2 * hidden, hidden)
        self.own_weight, self.own_bias = nn.Parameter(torch.empty(n_genes, hidden)), nn.Parameter(torch.empty(n_genes))
        self.cross_pair = NormedPair(n_genes, hidden, hidden)
        self.last_weight, self.last_bias = nn.Parameter(torch.empty(n_genes, 1 + hidden)), nn.Parameter(torch.empty(n_genes))
        self.variance_pair = NormedPair(hidden, 2 * hidden, hidden) if uncertainty else None
        self.variance_linear = nn.Linear(hidden, 1) if uncertainty else None
        self.variance_norm = WeightedNorm(1) if uncertainty else None
        # Glorot and Bengio's normal start, with the fans that torch takes from the shapes in which GEARS keeps these.
        for value, fans in (
            (self.own_weight, hidden + n_genes),
            (self.own_bias, 1 + n_genes),
            (self.last_weight, (1 + hidden) * (1 + n_genes)),
            (self.last_bias, 1 + n_genes),
        ):
            nn.init.normal_(value, std=(2 / fans) ** 0.5)

    def genes(self, n_cells: torch.Tensor) -> torch.Tensor:
        """(G, hidden) what is known of each gene, whatever the perturbation; `n_cells` (1,) is how often a batch repeats it."""
        base = self.gene_norm(self.gene()[None], n_cells, relu=True)[0]
        place = self.place_linear(self.coexpression @ self.place())
        return self.gene_pair((base + 0.2 * place)[None], n_cells)[0]

    def perturbations(self, told: Told) -> torch.Tensor:
        """(P, hidden) what is added to every gene: nothing for control."""
        out = told.taken.new_zeros(len(told.targets), self.perturbation_linear.out_features)
        real = torch.nonzero(told.targets)[:, 0]
        if not len(real):
            return out
        # The convolution is linear, so its bias comes once for each target.
        summed = told.taken[real] @ self.perturbation() @ self.perturbation_linear.weight.T
        summed = summed + told.targets[real, None] * self.perturbation_linear.bias
        return out.index_copy(0, real, self.perturbation_pair(summed, told.cells[real]))

    def forward(self, told: Told, genes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(P, G) shifts, and log variances where there is a head for them.

        Parameters
        ----------
        genes
            What `genes` returned, where it is at hand.
        """
        base = self.genes(told.cells.sum()[None]) if genes is None else genes
        rows, slabs = self.sum_norm.sums(base, self.perturbations(told), told.cells)
        state = torch.relu_(rows + slabs[:, None])
        own = (self.shared_pair(state, told.cells) * self.own_weight).sum(dim=2) + self.own_bias
        cross = self.cross_pair(own, told.cells)
        shift = own * self.last_weight[:, 0] + cross @ self.last_weight[:, 1:].T + self.last_bias
        return shift, self._log_variance(state, told.cells)

    def _log_variance(self, state: torch.Tensor, cells: torch.Tensor) -> torch.Tensor | None:
        if self.variance_pair is None or self.variance_linear is None or self.variance_norm is None:
            return None
        hidden = torch.relu(self.variance_pair(state, cells))
        return self.variance_norm(self.variance_linear(hidden), cells)[:, :, 0]


def _sparse(matrix: Any) -> torch.Tensor:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    indices = torch.from_numpy(np.stack([rows, matrix.indices.astype(np.int64)]))
    return torch.sparse_coo_tensor(indices, torch.from_numpy(matrix.data), matrix.shape, check_invariants=True).coalesce()
