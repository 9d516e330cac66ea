r"""The loss of GEARS: a high power of the error, and agreement in direction.

For each condition, over its cells and those genes that are not zero in its training mean,

.. math:: \overline{|\hat y - y|^{2 + \gamma}} + \lambda \, \overline{(\operatorname{sign}(y - \bar c) - \operatorname{sign}(\hat y - \bar c))^2}

with the control mean c̄; then the mean over the conditions of a batch (Roohani et al. 2024; ``gears.utils.loss_fct``). With
uncertainty the first term is multiplied by 1 + r exp(-v), v being the predicted log variance (``uncertainty_loss_fct``).

The gradient of the sign is zero wherever it exists, so in GEARS the second term changes the figure that is printed and
nothing that is learned. It is available as ``legacy``. The default, ``surrogate``, compares soft signs of the mean change of a
condition and of the predicted shift, (tanh(Δ/τ) - tanh(ŝ/τ))². It has a gradient, differs little from the square of sign differences
where changes are clear, asks nothing of genes that hardly change, and unlike a soft sign for each cell has its minimum where
the shift is right.
"""

from __future__ import annotations

import torch

from .change_moments import ChangeMoments

#: τ, in units of log expression: a change of 0.1 has three quarters of a sign.
SOFTNESS = 0.1


def mean_power(shift: torch.Tensor, moments: ChangeMoments, gamma: int) -> torch.Tensor:
    """(P, G) mean of \\|error\\|^(2 + gamma) over the cells of each condition, for shifts (P, G).

    Parameters
    ----------
    gamma
        0 or 2, where the power is a polynomial.
    """
    off = shift - moments.mean
    square = off * off
    if gamma == 0:
        return square + moments.second
    return square * (square + 6 * moments.second) - 4 * off * moments.third + moments.fourth


def soft_direction(shift: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """(P, G) squared difference of the soft signs of a predicted shift and of the mean change."""
    return (torch.tanh(shift / SOFTNESS) - torch.tanh(change / SOFTNESS)) ** 2


@torch.no_grad()
def sign_direction(shift: torch.Tensor, moments: ChangeMoments, control: torch.Tensor) -> torch.Tensor:
    """(P, G) mean over cells of the squared difference of signs, as GEARS has it.

    Parameters
    ----------
    control
        (P, G) control mean of each condition.
    """
    batch = moments.batch
    assert batch is not None
    assert batch.controls is not None
    out = torch.empty_like(shift)
    for p, code in enumerate(moments.codes):
        rows = batch.codes == code
        told = torch.sign(batch.cells[rows] - control[p])
        out[p] = ((told - torch.sign(batch.controls[rows] + shift[p] - control[p])) ** 2).mean(dim=0)
    return out


def over_genes(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """() mean over conditions of the mean of values (P, G) over the genes with kept (P, G) = 1 of each."""
    return ((values * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)).mean()
