"""Classifiers that try to tell from a basal state what was done to a cell, and how well they do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from .layers import perceptron


class Adversary(nn.Module):
    """A classifier of the perturbed targets, and one of each covariate.

    Targets are labels of their own, so that a combination has several, with a binary cross-entropy each, summed; covariates are
    classes.

    Parameters
    ----------
    n_targets
        Number of targets.
    covariates
        Number of values of each covariate, as they stand side by side in the columns of the covariates of a batch.
    latent
        Size of the basal state.
    width, hidden, dropout, norm
        Of each classifier, as in `perceptron`.
    """

    def __init__(
        self, n_targets: int, covariates: Sequence[int], latent: int, *, width: int, hidden: int, dropout: float, norm: str
    ) -> None:
        super().__init__()
        self.sizes = (n_targets, *covariates)
        self.classifiers = nn.ModuleList(
            perceptron(latent, width, n, hidden=hidden, dropout=dropout, norm=norm) for n in self.sizes
        )

    def forward(self, basal: torch.Tensor) -> list[torch.Tensor]:
        """Logits of the targets (n, k), then of each covariate."""
        return [classifier(basal) for classifier in self.classifiers]

    def loss(self, logits: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Cross-entropies, summed over targets and covariates, mean over cells; a cell without a value of a covariate adds none."""
        of_targets = nn.functional.binary_cross_entropy_with_logits(logits[0], labels[0], reduction="none").sum(dim=1)
        of_covariates = [
            -(own * torch.log_softmax(out, dim=1)).sum(dim=1) for out, own in zip(logits[1:], labels[1:], strict=True)
        ]
        return sum(of_covariates, of_targets).mean()

    @staticmethod
    def penalty(logits: Sequence[torch.Tensor], basal: torch.Tensor) -> torch.Tensor:
        """Mean square of the slopes of each classifier's summed logits by the basal states (n, d), summed over classifiers."""
        slopes = [torch.autograd.grad(out.sum(), basal, create_graph=True)[0] for out in logits]
        return torch.stack([slope.pow(2).mean() for slope in slopes]).sum()


class Tally:
    """Balanced accuracy of classifiers over the cells of an epoch.

    A target is called present where its probability is above its mean over the minibatch; its accuracy is the mean of the shares
    of cells with it that are called present, and of cells without it that are not. The called value of a covariate is the likeliest
    one; its accuracy is the mean over values of the shares that are called so. Any rule that does not look at the cell
    has 1/2 for targets and one over the number of values for a covariate: the chance level.

    Parameters
    ----------
    sizes
        Number of targets, then of values of each covariate.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        # Per label: weight of cells that have it, that are right; and the same for cells that lack it.
        self.counts = [np.zeros((4, n)) for n in sizes]

    @torch.no_grad()
    def add(self, logits: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]) -> None:
        """Count a minibatch."""
        for i, (counts, out, own) in enumerate(zip(self.counts, logits, labels, strict=True)):
            if i == 0:
                probability = torch.sigmoid(out)
                called = (probability > probability.mean(dim=0)).to(out.dtype)
            else:
                called = nn.functional.one_hot(out.argmax(dim=1), out.shape[1]).to(out.dtype)
            lacking = 1 - own
            new = [own.sum(0), (own * called).sum(0), lacking.sum(0), (lacking * (1 - called)).sum(0)]
            counts += torch.stack(new).double().cpu().numpy()

    def accuracies(self) -> list[tuple[float, float]]:
        """Accuracy and chance of targets, and of each covariate; NaN where no cell was counted."""
        out = []
        for i, (having, right, lacking, rejected) in enumerate(self.counts):
            there = having > 0
            if i == 0:
                there &= lacking > 0
                shares = (right[there] / having[there] + rejected[there] / lacking[there]) / 2
                chance = 0.5
            else:
                shares = right[there] / having[there]
                chance = 1 / max(there.sum(), 1)
            out.append((float(shares.mean()), chance) if there.any() else (float("nan"), float("nan")))
        return out
