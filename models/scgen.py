"""scGen: a perturbation is an arrow in the latent space of an auto-encoder that knows only cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.model import Capabilities
from ..bench.contracts.training import Cells, TrainingData
from .neural.cell_model import CONTROLS
from .neural.generation import CellGenerator, Scene

if TYPE_CHECKING:
    from .neural.expression import Expression

Array = np.ndarray[Any, Any]


class ScGen(CellGenerator):
    """Moves the codes of control cells by the mean difference of codes that the perturbation makes, and decodes them.

    A variational auto-encoder is trained on all training cells, labels unseen. The arrow of a perturbation is the mean code of its
    cells minus that of the control cells of the same context, averaged over the contexts that have it, each counting once. A
    perturbation seen in other contexts is so carried into a new one. The arrow of a combination that was never seen is the sum of
    the arrows of its singles (an extension: the publication has no combinations); without them the query is absent.

    Predictions are means over decoded control cells; their variance and cells have the noise that the decoder leaves.

    Parameters
    ----------
    width, hidden, latent, dropout
        Units and number of hidden layers of encoder and decoder, size of the code, share of units dropped.
    kl_weight
        Weight of the divergence beside half the squared error summed over genes.
    epochs, batch_size, learning_rate, weight_decay
        Of training, as in `Settings`; it never stops early, because it is told of no perturbation.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    capabilities = Capabilities(
        unseen_contexts=True, needs_cells=True, stochastic=True, packages=("torch",), imports=("torch", "numba")
    )
    reference = "Lotfollahi, Wolf & Theis, Nature Methods 2019, scGen"
    presets = {
        "quick": {"width": 128, "hidden": 1, "latent": 32, "epochs": 30},
        # Widths, code, decay and epochs of the scgen package (SCGEN, VAEEnc); it divides the published KL weight of 5e-5 likewise.
        "paper": {"width": 800, "hidden": 2, "latent": 100, "dropout": 0.2, "batch_size": 32, "epochs": 100, "kl_weight": 5e-5},
    }
    likelihood = "normal"
    patience = 0
    watches = False

    def __init__(
        self,
        *,
        width: int = 256,
        hidden: int = 2,
        latent: int = 64,
        dropout: float = 0.1,
        kl_weight: float = 5e-5,
        epochs: int = 60,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        device: str = "auto",
    ) -> None:
        self.width, self.hidden, self.latent, self.dropout = width, hidden, latent, dropout
        self.kl_weight, self.epochs, self.batch_size = kl_weight, epochs, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.device = device

    def _network(self, scene: Scene) -> Any:
        from .neural.latent_arithmetic_network import LatentArithmeticNetwork

        return LatentArithmeticNetwork(
            scene,
            width=self.width,
            hidden=self.hidden,
            latent=self.latent,
            dropout=self.dropout,
            kl_weight=self.kl_weight,
        )

    def fit(self, data: TrainingData, *, seed: int) -> ScGen:
        """Train the auto-encoder on cells, then measure the arrows."""
        super().fit(data, seed=seed)
        self.arrows_ = self._arrows(data.cells)
        return self

    def _arrows(self, cells: Cells) -> dict[Condition, Array]:
        """Change of the mean code by perturbation, its context left out."""
        total = np.zeros((len(cells.conditions), self.latent))
        for rows, codes in self.encoded_blocks(cells):
            # Added up cell by cell: blocks change nothing.
            np.add.at(total, cells.codes[rows], codes["latent"].astype(np.float64))
        n_cells = np.bincount(cells.codes, minlength=len(total))
        centre = {c: total[i] / n_cells[i] for i, c in enumerate(cells.conditions) if n_cells[i]}
        arrows: dict[Condition, list[Array]] = {}
        for condition, own in centre.items():
            if not condition.is_control and condition.control() in centre:
                arrows.setdefault(replace(condition, context=None), []).append(own - centre[condition.control()])
        return {condition: np.mean(found, axis=0) for condition, found in arrows.items()}

    def _arrow(self, condition: Condition) -> Array | None:
        anywhere = replace(condition, context=None)
        if condition.is_control:
            return np.zeros(self.latent)
        if anywhere in self.arrows_:
            return self.arrows_[anywhere]
        singles = [self.arrows_.get(anywhere.single(t)) for t in anywhere.targets]
        return np.sum([s for s in singles if s is not None], axis=0) if all(s is not None for s in singles) else None

    def _refusal(self, condition: Condition) -> str | None:
        if condition.context not in self.starts_:
            return f"capability: no control cells of context {condition.context}"
        if self._arrow(condition) is None:
            seen = {t for c in self.arrows_ if len(c.targets) == 1 for t in c.targets}
            missing = [t for t in condition.targets if t not in seen]
            return f"capability: no training single for {missing[0]}" if missing else "capability: unseen dose or time"
        return None

    def _tensors(self, conditions: Sequence[Condition]) -> Any:
        import torch

        # The network is told nothing.
        return (torch.zeros(len(conditions), 0, device=self.device_),) * 2

    def _imagined(self, condition: Condition, n: int = CONTROLS) -> Expression:
        import torch

        arrow = self._arrow(condition)
        cells = torch.from_numpy(self.starts_[condition.context].cells[:n]).to(self.device_)
        with torch.no_grad():
            moved = self.network_.encode(cells) + torch.as_tensor(arrow, dtype=torch.float32, device=self.device_)
            return self.network_.decode(moved)
