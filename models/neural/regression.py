"""Networks that turn a control cell and a condition into the expected perturbed cell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Capabilities
from ...bench.contracts.prediction import Prediction
from ...bench.contracts.training import Profiles, TrainingData
from .cell_model import CONTROLS, SCORED, CellModel
from .condition_codes import ConditionCodes
from .held_out import held_out, mean_error

if TYPE_CHECKING:
    import torch

    from .cell_batches import Batch

Array = np.ndarray[Any, Any]


class CellRegression(CellModel):
    """Base of models that minimise the squared error between a perturbed cell and what they make of a control cell.

    A subclass makes the network in `_network`: a module whose call (controls (b, G), targets (b, k), covariates (b, c)) returns
    (b, G), where targets are the doses of the targets that were seen. Predicted means are averages of the network's answers
    over at most 300 control cells of the context. Control cells alone can be asked for too: the condition without targets.
    """

    capabilities = Capabilities(needs_cells=True, stochastic=True, packages=("torch",), imports=("torch",))

    @abstractmethod
    def _network(self, n_genes: int, n_told: int, n_covariates: int) -> Any:
        """The module, for told (b, n_told) and covariates (b, n_covariates)."""

    def fit(self, data: TrainingData, *, seed: int) -> CellRegression:
        """Train on cells, watching perturbations that are left out of training.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite, or memory runs out.
        """
        import torch

        from .cell_batches import CellBatches, starts
        from .fitting import Descent, device_of, seeded, train

        self.device_ = device_of(self.device)
        rng = np.random.default_rng(derived_seed("starts", seed))
        conditions, watched = held_out(data, seed=seed, predictable=self._predictable)
        self.codes_ = ConditionCodes.of([*data.perturbed.conditions, *data.controls.conditions])
        self.n_genes_ = len(data.genes)
        self.starts_ = {context: starts(data.cells, context, CONTROLS, rng).cells for context in self.codes_.contexts}
        batches = CellBatches(data.cells, conditions, self.batch_size, self.device_, partners=True)
        settings = self._settings()
        with seeded(seed, self.device_):
            told, covariates = self._tensors(conditions)
            self.network_ = self._network(self.n_genes_, told.shape[1], covariates.shape[1]).to(self.device_)
            self.network_.positive = data.scale != "raw"

            def loss_of(batch: Batch) -> torch.Tensor:
                predicted = self.network_(batch.controls, told[batch.codes], covariates[batch.codes])
                return torch.nn.functional.mse_loss(predicted, batch.cells)

            descent = Descent(self.network_, loss_of, settings)
            score = (lambda: mean_error(self._means(watched.conditions, SCORED), watched)) if len(watched) else None
            self.history_ = train(
                self.network_, batches.epoch, descent, settings, seed=seed, score=score, at_epoch=descent.at_epoch
            )
        return self

    def _means(self, conditions: Sequence[Condition], n: int = CONTROLS) -> Array:
        """(len(conditions), G) mean answers over control cells."""
        import torch

        out = np.empty((len(conditions), self.n_genes_))
        if not len(conditions):
            return out
        told, covariates = self._tensors(conditions)
        with torch.no_grad():
            for i, condition in enumerate(conditions):
                start = torch.from_numpy(self.starts_[condition.context][:n]).to(self.device_)
                own = (t[i : i + 1].expand(len(start), -1) for t in (told, covariates))
                out[i] = self.network_(start, *own).mean(dim=0, dtype=torch.float64).cpu().numpy()
        return out

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Average the network's answers over control cells of each condition's context."""
        self._check_fitted("network_")
        known, absent = self._parted(conditions)
        return Prediction(known, self._means(known), fallback=np.zeros(len(known), dtype=bool), absent=absent)
